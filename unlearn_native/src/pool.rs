//! Spans of variable length (strings, sparse rows) in chunks which never move, zeroised when freed.
//!
//! A span is addressed by a `u32` count of 8-byte words, and rounded up to one of four sizes an octave (under 25 %
//! waste). Free lists hold addresses only; freed spans, padding and unused chunks are zero at all times. Chunks hold
//! `2^SHIFT` words: 1 MiB unless the owner is one of many small ones.

use std::ops::Range;

use bytemuck::allocation::try_zeroed_slice_box;
use thiserror::Error;
use zeroize::Zeroize;

use crate::chunked::{Buffer, OutOfMemory};

/// 1 MiB of 8-byte words.
const DEFAULT_SHIFT: u32 = 17;

/// Why a span could not be had.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PoolError {
    /// The allocator refused.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// Addresses are 32 bits wide.
    #[error("a pool of strings or sparse rows holds at most 32 GiB. Nothing was changed")]
    Full,
}

/// Owner of the words; callers keep (address, length) themselves.
#[derive(Debug)]
pub struct Pool<const SHIFT: u32 = DEFAULT_SHIFT> {
    chunks: Vec<Box<[u64]>>,
    /// Positions in `chunks` whose dedicated chunk was freed.
    vacant: Vec<u32>,
    free: Vec<Vec<u32>>,
    /// Words not handed out yet, all in one chunk.
    tail: Range<usize>,
    n_spans: usize,
}

impl<const SHIFT: u32> Default for Pool<SHIFT> {
    fn default() -> Self {
        let free = vec![Vec::new(); Self::N_CLASSES];
        Self {
            chunks: Vec::new(),
            vacant: Vec::new(),
            free,
            tail: 0..0,
            n_spans: 0,
        }
    }
}

/// Class of a span: 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, ...
fn class_of(words: usize) -> usize {
    if words <= 4 {
        return words - 1;
    }
    let octave = (words - 1).ilog2() - 2;
    let quarter = (words - 1) >> octave; // 4..=7
    (octave as usize) * 4 + quarter
}

fn class_words(class: usize) -> usize {
    if class < 4 {
        class + 1
    } else {
        (class % 4 + 5) << (class / 4 - 1)
    }
}

/// Words of a span that is asked for with `words` words: as many can be used.
#[must_use]
pub fn room(words: usize) -> usize {
    if words == 0 {
        0
    } else {
        class_words(class_of(words))
    }
}

impl<const SHIFT: u32> Pool<SHIFT> {
    const CHUNK_WORDS: usize = 1 << SHIFT;
    const MAX_CHUNKS: usize = 1 << (32 - SHIFT);
    /// The last class is that of a whole chunk.
    const N_CLASSES: usize = 4 + (SHIFT as usize - 2) * 4;

    /// A zeroed span of at least `words` words; `words` must be positive.
    ///
    /// # Errors
    /// If the allocator refuses or the addresses are used up; nothing is changed.
    pub fn allocate(&mut self, words: usize) -> Result<u32, PoolError> {
        let address = if words > Self::CHUNK_WORDS {
            self.add_chunk(words)? << SHIFT
        } else {
            let class = class_of(words);
            match self.free[class].pop() {
                Some(address) => address as usize,
                None => self.cut(class_words(class))?,
            }
        };
        self.n_spans += 1;
        Ok(narrow(address))
    }

    /// Zeroise a span and take it back.
    pub fn release(&mut self, address: u32, words: usize) {
        self.get_mut(address, words).zeroize();
        self.n_spans -= 1;
        if self.n_spans == 0 {
            *self = Self::default();
        } else if words > Self::CHUNK_WORDS {
            self.chunks[(address >> SHIFT) as usize] = Box::default();
            self.vacant.push(address >> SHIFT);
        } else {
            self.free[class_of(words)].push(address);
        }
    }

    /// The first `words` words of a span.
    #[inline]
    #[must_use]
    pub fn get(&self, address: u32, words: usize) -> &[u64] {
        let offset = address as usize % Self::CHUNK_WORDS;
        &self.chunks[(address >> SHIFT) as usize][offset..offset + words]
    }

    /// The first `words` words of a span, to be written.
    #[inline]
    pub fn get_mut(&mut self, address: u32, words: usize) -> &mut [u64] {
        let offset = address as usize % Self::CHUNK_WORDS;
        &mut self.chunks[(address >> SHIFT) as usize][offset..offset + words]
    }

