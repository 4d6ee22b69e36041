//! Making the next batch while the network works on the one before, and writing what it made while it goes on.

use std::sync::mpsc::{IntoIter, sync_channel};
use std::thread;

/// Items that are made and wait, beside the one that is being made.
const WAITING: usize = 1;

/// Hands `items` to `consume`, in order; a thread of its own makes them, two ahead at most.
///
/// An item that cannot be made is a `Result` for `consume` to pass on. Once `consume` returns, whether at the end, with an
/// error or for an interrupt, the thread ends after the item that it is at.
pub fn ahead<T: Send, R>(items: impl Iterator<Item = T> + Send, consume: impl FnOnce(IntoIter<T>) -> R) -> R {
    let (sender, receiver) = sync_channel(WAITING);
    thread::scope(|scope| {
        scope.spawn(move || {
            for item in items {
                if sender.send(item).is_err() {
                    return;
                }
            }
        });
        consume(receiver.into_iter())
    })
}

/// Runs `make`; a thread of its own stores what it hands over, in order, two items behind at most.
///
/// Handing over returns false once an item could not be stored: there is no use in making more. However `make` ends, what it
/// handed over is stored first, and an error of that comes before its own.
///
/// # Errors
/// The first of storing, else that of making.
pub fn behind<T: Send, E: Send>(
    store: impl FnMut(T) -> Result<(), E> + Send,
    make: impl FnOnce(&dyn Fn(T) -> bool) -> Result<(), E>,
) -> Result<(), E> {
    let (sender, receiver) = sync_channel(WAITING);
    thread::scope(|scope| {
        let stored = scope.spawn(move || receiver.into_iter().try_for_each(store));
        let made = make(&|item| sender.send(item).is_ok());
        drop(sender);
        let stored = stored.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        stored.and(made)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn items_come_in_order_and_never_more_than_two_ahead() {
        let (made, used) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items = (0..200).inspect(|at| {
            made.fetch_add(1, Ordering::SeqCst);
            let used = used.load(Ordering::SeqCst);
            assert!(*at <= used + WAITING + 1, "item {at} is made when {used} are used");
        });
        let found: Vec<usize> = ahead(items, |items| {
            items
                .inspect(|_| {
                    used.fetch_add(1, Ordering::SeqCst);
                })
                .collect()
        });
        assert_eq!(found, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn whoever_stops_early_stops_the_making() {
        let made = AtomicUsize::new(0);
        let items = (0..).inspect(|_| {
            made.fetch_add(1, Ordering::SeqCst);
        });
        let result: Result<(), i32> = ahead(items, |mut items| items.find(|at| *at == 3).map_or(Ok(()), Err));
        assert_eq!(result, Err(3));
        assert!(made.into_inner() <= 4 + WAITING + 1);
    }

    #[test]
    fn what_was_handed_over_is_stored_although_making_fails() {
        let mut stored = Vec::new();
        let result = behind(
            |at| {
                stored.push(at);
                Ok(())
            },
            |hand_over| {
                assert!((0..5).all(hand_over));
                Err("interrupted")
            },
        );
        assert_eq!((stored, result), (vec![0, 1, 2, 3, 4], Err("interrupted")));
    }

    #[test]
    fn what_cannot_be_stored_ends_the_making_and_is_the_error() {
        let result = behind(
            |at| if at < 3 { Ok(()) } else { Err("full") },
            |hand_over| {
                assert!(!(0..100).all(hand_over), "making went on");
                Ok(())
            },
        );
        assert_eq!(result, Err("full"));
    }

    #[test]
    #[should_panic = "a scoped thread panicked"]
    fn a_panic_while_an_item_is_made_is_not_the_end_of_the_items() {
        ahead((0..3).map(|at| assert!(at < 1, "broken")), Iterator::count);
    }
}
