//! Images as others store them, read into what the project stores. Ingest and the import of synthetic sets both do.
//!
//! | module | content |
//! |---|---|
//! | [`image_files`] | the image files of a folder tree |
//! | [`image_table`] | Parquet in the Hugging Face layout |
//! | [`external_set`] | synthetic sets of other projects |
//! | [`stored_image`] | JPEG and PNG: what keeps its bytes, what becomes RGB PNG, what is broken |
//! | [`channel_statistics`] | mean and standard deviation per channel |
//!
//! Run its tests: `cargo test -p delt-images`.

pub mod channel_statistics;
pub mod error;
pub mod external_set;
pub mod image_files;
pub mod image_table;
pub mod stored_image;

pub use error::ImagesError;
