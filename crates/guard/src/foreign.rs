//! Calls into libraries that read files of others: where a hostile file makes one of them panic, that is an error of the file and
//! not an internal error of this program. A last resort: what a file claims is checked before it is handed over.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static IS_READING: Cell<bool> = const { Cell::new(false) };
}

/// What `read` returns, or what it said when it panicked. Nothing that `read` was at may be used afterwards.
pub fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    let before = IS_READING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(read));
    IS_READING.set(before);
    result.map_err(|panic| format!("its reader failed: {}", said(panic.as_ref())))
}

/// Whether this thread is in such a call: a panic is then told by an error, and needs no words of its own.
pub fn is_reading() -> bool {
    IS_READING.get()
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_what_it_said_and_is_known_as_such_while_it_lasts() {
        assert_eq!(guarded(|| (is_reading(), 3)), Ok((true, 3)));
        let number = 7;
        let broken = guarded(|| -> u32 { panic!("index {number} of 3") });
        assert_eq!(broken, Err("its reader failed: index 7 of 3".to_owned()));
        assert!(!is_reading());
    }
}
