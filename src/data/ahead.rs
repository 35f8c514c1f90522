//! Work that is done while what came before it is used.

use rayon::Yield;
use std::{
    collections::VecDeque,
    ops::Range,
    sync::mpsc::{Receiver, TryRecvError, sync_channel},
};

/// How many results wait at most beside the one in use.
const AHEAD: usize = 2;

/// Calls `consume` with what takes the results of `make` for each of `numbers`, in their order, and then
/// nothing more. rayon's threads make the next two whenever they are not needed for what `consume` does;
/// so no more than three results exist at a time, and what they are does not depend on the threads.
///
/// # Panics
/// If `make` or `consume` does.
pub fn ahead<T: Send, R: Send>(
    mut numbers: Range<usize>,
    make: impl Fn(usize) -> T + Sync,
    consume: impl FnOnce(&mut dyn FnMut() -> Option<T>) -> R + Send,
) -> R {
    let make = &make;
    rayon::scope_fifo(|scope| {
        let mut waiting = VecDeque::with_capacity(AHEAD + 1);
        consume(&mut || {
            while waiting.len() <= AHEAD
                && let Some(number) = numbers.next()
            {
                let (result, place) = sync_channel(1);
                // Nobody waits for it where `consume` ended early.
                scope.spawn_fifo(move |_| drop(result.send(make(number))));
                waiting.push_back(place);
            }
            waiting.pop_front().map(taken)
        })
    })
}

/// Helps to make a result, then waits for it.
fn taken<T>(place: Receiver<T>) -> T {
    loop {
        match place.try_recv() {
            Ok(result) => return result,
            Err(TryRecvError::Empty) if rayon::yield_now() == Some(Yield::Executed) => {}
            // There is nothing left to help with: another thread has begun it, and does not wait for this one.
            Err(_) => return place.recv().expect("a result for each number, or a panic that is on its way"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn results_come_in_their_order_with_any_number_of_threads() {
        for threads in [1, 2, 4] {
            let taken = pool(threads).install(|| {
                let slow_if_even = |number: usize| {
                    std::thread::sleep(std::time::Duration::from_micros(if number.is_multiple_of(2) {
                        300
                    } else {
                        0
                    }));
                    number * number
                };
                ahead(3..40, slow_if_even, |next| std::iter::from_fn(next).collect::<Vec<_>>())
            });
            assert_eq!(taken, (3..40).map(|number| number * number).collect::<Vec<_>>(), "{threads} threads");
        }
    }

    #[test]
    fn no_more_is_made_than_may_wait() {
        let made = AtomicUsize::new(0);
        let most = pool(3).install(|| {
            let make = |_| made.fetch_add(1, Ordering::SeqCst);
            ahead(0..50, make, |next| {
                let mut taken = 0;
                let mut most = 0;
                while next().is_some() {
                    taken += 1;
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    most = most.max(made.load(Ordering::SeqCst) - taken);
                }
                most
            })
        });
        assert!((1..=AHEAD).contains(&most), "{most}");
    }

    #[test]
    fn what_is_not_taken_is_no_hindrance() {
        let first = pool(1).install(|| ahead(0..1000, |number| number, |next| next()));
        assert_eq!(first, Some(0));
        assert_eq!(ahead(0..0, |number| number, |next| next()), None);
    }
}
