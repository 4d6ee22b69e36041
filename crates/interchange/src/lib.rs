//! Files that other programs read and for which no crate has a writer.
//!
//! | module | file |
//! |---|---|
//! | [`pth`] | `.pt` and `.pth` as `torch.save` writes them and `torch.load(weights_only=True)` reads them |

pub mod pth;
