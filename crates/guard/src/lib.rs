//! Files of others, read without believing what they claim. Artifacts of this project carry digests and are not read through
//! here.
//!
//! | file | module |
//! |---|---|
//! | Parquet that lies about its sizes | [`pages`] |
//! | weights in `.pth` and `.safetensors` | [`weights`] |
//! | other tensors that PyTorch saved: images, labels | [`tensor_file`] |
//! | pickles of arrays and lists, of which nothing is run | [`pickle`] |
//! | images | [`decode_image`] |
//!
//! [`foreign`] turns what is left, a library that panics, into an error of the file.
//!
//! Run its tests: `cargo test -p delt-guard`; with files that are mutated: `make fuzz`.

mod claims;
mod decode;
mod footer;
pub mod foreign;
mod page_header;
pub mod pages;
pub mod pickle;
mod pickle_scan;
pub mod tensor_file;
mod thrift;
mod unpacking;
pub mod weights;

pub use decode::decode_image;
pub use tensor_file::{read_names, read_tensors, read_texts};
pub use weights::{WeightsError, read_weights};
