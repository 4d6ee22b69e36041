//! The artifacts which the stages hand to each other.
//!
//! Every artifact is a folder of Parquet, safetensors or JSON files. One module here describes each: its row type, a
//! writer and a reader which refuse any file that is not what it claims to be. No tensor library is known here.
//!
//! | module | artifact and files |
//! |---|---|
//! | [`dataset`] | real images: `train.parquet`, `test.parquet` |
//! | [`whitening`] | what images are whitened by: `whitening.safetensors` |
//! | [`teacher`] | a trained network: `weights.safetensors`, `history.parquet` |
//! | [`experts`] | networks with their weights after each epoch: `expert-000.safetensors` and so on |
//! | [`scores`] | what the teacher thinks of each training image: `scores.parquet` |
//! | [`initial`] | the images recovery starts from: `initial.parquet` |
//! | [`mod@space`] | what networks take in place of pixels |
//! | [`synthetic`], [`trace`] | the distilled images and their losses: `synthetic.parquet`, `trace.parquet` |
//! | [`labels`] | stored views and soft labels: `labels.parquet` |
//! | [`evaluation`], [`history`] | students trained on them: `history.parquet`, `summary.json` |
//!
//! Below them lie [`canonical`] (stable JSON and digests), [`provenance`] (the metadata key `delt`, and keys), [`rgb_image`]
//! (8-bit RGB), [`tensors`] (safetensors), [`files`] (that may not be there), [`sealed`] (checkpoints that are known again by a
//! digest) and [`table`] (what all Parquet files share). [`manifest`] says what an artifact holds. `delt-store` keeps artifacts by key, `delt-guard` reads files of
//! others.

pub mod canonical;
pub mod columns;
pub mod dataset;
pub mod error;
pub mod evaluation;
pub mod experts;
pub mod files;
pub mod history;
pub mod initial;
pub mod label_packing;
pub mod labels;
pub mod manifest;
mod packed_views;
pub mod provenance;
pub mod rgb_image;
pub mod scores;
pub mod sealed;
pub mod space;
pub mod synthetic;
pub mod table;
pub mod teacher;
pub mod tensors;
pub mod trace;
pub mod view;
mod view_columns;
pub mod whitening;

pub use canonical::{Digest, canonical_json};
pub use dataset::{DatasetFacts, DatasetReader, DatasetWriter, ImageRow};
pub use error::{FormatError, Result};
pub use evaluation::{StudentResult, Summary};
pub use experts::ExpertsFacts;
pub use history::{HistoryReader, HistoryRow, HistoryWriter};
pub use initial::{InitialReader, InitialRow, InitialWriter};
pub use label_packing::{Keep, LabelPacking};
pub use labels::{LabelsFacts, LabelsReader, LabelsWriter};
pub use manifest::{FileEntry, Manifest};
pub use provenance::{ArtifactKind, Key, Provenance};
pub use rgb_image::RgbImage;
pub use scores::{ScoreRow, ScoresFacts, ScoresReader, ScoresWriter};
pub use space::{Space, WhitenedBy};
pub use synthetic::{SyntheticFacts, SyntheticReader, SyntheticRow, SyntheticWriter};
pub use teacher::{Architecture, BnMomentum, Conv1Start, Norm, Normalization, Stem, TeacherFacts, VitStart};
pub use tensors::{NamedTensor, TensorValues, read_safetensors, write_safetensors};
pub use trace::{TraceReader, TraceRow, TraceWriter};
pub use view::{AugmentOp, CropBox, Interpolation, Mix, Op, ViewRow};
pub use whitening::{Whitening, WhiteningFacts};
