//! Ingest: reads real images from wherever they are into the dataset artifact, `train.parquet` and `test.parquet`.
//!
//! `ingest --pipeline pipelines/demo.yaml` reads what the section `ingest:` names. A [`source::Source`], opened by
//! [`sources::open`], hands over encoded images with their class, one at a time; [`dataset`] decodes each of them once, keeps
//! or re-encodes its bytes ([`delt_images::stored_image`]), counts and measures ([`delt_images::channel_statistics`]) and
//! writes, and [`coverage`] says what the reader of a result must know of it. No more than a few hundred images are in
//! memory at once, and less than 64 bytes of each that was listed and written ([`file_list`], [`coverage`]). What a source contains is told by a fingerprint
//! ([`fingerprint`]), so that the key of the artifact does not depend on where the source lies.
//!
//! | source | module |
//! |---|---|
//! | the digits committed in `data/` | [`sources::digits`] |
//! | CIFAR-10 and CIFAR-100, official archives, unpacked or Parquet | [`sources::cifar`] over [`download`] |
//! | Parquet as Hugging Face stores image sets | [`sources::huggingface_parquet`] over [`parquet_files`] |
//! | a folder per class | [`sources::image_folder`] over [`labeled_files`] |
//! | IDX files (MNIST, Fashion-MNIST) | [`sources::idx`] |
//! | a table of paths and labels | [`sources::csv`] over [`labeled_files`] |
//! | webdataset shards | [`sources::webdataset`] |
//! | Tiny-ImageNet | [`sources::tiny_imagenet`] over [`labeled_files`] |
//! | ImageNette and ImageWoof | [`sources::imagenette`] over [`sources::image_folder`] |
//! | ImageNet-1K and ImageNet-100 as distributed | [`sources::imagenet`] over [`labeled_files`] |
//! | SVHN | [`sources::svhn`] over [`matlab`] |
//! | STL-10 | [`sources::stl10`] |

#[macro_use(eprintln)]
extern crate delt_harness;

pub mod classes;
pub mod coverage;
pub mod dataset;
mod digests;
pub mod download;
pub mod error;
pub mod file_list;
pub mod fingerprint;
pub mod labeled_files;
pub mod matlab;
pub mod parquet_files;
mod run;
pub mod seeded_split;
mod shards;
pub mod source;
pub mod sources;
pub mod split_names;
mod table_classes;
mod tar_archive;
mod test_files;
mod text_labels;
mod unpacked;
mod whitening;

use std::process::ExitCode;

pub use error::IngestError;
pub use run::run;

/// The program.
pub fn main() -> ExitCode {
    delt_harness::session::main(delt_pipeline::plan::INGEST, run)
}
