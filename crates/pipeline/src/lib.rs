//! What a run is, before anything of it runs: the typed configuration and its YAML, the EarlyLate schedule, the plan of each
//! artifact with its key, the recipe in words and the cost in floating-point operations.
//!
//! Pure: nothing here knows a command line, a terminal, a store or a tensor library.

pub mod amounts;
pub mod cells;
pub mod config;
pub mod cost;
pub mod dag;
pub mod early_late;
pub mod near;
pub mod plan;
pub mod recipe;
pub mod roles;
pub mod watch;
pub mod yaml;
