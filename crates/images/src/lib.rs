//! Images as others store them, read into what the project stores. Ingest and the import of synthetic sets both do.
//!
//! | module | content |
//! |---|---|
//! | [`external_set`] | synthetic sets of other projects |
//! | [`image_files`] | the image files of a folder tree |
//! | [`passed_over`] | what else lies there, by reason |
//! | [`image_table`] | Parquet in the Hugging Face layout |
//! | [`image_column`], [`label_column`] | what its two columns may hold |
//! | [`class_lists`] | class names of one table into the list of another |
//! | [`mistaken`] | what lies under the name of an image and is none |
//! | [`stored_image`] | image formats: what keeps its bytes, what becomes RGB PNG, what is broken |
//! | [`channel_statistics`] | mean and standard deviation per channel |
//!
//! Run its tests: `cargo test -p delt-images`.

pub mod channel_statistics;
pub mod class_lists;
pub mod error;
pub mod external_set;
pub mod image_column;
pub mod image_files;
pub mod image_table;
mod jpeg_markers;
pub mod label_column;
pub mod mistaken;
mod not_parquet;
pub mod passed_over;
pub mod stored_image;

pub use error::ImagesError;
