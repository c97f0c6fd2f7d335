//! Which rows are near: exactly, in a fixed order of operations.

use crate::kmeans::table::Scalar;

/// How far two rows are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Root of the sum of squares.
    Euclidean,
    /// Sum of absolute values.
    Manhattan,
    /// Largest absolute value.
    Chebyshev,
}

impl Metric {
    /// By name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "euclidean" => Some(Self::Euclidean),
            "manhattan" => Some(Self::Manhattan),
            "chebyshev" => Some(Self::Chebyshev),
            _ => None,
        }
    }
}

/// Features after which a sum that is too large already is given up: terms are not negative, and rounding is monotone.
const LEAP: usize = 8;

/// A ball around a row.
#[derive(Clone, Copy, Debug)]
pub struct Ball<'p> {
    metric: Metric,
    limit: f64,
    centre: &'p [f64],
}

impl<'p> Ball<'p> {
    /// Of radius `eps`.
    #[must_use]
    pub fn new(metric: Metric, eps: f64, centre: &'p [f64]) -> Self {
        let limit = match metric {
            Metric::Euclidean => eps * eps,
            Metric::Manhattan | Metric::Chebyshev => eps,
        };
        Self {
            metric,
            limit,
            centre,
        }
    }

    /// Whether a row is in it.
    #[inline]
    #[must_use]
    pub fn contains<S: Scalar>(&self, row: &[S]) -> bool {
        match self.metric {
            Metric::Euclidean => self.folds(row, |sum, gap| sum + gap * gap),
            Metric::Manhattan => self.folds(row, |sum, gap| sum + gap.abs()),
            Metric::Chebyshev => self.folds(row, |most, gap| most.max(gap.abs())),
        }
    }

    #[inline]
    fn folds<S: Scalar>(&self, row: &[S], add: impl Fn(f64, f64) -> f64) -> bool {
        let mut total = 0.0;
        for (row, centre) in row.chunks(LEAP).zip(self.centre.chunks(LEAP)) {
            for (&x, &c) in row.iter().zip(centre) {
                total = add(total, x.into() - c);
            }
            if total > self.limit {
                return false;
            }
        }
        total <= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_is_inside() {
        for (metric, eps) in [
            (Metric::Euclidean, 5.0),
            (Metric::Manhattan, 7.0),
            (Metric::Chebyshev, 4.0),
        ] {
            let centre = [1.0, 1.0];
            assert!(Ball::new(metric, eps, &centre).contains(&[4.0, 5.0]));
            assert!(!Ball::new(metric, eps.next_down(), &centre).contains(&[4.0_f32, 5.0]));
        }
    }
}
