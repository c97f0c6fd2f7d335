//! Passes over many rows on several threads.
//!
//! Threads live for one pass, so there is no pool that a fork could leave without them. What they return is put together
//! in the order of the rows: results cannot depend on how many there are.

use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;

/// Fewest rows that are worth a thread.
const MIN_ROWS: usize = 4096;

/// Cut `0..n` into ranges, one a thread, and return what `work` makes of each, in order.
pub fn in_parts<R: Send>(
    n: usize,
    n_threads: usize,
    work: impl Fn(Range<usize>) -> R + Sync,
) -> Vec<R> {
    let n_parts = n_threads.min(n / MIN_ROWS);
    if n_parts <= 1 {
        return vec![work(0..n)];
    }
    let bounds = |part: usize| part * n / n_parts..(part + 1) * n / n_parts;
    let work = &work;
    thread::scope(|scope| {
        let others: Vec<_> = (1..n_parts)
            .map(|part| scope.spawn(move || work(bounds(part))))
            .collect();
        let mut parts = vec![work(bounds(0))];
        for other in others {
            parts.push(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        parts
    })
}

/// Parts as one; the first is not copied.
#[must_use]
pub fn concat<R>(parts: Vec<Vec<R>>) -> Vec<R> {
    let mut parts = parts.into_iter();
    let mut whole = parts.next().unwrap_or_default();
    parts.for_each(|part| whole.extend(part));
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_and_in_order() {
        for n in [0, 1, 4095, 8192, 50_001] {
            for n_threads in [0, 1, 2, 7] {
                let parts = in_parts(n, n_threads, Iterator::collect::<Vec<_>>);
                assert_eq!(concat(parts), (0..n).collect::<Vec<_>>());
            }
        }
    }
}
