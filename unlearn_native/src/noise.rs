//! Discrete Gaussian noise, sampled exactly: no float enters, so no low bit of one can leak.
//!
//! # Rationale
//! A Gaussian drawn in floating point has holes and steps in its low bits that tell what it was added to (Mironov,
//! CCS 2012). Here every probability is a ratio of integers and every decision compares integers with uniform bits, after
//! Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential Privacy" (2020), for integer scales.
//!
//! # Limitations
//! How long a draw takes depends on what is drawn; nothing is promised against an adversary with a stopwatch. The bits
//! are BLAKE3 in extended output mode over 256 bits that the caller brings.

use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::identity::PrfKey;

/// Scales below this keep every product within 128 bits, and every sample within 64.
const LARGEST_SCALE: u64 = 1 << 32;

/// What can be wrong with a scale.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NoiseError {
    /// Outside of 1 to 2^32 - 1.
    #[error("scale must be from 1 to 2**32 - 1")]
    Scale,
    /// Not enough memory for so many samples.
    #[error("not enough memory for the noise")]
    Memory,
}

/// `n` independent integers z of probability proportional to exp(-z^2 / (2 scale^2)), a function of `seed`.
///
/// # Errors
/// If `scale` is out of range or memory runs out.
pub fn discrete_gaussian(n: usize, scale: u64, seed: &PrfKey) -> Result<Vec<i64>, NoiseError> {
    if !(1..LARGEST_SCALE).contains(&scale) {
        return Err(NoiseError::Scale);
    }
    let mut samples = Vec::new();
    samples
        .try_reserve_exact(n)
        .map_err(|_| NoiseError::Memory)?;
    let mut coins = Coins::new(seed);
    samples.extend((0..n).map(|_| gaussian(scale, &mut coins)));
    Ok(samples)
}

/// A candidate from the discrete Laplace distribution of the same scale, kept with probability
/// exp(-(|z| - scale)^2 / (2 scale^2)): together exp(-z^2 / (2 scale^2)), but for a constant.
fn gaussian(scale: u64, coins: &mut Coins) -> i64 {
    let square = u128::from(scale) * u128::from(scale);
    loop {
        let (magnitude, is_negative) = laplace(scale, coins);
        let gap = u128::from(magnitude.abs_diff(scale));
        if coins.exp_minus(gap * gap, 2 * square) {
            let magnitude = magnitude.cast_signed(); // below 2^63: see `laplace`
            return if is_negative { -magnitude } else { magnitude };
        }
    }
}

/// Magnitude and sign of an integer z of probability proportional to exp(-|z| / scale).
fn laplace(scale: u64, coins: &mut Coins) -> (u64, bool) {
    loop {
        let within = coins.below(u128::from(scale));
        if !coins.exp_minus(within, u128::from(scale)) {
            continue;
        }
        // More than 2^31 successes of probability 1/e do not happen.
        let mut whole = 0_u64;
        while coins.exp_minus(1, 1) {
            whole += 1;
        }
        let magnitude = u64::try_from(within).unwrap_or(u64::MAX) + whole * scale; // within < scale
        let is_negative = coins.next_u64() & 1 == 1;
        if magnitude != 0 || !is_negative {
            return (magnitude, is_negative); // zero has one sign, or it would come twice as often
        }
    }
}

/// Uniform bits, and events of exact probability made of them.
struct Coins {
    stream: blake3::OutputReader,
    buffer: Zeroizing<[u8; 1024]>,
    used: usize,
}

impl Coins {
    fn new(seed: &PrfKey) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(seed);
        hasher.update(b"noise\0");
        let stream = hasher.finalize_xof();
        hasher.zeroize();
        let buffer = Zeroizing::new([0; 1024]);
        let used = buffer.len();
        Self {
            stream,
            buffer,
            used,
        }
    }

    fn next_u64(&mut self) -> u64 {
        if self.used == self.buffer.len() {
            self.stream.fill(&mut self.buffer[..]);
            self.used = 0;
        }
        let mut word = [0; 8];
        word.copy_from_slice(&self.buffer[self.used..self.used + 8]);
        self.used += 8;
        u64::from_le_bytes(word)
    }

    /// A uniform integer below `bound`, which is positive: bits of its length are drawn again until they are below it.
    fn below(&mut self, bound: u128) -> u128 {
        let n_bits = u128::BITS - (bound - 1).leading_zeros();
        if n_bits == 0 {
            return 0;
        }
        loop {
            let mut bits = u128::from(self.next_u64());
            if n_bits > 64 {
                bits |= u128::from(self.next_u64()) << 64;
            }
            let drawn = bits >> (if n_bits > 64 { 128 } else { 64 } - n_bits);
            if drawn < bound {
                return drawn;
            }
        }
    }

    /// True with probability exp(-numerator / denominator).
    fn exp_minus(&mut self, mut numerator: u128, denominator: u128) -> bool {
        while numerator > denominator {
            if !self.exp_minus_at_most_one(1, 1) {
                return false;
            }
            numerator -= denominator;
        }
        self.exp_minus_at_most_one(numerator, denominator)
    }

    /// As `exp_minus`, of a ratio g of at most 1: a run of events of probability g/1, g/2, g/3, ... has an even number of
    /// successes with probability 1 - g + g^2/2! - ... = exp(-g) (von Neumann).
    fn exp_minus_at_most_one(&mut self, numerator: u128, denominator: u128) -> bool {
        let mut n_trials = 1;
        while self.below(denominator * n_trials) < numerator {
            n_trials += 1;
        }
        n_trials % 2 == 1
    }
}

