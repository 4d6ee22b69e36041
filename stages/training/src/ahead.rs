//! Making the next batch while the network works on the one before.

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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn add_one(counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::SeqCst);
    }

    #[test]
    fn items_come_in_order_and_never_more_than_two_ahead() {
        let (made, used) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items = (0..200).inspect(|at| {
            made.fetch_add(1, Ordering::SeqCst);
            let used = used.load(Ordering::SeqCst);
            assert!(*at <= used + WAITING + 1, "item {at} is made when {used} are used");
        });
        let found: Vec<usize> = ahead(items, |items| items.inspect(|_| add_one(&used)).collect());
        assert_eq!(found, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn whoever_stops_early_stops_the_making() {
        let made = AtomicUsize::new(0);
        let items = (0..).inspect(|_| add_one(&made));
        let result: Result<(), i32> = ahead(items, |mut items| items.find(|at| *at == 3).map_or(Ok(()), Err));
        assert_eq!(result, Err(3));
        assert!(made.into_inner() <= 4 + WAITING + 1);
    }

    #[test]
    #[should_panic = "a scoped thread panicked"]
    fn a_panic_while_an_item_is_made_is_not_the_end_of_the_items() {
        ahead((0..3).map(|at| assert!(at < 1, "broken")), Iterator::count);
    }
}
