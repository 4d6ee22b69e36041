//! A panic is an internal error of this program: said in one line, wherever it happens, and the stage fails as it fails otherwise.

use std::panic::{AssertUnwindSafe, catch_unwind};

use delt_guard::foreign::is_reading;

/// Replaces Rust's own lines, which stay where `RUST_BACKTRACE` asks for them. A reader of files that broke off is told by its error.
pub(crate) fn say_in_one_line(stage: &'static str) {
    let with_backtrace = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // A reader of what is printed that has seen enough (`--dry-run | head`) is no error of this program.
        let is_closed_pipe = panic
            .payload_as_str()
            .is_some_and(|text| text.starts_with("failed printing to stdout: Broken pipe"));
        if is_reading() || is_closed_pipe {
            return;
        }
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        eprintln!("{}", line(stage, panic.payload_as_str().unwrap_or("a panic without a message"), &place));
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            with_backtrace(panic);
        }
    }));
}

/// What `run` returns; none where it panicked.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
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
        assert_eq!(caught(|| 3), Some(3));
        assert_eq!(caught(|| -> u32 { panic!("made for this test") }), None);
        assert_eq!(
            line("relabel", "left != right\n  left: 1", "src/a.rs:3:5"),
            "relabel: an internal error of this program: left != right   left: 1 (at src/a.rs:3:5); finished work is saved; run again \
             with RUST_BACKTRACE=1 and report what it says"
        );
    }
}
