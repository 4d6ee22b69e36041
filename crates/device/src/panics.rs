//! Panics while a device is asked for the first time. Burn opens devices on threads of its own: what panics there passes the
//! caller, who sees what followed from it.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Mutex, PoisonError};

/// What `ask` returns; where it fails or panics, the text of the first panic on any thread, if there was one. Meanwhile nothing is
/// printed of panics.
pub(crate) fn first_panic<T>(ask: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let first = Arc::new(Mutex::new(None));
    let heard = first.clone();
    let printing = take_hook();
    set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or("it panicked").replace('\n', " ");
        heard.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
    }));
    let answer = catch_unwind(AssertUnwindSafe(ask));
    set_hook(printing);
    let reason = match answer {
        Ok(Ok(found)) => return Ok(found),
        Ok(Err(reason)) => reason,
        Err(_) => String::new(),
    };
    let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
    Err(first.unwrap_or(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_panic_of_any_thread_is_the_reason() {
        let found: Result<(), String> = first_panic(|| {
            let device = std::thread::spawn(|| panic!("no\nlibcuda"));
            device.join().map_err(|_| "a channel broke".to_owned())
        });
        assert_eq!(found, Err("no libcuda".to_owned()));
        assert_eq!(first_panic(|| -> Result<(), String> { panic!("{}", 3) }), Err("3".to_owned()));
        assert_eq!(first_panic(|| Err::<(), _>("slow".to_owned())), Err("slow".to_owned()));
        assert_eq!(first_panic(|| Ok(4)), Ok(4));
    }
}
