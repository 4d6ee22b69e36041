//! What every stage binary shares: arguments, the session, progress, interrupts, parts and exit codes.
//!
//! A stage's `main` calls [`session::main`] with its `run` function. `run` asks the [`session::Session`] for the
//! branches of the pipeline, asks the DAG for the [`delt_pipeline::plan::Plan`] of each artifact it makes and hands the work to
//! [`session::Session::produce`], which answers from the store where it can. No tensor library is known here.

/// As the standard library's, but a stderr that is closed or full ends nothing: what is told gets lost, the work does not.
#[macro_export]
macro_rules! eprintln {
    ($($line:tt)*) => {{
        use ::std::io::Write as _;
        let _ = ::std::writeln!(::std::io::stderr(), $($line)*);
    }};
}

mod advice;
pub mod args;
mod baseline;
pub mod chance;
mod differences;
mod explain;
pub mod external_images;
pub mod external_scores;
pub mod interrupt;
pub mod notes;
mod panic;
pub mod parts;
pub mod progress;
pub mod recipes;
pub mod session;
pub mod space;
mod spent;
pub mod synthetic_images;
pub mod table;
pub mod trained;
mod usage;
pub mod verdict;
