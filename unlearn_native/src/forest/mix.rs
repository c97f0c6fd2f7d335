//! Randomness of a forest: everything random in it is one of the functions below, of secret tags and of a place.
//!
//! The keyed function of [`crate::identity`] makes one 128-bit *row tag* for each row when it enters a model (its first
//! eight bytes are the *low* half), and two 64-bit tags for each tree, see [`tree_tags`]. Everything below them is mixed
//! with [`h`], which is cheap and enough, because what it mixes is secret:
//!
//! | what | value |
//! |---|---|
//! | tag of the root of tree t | `tree_tags(t).root` |
//! | tag of a child | `h(tag, 1)` on the left, `h(tag, 2)` on the right: of the path, not of the splits on it |
//! | priority of a row at a node | `h(tag, low)`; equal ones are ordered by the full row tag |
//! | rows of a tree of n rows | the first n by `h(tree_tags(t).draw, low)`; equal ones are ordered by the full row tag |
//! | features of a tree of n features | the first n by `h(tree_tags(t).draw ^ FEATURE, f)`; equal ones are ordered by f |
//! | priority of a feature at a node | `h(tag ^ FEATURE, f)`; equal ones are ordered by f |
//! | tag of the cells of a feature (`cells`) | `h(tag ^ CELLS, f)` |
//! | priority of a level | `h(h(tag ^ LEVELS, f), level)`; equal ones are ordered by value |
//! | copies of a row in tree t | `poisson(h(tree_tags(t).draw, low))`, or 1 if the tree is among the chosen ones |
//!
//! Smaller priorities come first. `tests/ensemble/oracle.py` states the same functions in Python; both are held to the
//! vectors in the tests of each.

use crate::identity::{IdentityError, PrfKey, prf};

/// 2^64 over the golden ratio, odd: multiples of it are spread evenly, so that small integers may be mixed in.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Bits that a number is multiplied with itself under, half of them set.
const FOLD: u64 = 0xe703_7ed1_a0b4_28db;

/// What separates the features' priorities from the children's tags and the rows' priorities.
const FEATURE: u64 = 0xa076_1d64_78bd_642f;
/// What separates the cells of uniform thresholds.
const CELLS: u64 = 0x8ebc_6af0_9c88_c6e3;
/// What separates the priorities of levels.
const LEVELS: u64 = 0x5899_65cc_7537_4cc3;

/// Mixes `b` into the secret `a`: one 64 x 64 -> 128 bit multiplication whose halves are folded by exclusive or.
///
/// Both factors depend on both arguments. A product of one factor for each would be linear in `b` before the fold, and
/// the first and the last of a few features would lead more often than those between them.
#[must_use]
pub const fn h(a: u64, b: u64) -> u64 {
    let x = a.wrapping_add(b.wrapping_mul(SPREAD));
    let product = (x as u128) * ((x ^ FOLD) as u128);
    low_half(product) ^ low_half(product >> 64)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
const fn low_half(wide: u128) -> u64 {
    wide as u64
}

/// The two tags of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeTags {
    /// Tag of the root.
    pub root: u64,
    /// What decides which rows are in the tree. Apart from `root`: else pivots would be the rows drawn least often.
    pub draw: u64,
}

/// The tags of tree `tree`: the first two little-endian words of the keyed function of `"forest tree"` and its number.
///
/// # Errors
/// None in fact: the purpose holds no NUL.
pub fn tree_tags(key: &PrfKey, tree: u32) -> Result<TreeTags, IdentityError> {
    let bytes = prf(key, "forest tree", &u64::from(tree).to_le_bytes())?;
    let word = |start| u64::from_le_bytes(std::array::from_fn(|i| bytes[start + i]));
    Ok(TreeTags {
        root: word(0),
        draw: word(8),
    })
}

/// Phase of the weights of balanced classes: over all rows (scope 0), or in a tree (its number and one).
///
/// # Errors
/// None in fact: the purpose holds no NUL.
pub fn class_weight_phase(key: &PrfKey, scope: u32) -> Result<u32, IdentityError> {
    let bytes = prf(key, "forest class weight", &u64::from(scope).to_le_bytes())?;
    Ok(u32::from_le_bytes(std::array::from_fn(|i| bytes[i])))
}

/// Tag of the left child of a node.
#[must_use]
pub const fn left(tag: u64) -> u64 {
    h(tag, 1)
}

/// Tag of the right child of a node.
#[must_use]
pub const fn right(tag: u64) -> u64 {
    h(tag, 2)
}

/// Priority of a row at a node, of the low half of its tag.
#[must_use]
pub const fn row_priority(tag: u64, row: u128) -> u64 {
    h(tag, low_half(row))
}

/// Priority of a feature at a node.
#[must_use]
pub fn feature_priority(tag: u64, feature: u32) -> u64 {
    h(tag ^ FEATURE, u64::from(feature))
}

