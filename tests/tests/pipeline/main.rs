//! The stage binaries, run as a user runs them, over stores in temporary folders.

#![expect(clippy::unwrap_used, reason = "a failed step fails its test")]

mod bundle;
mod compare;
mod experiments;
mod export;
mod export_ddranking;
mod export_networks;
mod external_set;
mod fkd;
mod given;
mod imported_labels;
mod lookups;
mod makefile;
mod matching;
mod methods;
mod mistakes;
mod normalization;
mod notes;
mod object_store;
mod options;
mod output;
mod package;
mod partial;
mod python;
#[cfg(unix)]
mod read_only;
mod replay;
mod reproducible;
mod shards;
mod torch_weights;
mod usage;
mod waiting;
mod wheel;
