//! A panic is an internal error of this program: said in one line, wherever it happens, and the stage fails as it fails otherwise.
//! Only a stdout that takes no more is none: see [`Ended`].

use std::io::{Write, stdout};
use std::panic::{AssertUnwindSafe, catch_unwind};

use delt_guard::foreign::is_reading;

/// How the standard library begins what it says of a stdout that it cannot write to.
const PRINTING: &str = "failed printing to stdout: ";
/// How that goes on where the reader has seen enough, as in `evaluate | head`.
const CLOSED_PIPE: &str = "Broken pipe";

/// How Burn names the threads that run and tune a device's kernels. It catches what panics there, e.g. a kernel that it only tries.
const DEVICE_THREADS: [&str; 2] = ["DSD-", "DSU-"];

/// A run that did not come to its end by itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nobody reads stdout any more: as with other tools a quiet end.
    Unread,
    /// Stdout cannot be written for this reason, e.g. since its disk is full.
    Unwritable(String),
    /// An internal error, which was said.
    Panicked,
}

/// Replaces Rust's own lines, which stay where `RUST_BACKTRACE` asks for them. A reader of files that broke off is told by its
/// error, and so is a stdout that takes no more.
pub(crate) fn say_in_one_line(stage: &'static str) {
    let with_backtrace = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or("a panic without a message");
        if is_reading() || text.starts_with(PRINTING) {
            return;
        }
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let thread = std::thread::current();
        let is_of_device =
            thread.name().is_some_and(|name| DEVICE_THREADS.iter().any(|of| name.starts_with(of)));
        eprintln!("{}", if is_of_device { survived(stage, text, &place) } else { line(stage, text, &place) });
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            with_backtrace(panic);
        }
    }));
}

/// What `run` returns, once all that it printed is written.
///
/// # Errors
/// Where it ended before that.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Ended> {
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let made = run();
        match stdout().flush() {
            Ok(()) => made,
            Err(error) => panic!("{PRINTING}{error}"),
        }
    }));
    ended.map_err(|payload| {
        let text = payload.downcast_ref::<String>().and_then(|text| text.strip_prefix(PRINTING));
        text.map_or(Ended::Panicked, |why| match why.starts_with(CLOSED_PIPE) {
            true => Ended::Unread,
            false => Ended::Unwritable(why.to_owned()),
        })
    })
}

fn survived(stage: &str, text: &str, place: &str) -> String {
    format!(
        "{stage}: the device's backend broke off a piece of work: {} (at {place}); if no error follows, it found another way",
        text.replace('\n', " ")
    )
}

fn line(stage: &str, text: &str, place: &str) -> String {
    format!(
        "{stage}: an internal error of this program: {} (at {place}); finished work is saved; run again with RUST_BACKTRACE=1 and \
         report what it says",
        text.replace('\n', " ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_nothing_but_the_run_and_is_said_in_one_line() {
        assert_eq!(caught(|| 3), Ok(3));
        assert_eq!(caught(|| -> u32 { panic!("made for this test") }), Err(Ended::Panicked));
        assert_eq!(
            line("relabel", "left != right\n  left: 1", "src/a.rs:3:5"),
            "relabel: an internal error of this program: left != right   left: 1 (at src/a.rs:3:5); finished work is saved; run again \
             with RUST_BACKTRACE=1 and report what it says"
        );
    }

    #[test]
    fn a_stdout_that_takes_no_more_is_no_internal_error() {
        let printing = |why: &str| caught(|| -> u32 { panic!("{PRINTING}{why}") });
        assert_eq!(printing("Broken pipe (os error 32)"), Err(Ended::Unread));
        let full = "No space left on device (os error 28)";
        assert_eq!(printing(full), Err(Ended::Unwritable(full.to_owned())));
    }
}
