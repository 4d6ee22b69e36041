//! Ingest: reads real images from wherever they are into the dataset artifact, `train.parquet` and `test.parquet`.
//!
//! `ingest --pipeline pipelines/demo.yaml` reads what the section `ingest:` names. A [`source`] hands over encoded
//! pictures with their class, one at a time; [`dataset`] decodes each of them once, keeps or re-encodes its bytes
//! ([`stored_picture`]), counts and measures ([`channel_statistics`]) and writes. No more than a few hundred pictures
//! are in memory at once. What a source contains is told by a fingerprint ([`fingerprint`]), so that the key of the
//! artifact does not depend on where the source lies.
//!
//! | source | module |
//! |---|---|
//! | the digits committed in `data/` | [`digits`] |
//! | CIFAR-10 and CIFAR-100, official binary archive | [`cifar`], fetched by [`download`] |
//! | the same in Parquet | [`cifar_parquet`] over [`huggingface`] |
//! | Parquet as Hugging Face stores image sets | [`huggingface`] over [`parquet_files`] and [`picture_table`], split by [`seeded_split`] |
//! | a folder per class | [`image_folder`] over [`picture_files`], split by [`seeded_split`] |
//! | Tiny-ImageNet | [`tiny_imagenet`] over [`picture_files`] |

pub mod channel_statistics;
pub mod cifar;
pub mod cifar_parquet;
pub mod classes;
pub mod dataset;
pub mod digits;
pub mod download;
pub mod error;
pub mod fingerprint;
pub mod huggingface;
pub mod image_folder;
pub mod parquet_files;
pub mod picture_files;
pub mod picture_table;
mod run;
pub mod seeded_split;
pub mod source;
pub mod stored_picture;
pub mod tiny_imagenet;

pub use error::IngestError;
pub use run::run;