/// The `n` features of a tree: the first by priority under what draws its rows, ascending.
#[must_use]
pub fn features_of_tree(draw: u64, n: usize, n_features: u32) -> Vec<u32> {
    let mut features: Vec<u32> = (0..n_features).collect();
    features.sort_unstable_by_key(|&feature| (feature_priority(draw, feature), feature));
    features.truncate(n);
    features.sort_unstable();
    features
}

/// Tag of the cells from which the uniform thresholds of a feature at a node are drawn.
#[must_use]
pub fn cells_tag(tag: u64, feature: u32) -> u64 {
    h(tag ^ CELLS, u64::from(feature))
}

/// Priority of a level of a categorical feature at a node, where thresholds are uniform.
#[must_use]
pub fn level_priority(tag: u64, feature: u32, level: f32) -> u64 {
    h(h(tag ^ LEVELS, u64::from(feature)), level.to_bits().into())
}

/// floor(2^64 P(N <= n)) of a Poisson variable N of mean 1, n = 0 to 20.
const POISSON: [u64; 21] = [
    0x5e2d_58d8_b3bc_df1a,
    0xbc5a_b1b1_6779_be35,
    0xeb71_5e1d_c158_2dc2,
    0xfb23_9797_34a2_52f1,
    0xff10_25f5_9174_dc3d,
    0xffd9_0f3b_a405_5e19,
    0xfffa_8b71_fc72_c913,
    0xffff_540c_0914_b3c9,
    0xffff_ed1f_4aa8_f120,
    0xffff_fe21_6e64_1462,
    0xffff_ffd4_d85d_3183,
    0xffff_fffc_6da2_62b4,
    0xffff_ffff_ba12_d178,
    0xffff_ffff_fb07_c64c,
    0xffff_ffff_ffab_8ea5,
    0xffff_ffff_fffa_be22,
    0xffff_ffff_ffff_b11a,
    0xffff_ffff_ffff_fba1,
    0xffff_ffff_ffff_ffc5,
    0xffff_ffff_ffff_fffd,
    0xffff_ffff_ffff_ffff,
];

/// The Poisson(1) variable at place `u` of 2^64: how many cut points are at most `u`.
#[must_use]
pub fn poisson(u: u64) -> u8 {
    POISSON
        .iter()
        .take_while(|&&cut| cut <= u)
        .fold(0, |n, _| n + 1)
}

/// How often a row is in a tree under Poisson bootstrap.
#[must_use]
pub fn multiplicity(draw: u64, row: u128) -> u8 {
    poisson(h(draw, low_half(row)))
}

/// How many of `n_trees` trees hold a row under `max_samples = share`: the share, rounded up, and at least one.
///
/// The factor below 1 takes back what the product may have been rounded up: 0.07 of 100 trees is 7.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 1 and n_trees"
)]
pub fn n_chosen(share: f64, n_trees: u32) -> u32 {
    let trees = share * f64::from(n_trees) * (1.0 - 4.0 * f64::EPSILON);
    (trees.ceil() as u32).clamp(1, n_trees)
}

/// Writes to `chosen` the `n` trees with the smallest `h(draw, row)`, ascending; equal ones are ordered by their number.
pub fn chosen_trees(draws: &[u64], row: u128, n: u32, chosen: &mut Vec<u32>) {
    let mut ranked: Vec<(u64, u32)> = (0_u32..)
        .zip(draws)
        .map(|(tree, &draw)| (h(draw, low_half(row)), tree))
        .collect();
    let n = (n as usize).min(ranked.len());
    if n < ranked.len() {
        ranked.select_nth_unstable(n);
    }
    chosen.clear();
    chosen.extend(ranked[..n].iter().map(|&(_, tree)| tree));
    chosen.sort_unstable();
}

