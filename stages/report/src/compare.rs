//! Methods side by side: every branch of every pipeline of a sweep, in one table and one page.
//!
//! Takes a sweep file and what the store holds of its pipelines, makes `compare-<sweep>.html`, `.csv` and `.parquet` below
//! `<store>/reports`. Run it with `make compare SWEEP=cifar100-conv3`, which runs first what is not in the store.

pub mod ahead;
pub mod cells;
pub mod files;
pub mod method;
pub mod page;
pub mod run;
pub mod sweep;
