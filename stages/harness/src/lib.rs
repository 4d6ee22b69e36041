//! What every stage binary shares: arguments, the pipeline YAML, artifact keys, the store, progress and exit codes.
//!
//! A stage's `main` calls [`session::main`] with its `run` function. `run` asks the [`session::Session`] for the
//! branches of the pipeline, builds a [`plan::Plan`] for each artifact it makes and hands the work to
//! [`session::Session::produce`], which answers from the store where it can. No tensor library is known here.

mod advice;
pub mod args;
mod committee;
pub mod config;
pub mod cost;
mod explain;
pub mod interrupt;
pub mod near;
mod panic;
pub mod parts;
pub mod plan;
pub mod progress;
pub mod recipe;
pub mod resolve;
pub mod session;
mod spent;
pub mod table;
mod usage;
pub mod yaml;
