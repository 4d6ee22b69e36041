//! The cache of artifacts, on storage that many machines may share.
//!
//! ```text
//! ARTIFACT/KEY/manifest.json ...             a published artifact
//! work/ARTIFACT-KEY/                         claims, checkpoints and files of an artifact in the making
//! runs/PIPELINE/BRANCH/ARTIFACT.json         a pointer: which artifact a run ended with
//! ```
//!
//! An artifact is there once its manifest is. A hit trusts the manifest and the sizes it states; [`Entry::verify`] checks
//! every byte. Nothing here compares clocks of two hosts or times of files. What a newer build wrote is left alone.
//!
//! | module | what it says |
//! |---|---|
//! | `backend` | what a store needs of its storage: one trait |
//! | `folder`, `bucket` | the two storages, and in them what only one has: renaming into place, uploading |
//! | `store`, `judgment`, `entry` | what is there, and whether it is whole |
//! | `claim`, `holder`, `claiming`, `workspace` | who makes what is not there, and how it is published |
//! | `pointer`, `gc` | what runs lead to, and what nobody needs |
//! | `command` | the program `delt-store` |
//!
//! A store in the cloud is a bucket with a folder of this machine before it: artifacts are made, claimed and published there
//! first, then claimed among all machines and uploaded; what others made is downloaded when it is asked for.

mod backend;
mod bucket;
mod claim;
mod claiming;
pub mod command;
mod entry;
mod error;
mod files;
mod folder;
mod gc;
mod holder;
mod judgment;
mod location;
mod pointer;
mod store;
mod workspace;

use std::time::Duration;

pub use claiming::Claim;
pub use delt_formats::Key;
pub use entry::Entry;
pub use error::StoreError;
pub use files::{try_place, write_atomic};
pub use gc::{Collection, Garbage, GarbageReason, GcReport, Scope};
pub use holder::Holder;
pub use location::{Location, LocationError, expand_home};
pub use pointer::{Forgotten, Pointer};
pub use store::{Store, Verification};
pub use workspace::Workspace;

/// A result of the store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Hex digits of a key that name its folder.
pub const KEY_DIGITS: usize = 32;

/// A file beside the manifest that no digest covers: seconds, host, device and whatever else is true of one run only.
pub const RUN_RECORD: &str = "run.json";

/// The manifest under the name it has while its artifact's folder is renamed into place.
const PENDING_MANIFEST: &str = "manifest.pending.json";

/// The default of [`Store::open_at`]'s folder for files of object stores.
pub const DEFAULT_CACHE: &str = "data/cache";

/// Where claims and unfinished artifacts are.
const WORK_DIR: &str = "work";

/// How often a claim's counter moves, how often a waiter looks, and after how long without movement a claim is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimTiming {
    /// Between two steps of the holder's counter.
    pub heartbeat: Duration,
    /// Between two looks of a waiter.
    pub poll: Duration,
    /// By the waiter's own clock, since it last saw the counter move.
    pub stale: Duration,
}

/// Seconds after which a claim whose counter stands still is stale: above the minute for which NFS may show old content.
pub const STALE_SECONDS: u64 = 90;

impl ClaimTiming {
    /// The timing of every run outside tests.
    pub const STANDARD: Self = Self {
        heartbeat: Duration::from_secs(5),
        poll: Duration::from_secs(1),
        stale: Duration::from_secs(STALE_SECONDS),
    };
}
