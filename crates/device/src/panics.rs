//! Panics while a device is asked for the first time. Burn opens devices on threads of its own: what panics there passes the
//! caller, who sees what followed from it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

/// What has panicked on any thread, while somebody listens.
static HEARD: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Takes the text of a panic in where a device is being asked; the hook that prints panics then has nothing to say.
pub fn takes_panic(text: &str) -> bool {
    let mut heard = HEARD.lock().unwrap_or_else(PoisonError::into_inner);
    heard.as_mut().map(|texts| texts.push(text.to_owned())).is_some()
}

/// What `ask` returns; where it fails or panics, the text of the first panic on any thread, if there was one.
pub(crate) fn first_panic<T>(ask: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    listen(Some(Vec::new()));
    let answer = catch_unwind(AssertUnwindSafe(ask));
    let first = listen(None).and_then(|texts| texts.into_iter().next());
    let reason = match answer {
        Ok(Ok(found)) => return Ok(found),
        Ok(Err(reason)) => reason,
        Err(panic) => panic_text(panic.as_ref()),
    };
    Err(first.unwrap_or(reason).replace('\n', " "))
}

fn listen(texts: Option<Vec<String>>) -> Option<Vec<String>> {
    std::mem::replace(&mut *HEARD.lock().unwrap_or_else(PoisonError::into_inner), texts)
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_panic_of_any_thread_is_the_reason() {
        assert!(!takes_panic("nobody listens"));
        let found: Result<(), String> = first_panic(|| {
            assert!(takes_panic("no\nlibcuda"));
            assert!(takes_panic("a channel broke"));
            panic!("what followed");
        });
        assert_eq!(found, Err("no libcuda".to_owned()));
        assert_eq!(first_panic(|| -> Result<(), String> { panic!("{}", 3) }), Err("3".to_owned()));
        assert_eq!(first_panic(|| Err::<(), _>("slow".to_owned())), Err("slow".to_owned()));
        assert_eq!(first_panic(|| Ok(takes_panic("survived"))), Ok(true));
        assert!(!takes_panic("nobody listens any more"));
    }
}