    /// Bytes allocated.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let lists = self
            .free
            .iter()
            .chain([&self.vacant])
            .map(|list| list.capacity() * 4);
        self.buffers().map(|(_, nbytes)| nbytes).chain(lists).sum()
    }

    /// Every chunk.
    pub fn buffers(&self) -> impl Iterator<Item = Buffer> {
        self.chunks
            .iter()
            .filter(|chunk| !chunk.is_empty())
            .map(|chunk| (chunk.as_ptr().addr(), size_of_val(&**chunk)))
    }

    /// Whether all words outside of the live spans (address, words) are zero, as they must be.
    pub fn spare_is_zero(&self, spans: impl Iterator<Item = (u32, usize)>) -> bool {
        let set = |words: &[u64]| words.iter().filter(|&&word| word != 0).count();
        let live: usize = spans
            .map(|(address, words)| set(self.get(address, words)))
            .sum();
        live == self.chunks.iter().map(|chunk| set(chunk)).sum::<usize>()
    }

    /// Cut a span off the tail, or off a new chunk; the longer one of the two rests is the next tail.
    fn cut(&mut self, words: usize) -> Result<usize, PoolError> {
        if self.tail.len() >= words {
            self.tail.start += words;
            return Ok(self.tail.start - words);
        }
        let start = self.add_chunk(Self::CHUNK_WORDS)? << SHIFT;
        let mut rest = start + words..start + Self::CHUNK_WORDS;
        if rest.len() > self.tail.len() {
            std::mem::swap(&mut rest, &mut self.tail);
        }
        self.keep(rest);
        Ok(start)
    }

    /// Put words on the free lists, in the largest spans that fit.
    fn keep(&mut self, mut rest: Range<usize>) {
        for class in (0..Self::N_CLASSES).rev() {
            let words = class_words(class);
            while rest.len() >= words {
                self.free[class].push(narrow(rest.start));
                rest.start += words;
            }
        }
    }

    fn add_chunk(&mut self, words: usize) -> Result<usize, PoolError> {
        if self.vacant.is_empty() && self.chunks.len() == Self::MAX_CHUNKS {
            return Err(PoolError::Full);
        }
        self.chunks.try_reserve(1).map_err(|_| OutOfMemory)?;
        let chunk = try_zeroed_slice_box(words).map_err(|()| OutOfMemory)?;
        if let Some(position) = self.vacant.pop() {
            self.chunks[position as usize] = chunk;
            return Ok(position as usize);
        }
        self.chunks.push(chunk);
        Ok(self.chunks.len() - 1)
    }
}

/// Addresses fit: there are at most `MAX_CHUNKS` chunks of `2^SHIFT` addresses.
#[allow(clippy::cast_possible_truncation)]
fn narrow(address: usize) -> u32 {
    address as u32
}

impl<const SHIFT: u32> Drop for Pool<SHIFT> {
    fn drop(&mut self) {
        for chunk in &mut self.chunks {
            chunk.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK_WORDS: usize = <Pool>::CHUNK_WORDS;
    const N_CLASSES: usize = <Pool>::N_CLASSES;

    #[test]
    fn classes_ascend_and_waste_less_than_a_quarter() {
        for words in 1..=CHUNK_WORDS {
            let size = class_words(class_of(words));
            assert!(
                size >= words && 4 * (size - words) < words,
                "{words} words take {size}"
            );
        }
        assert_eq!(class_of(CHUNK_WORDS), N_CLASSES - 1);
        assert!((0..N_CLASSES).all(|class| class_of(class_words(class)) == class));
    }

    #[test]
    fn freed_spans_are_zero_and_come_back() {
        let mut pool = <Pool>::default();
        let keep = pool.allocate(3).expect("memory");
        let span = pool.allocate(9).expect("memory");
        pool.get_mut(span, 9).fill(u64::MAX);

        pool.release(span, 9);

        assert!(pool.spare_is_zero([(keep, 3)].into_iter()));
        assert_eq!(pool.allocate(10).expect("memory"), span);
    }

    #[test]
    fn large_spans_have_chunks_of_their_own() {
        let mut pool = <Pool>::default();
        let small = pool.allocate(1).expect("memory");
        let large = pool.allocate(CHUNK_WORDS + 1).expect("memory");
        pool.get_mut(large, CHUNK_WORDS + 1).fill(7);
        assert_eq!(pool.buffers().count(), 2);

        pool.release(large, CHUNK_WORDS + 1);

        assert_eq!(pool.buffers().count(), 1);
        assert_eq!(pool.allocate(CHUNK_WORDS + 5).expect("memory"), large);
        assert_eq!(pool.get(small, 1), [0]);
    }

    #[test]
    fn the_rest_of_a_chunk_is_used_before_a_new_one() {
        let mut pool = <Pool>::default();
        pool.allocate(CHUNK_WORDS / 2).expect("memory");
        pool.allocate(CHUNK_WORDS - 5).expect("memory");
        let chunks = pool.buffers().count();

        for _ in 0..100 {
            pool.allocate(3).expect("memory");
        }

        assert_eq!(pool.buffers().count(), chunks);
    }

    #[test]
    fn an_emptied_pool_gives_its_memory_back() {
        let mut pool = <Pool>::default();
        let spans: Vec<_> = (1..500)
            .map(|words| (pool.allocate(words).expect("memory"), words))
            .collect();

        for (address, words) in spans {
            pool.release(address, words);
        }

        assert_eq!(pool.buffers().count(), 0);
    }
}