impl Drop for Coins {
    fn drop(&mut self) {
        self.stream.zeroize();
    }
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss)] // counts and small integers
mod tests {
    use super::*;

    const SEED: PrfKey = *b"0123456789abcdef0123456789abcdef";

    fn draw(n: usize, scale: u64) -> Vec<i64> {
        discrete_gaussian(n, scale, &SEED).expect("a scale in range")
    }

    /// Chi-square of counts against the probabilities, cells of the tails pooled.
    fn chi_square(samples: &[i64], scale: f64, edge: i64) -> f64 {
        let mass = |z: i64| (-(z as f64 / scale).powi(2) / 2.0).exp();
        let total: f64 = (-60 * edge..=60 * edge).map(mass).sum();
        let n = samples.len() as f64;
        let mut rest = (1.0, n);
        let mut sum = 0.0;
        for z in -edge..=edge {
            let expected = n * mass(z) / total;
            let found = samples.iter().filter(|&&sample| sample == z).count() as f64;
            sum += (found - expected).powi(2) / expected;
            rest = (rest.0 - mass(z) / total, rest.1 - found);
        }
        sum + (rest.1 - n * rest.0).powi(2) / (n * rest.0)
    }

    /// Counts of small scales are those of the distribution: a chi-square of k degrees of freedom beyond
    /// k + 4 sqrt(2k) + 8 has a probability below 1e-5, and the seed is fixed.
    #[test]
    fn counts_follow_the_probabilities() {
        for (scale, edge) in [(1_u64, 3_i64), (2, 6), (7, 20)] {
            let cells = (2 * edge + 1) as f64;
            let found = chi_square(&draw(200_000, scale), scale as f64, edge);
            assert!(
                found < cells + 4.0 * (2.0 * cells).sqrt() + 8.0,
                "{scale}: {found}"
            );
        }
    }

    #[test]
    fn events_have_their_probability() {
        let mut coins = Coins::new(&SEED);
        for (numerator, denominator) in
            [(0_u128, 5_u128), (1, 3), (1, 1), (7, 3), (3 << 70, 2 << 70)]
        {
            let n = 100_000;
            let found = (0..n)
                .filter(|_| coins.exp_minus(numerator, denominator))
                .count() as f64;
            let p = (-(numerator as f64 / denominator as f64)).exp();
            let n = f64::from(n);
            assert!((found - n * p).abs() <= 5.0 * (n * p * (1.0 - p)).sqrt());
        }
    }

    #[test]
    fn the_largest_scale_has_its_variance() {
        let scale = LARGEST_SCALE - 1;
        let samples = draw(20_000, scale);
        let mean_square = samples
            .iter()
            .map(|&z| (z as f64 / scale as f64).powi(2))
            .sum::<f64>()
            / 20_000.0;
        assert!((mean_square - 1.0).abs() < 5.0 * (2.0_f64 / 20_000.0).sqrt());
    }

    #[test]
    fn equal_seeds_give_equal_noise_and_others_do_not() {
        assert_eq!(draw(9, 1 << 20), draw(9, 1 << 20));
        let other = discrete_gaussian(9, 1 << 20, &[1; 32]).expect("a scale in range");
        assert_ne!(draw(9, 1 << 20), other);
        assert!(draw(0, 1).is_empty());
    }

    #[test]
    fn scales_out_of_range_are_refused() {
        for scale in [0, LARGEST_SCALE, u64::MAX] {
            assert_eq!(discrete_gaussian(1, scale, &SEED), Err(NoiseError::Scale));
        }
    }
}
