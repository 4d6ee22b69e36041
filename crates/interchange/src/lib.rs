//! Files that other programs read and for which no crate has a writer.
//!
//! | module | file |
//! |---|---|
//! | [`event_file`] | event files of TensorBoard, with scalars |
//! | [`pth`] | `.pt` and `.pth` as `torch.save` writes them and `torch.load(weights_only=True)` reads them |

pub mod event_file;
pub mod pth;

pub use event_file::EventWriter;