/// How often rows are in each of `n_trees` trees, row-major: under Poisson bootstrap, or in a share of the trees.
///
/// # Errors
/// As [`tree_tags`].
pub fn copies(
    key: &PrfKey,
    rows: impl ExactSizeIterator<Item = u128>,
    n_trees: u32,
    share: Option<f64>,
) -> Result<Vec<u8>, IdentityError> {
    let draws = (0..n_trees)
        .map(|tree| Ok(tree_tags(key, tree)?.draw))
        .collect::<Result<Vec<_>, _>>()?;
    let mut out = Vec::with_capacity(rows.len() * draws.len());
    let mut chosen = Vec::new();
    for row in rows {
        let start = out.len();
        match share {
            None => out.extend(draws.iter().map(|&draw| multiplicity(draw, row))),
            Some(share) => {
                out.resize(start + draws.len(), 0);
                chosen_trees(&draws, row, n_chosen(share, n_trees), &mut chosen);
                for &tree in &chosen {
                    out[start + tree as usize] = 1;
                }
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
#[expect(
    clippy::cast_precision_loss,
    reason = "statistics are compared with a bound"
)]
mod tests {
    use super::*;

    const TAG: u64 = 0x0123_4567_89ab_cdef;

    fn key() -> PrfKey {
        std::array::from_fn(|i| u8::try_from(i).expect("32 bytes"))
    }

    /// A sequence of secret tags for the statistical tests.
    fn tags(n: u32) -> impl Iterator<Item = u64> {
        (0..n).map(|t| tree_tags(&key(), t).expect("no NUL").root)
    }

    /// Pearson's statistic of counts that should be equal.
    fn chi_square(counts: &[u32]) -> f64 {
        let expected = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
        counts
            .iter()
            .map(|&count| (f64::from(count) - expected).powi(2) / expected)
            .sum()
    }

    #[test]
    fn frozen_vectors() {
        assert_eq!(h(1, 2), 0x3d48_2437_3018_3290);
        assert_eq!(h(TAG, 7), 0x245b_5b86_2583_d3e4);
        assert_eq!(h(u64::MAX, u64::MAX), 0xeba5_a48f_f919_cafc);
        assert_eq!(
            [left(TAG), right(TAG)],
            [8_888_157_174_895_707_670, 14_613_023_141_562_750_273]
        );
        assert_eq!(
            [0, 1, 2].map(|f| feature_priority(TAG, f)),
            [
                12_914_460_367_784_625_156,
                10_365_434_025_223_447_833,
                3_053_208_853_805_975_548
            ]
        );
        assert_eq!(cells_tag(TAG, 5), 16_806_066_019_981_287_757);
        assert_eq!(row_priority(TAG, (99 << 64) | 7), h(TAG, 7));
        assert_eq!(
            tree_tags(&key(), 2),
            Ok(TreeTags {
                root: 3_509_705_488_606_760_329,
                draw: 1_277_774_613_706_792_541
            })
        );
    }

    #[test]
    fn the_poisson_table_is_that_of_mean_one() {
        assert_eq!([0, POISSON[0] - 1].map(poisson), [0, 0]);
        assert_eq!([POISSON[0], POISSON[1] - 1].map(poisson), [1, 1]);
        assert_eq!(poisson(u64::MAX), 21);

        let mut mass = (-1.0_f64).exp();
        let mut below = 0;
        for (n, &cut) in (1_u32..).zip(&POISSON[..15]) {
            let share = (cut - below) as f64 / 2.0_f64.powi(64);
            assert!(
                (share - mass).abs() < 1e-12 * mass + 1e-18,
                "P(N = {})",
                n - 1
            );
            mass /= f64::from(n);
            below = cut;
        }
    }

    /// All orders of four features are equally likely: 99.9 % quantile of chi-square with 23 degrees of freedom.
    #[test]
    fn features_come_in_every_order() {
        let mut counts = [0; 24];
        for tag in tags(24_000) {
            let p: [u64; 4] = [0, 1, 2, 3].map(|f| feature_priority(tag, f));
            let smaller = |i: usize| p[i + 1..].iter().filter(|&&q| q < p[i]).count();
            counts[smaller(0) * 6 + smaller(1) * 2 + smaller(2)] += 1;
        }
        assert!(chi_square(&counts) < 49.7, "{counts:?}");
    }

    /// The first row at a node, at its left child and at its right child are independent: 215 degrees of freedom.
    #[test]
    fn pivots_of_parent_and_children_are_independent() {
        let rows: Vec<u128> = tags(6).map(u128::from).collect();
        let first = |tag| {
            (0..6)
                .min_by_key(|&i| row_priority(tag, rows[i]))
                .expect("six rows")
        };
        let mut counts = [0; 216];
        for tag in tags(40_000).skip(6) {
            counts[first(tag) * 36 + first(left(tag)) * 6 + first(right(tag))] += 1;
        }
        assert!(chi_square(&counts) < 284.0, "{}", chi_square(&counts));
    }

    #[test]
    fn a_share_of_trees_is_rounded_up() {
        assert_eq!(n_chosen(0.07, 100), 7);
        assert_eq!(n_chosen(0.1, 100), 10);
        assert_eq!(n_chosen(0.101, 100), 11);
        assert_eq!(n_chosen(1e-9, 100), 1);
        assert_eq!(n_chosen(1.0, 100), 100);
    }

    /// Every tree holds the same share of rows: 19 degrees of freedom, whose spread is that of draws without repeats.
    #[test]
    fn chosen_trees_are_distinct_and_spread_evenly() {
        let draws: Vec<u64> = tags(20).collect();
        let mut counts = [0; 20];
        let mut chosen = Vec::new();
        for row in tags(10_020).skip(20) {
            chosen_trees(&draws, u128::from(row), 3, &mut chosen);

            assert_eq!(chosen.len(), 3);
            assert!(chosen.is_sorted_by(|a, b| a < b));
            for &tree in &chosen {
                counts[tree as usize] += 1;
            }
        }
        assert!(chi_square(&counts) < 43.8, "{counts:?}");
    }
}
