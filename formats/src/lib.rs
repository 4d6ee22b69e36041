//! The artifacts which the stages hand to each other, and the store that keeps them.
//!
//! Every artifact is a folder of Parquet, safetensors or JSON files. One module here describes each: its row type, a
//! writer and a reader which refuse any file that is not what it claims to be. No tensor library is known here.
//!
//! | module | artifact and files |
//! |---|---|
//! | [`dataset`] | real images: `train.parquet`, `test.parquet` |
//! | [`teacher`] | a trained network: `weights.safetensors`, `history.parquet` |
//! | [`scores`] | what the teacher thinks of each training image: `scores.parquet` |
//! | [`initial`] | the images recovery starts from: `initial.parquet` |
//! | [`synthetic`], [`trace`] | the distilled images and their losses: `synthetic.parquet`, `trace.parquet` |
//! | [`labels`] | stored views and soft labels: `labels.parquet` |
//! | [`evaluation`], [`history`] | students trained on them: `history.parquet`, `summary.json` |
//!
//! Below them lie [`canonical`] (stable JSON and digests), [`provenance`] (the metadata key `delt`), [`picture`] (8-bit
//! RGB), [`tensors`] (safetensors), [`checkpoint`] (weights made elsewhere), [`pages`] (Parquet of others), [`foreign`] (panics of libraries), [`sealed`] (checkpoints), [`home`] (paths that begin with `~/`) and [`table`] (what all Parquet files share). [`manifest`] says what an artifact holds
//! and [`store`] caches artifacts by key on storage shared by many machines:
//! `delt-store ls`, `delt-store verify`, `delt-store forget`, `delt-store gc`, `delt-store path`.

pub mod canonical;
pub mod checkpoint;
pub mod columns;
pub mod dataset;
pub mod error;
pub mod evaluation;
pub mod foreign;
pub mod history;
pub mod home;
pub mod initial;
pub mod label_packing;
pub mod labels;
pub mod manifest;
mod packed_views;
pub mod pages;
mod pickle_scan;
pub mod picture;
pub mod provenance;
pub mod scores;
pub mod sealed;
pub mod store;
pub mod synthetic;
pub mod table;
pub mod teacher;
pub mod tensors;
mod thrift;
pub mod trace;
pub mod view;
mod view_columns;

pub use canonical::{Digest, canonical_json};
pub use checkpoint::{CheckpointError, read_checkpoint};
pub use dataset::{DatasetFacts, DatasetReader, DatasetWriter, ImageRow};
pub use error::{FormatError, Result};
pub use evaluation::{StudentResult, Summary};
pub use history::{HistoryReader, HistoryRow, HistoryWriter};
pub use initial::{InitialReader, InitialRow, InitialWriter};
pub use label_packing::{Keep, LabelPacking};
pub use labels::{LabelsFacts, LabelsReader, LabelsWriter};
pub use manifest::{FileEntry, Manifest};
pub use picture::Picture;
pub use provenance::{ArtifactKind, Provenance};
pub use scores::{ScoreRow, ScoresReader, ScoresWriter};
pub use store::{Claim, Entry, Holder, Key, Store, StoreError, Workspace};
pub use synthetic::{SyntheticReader, SyntheticRow, SyntheticWriter};
pub use teacher::{Architecture, Normalization, Stem, TeacherFacts};
pub use tensors::{NamedTensor, TensorValues, read_safetensors, write_safetensors};
pub use trace::{TraceReader, TraceRow, TraceWriter};
pub use view::{AugmentOp, CropBox, Interpolation, Mix, Op, ViewRow};
