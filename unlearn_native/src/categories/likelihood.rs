//! Joint log likelihoods of category rows, in a fixed order.

use thiserror::Error;

use super::{ROWS_AT_ONCE, category, is_category};

/// Values of X that lie outside of their feature's table.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{wrong} of {total} values of X are not among their feature's categories.")]
pub struct OutOfRange {
    /// How many values.
    pub wrong: usize,
    /// Of how many.
    pub total: usize,
}

/// Joint log likelihood of every row of X (row-major, one column for each of `tables`), `bias.len()` classes a row.
///
/// Table `f` is category-major. The sum runs over features in order and the bias comes last, for a row alone as in bulk.
///
/// # Errors
/// If a value is not a category of its table; the result is of no use then.
pub fn joint_log_likelihood<T: Copy + Into<f64>>(
    x: &[T],
    tables: &[&[f64]],
    bias: &[f64],
    n_rows: usize,
) -> Result<Vec<f64>, OutOfRange> {
    let add = match bias.len() {
        1 => add_columns::<T, 1>,
        2 => add_columns::<T, 2>,
        3 => add_columns::<T, 3>,
        4 => add_columns::<T, 4>,
        _ => add_columns::<T, 0>,
    };
    let mut out = vec![0.0; n_rows * bias.len()];
    let mut wrong = 0;
    if !bias.is_empty() {
        for (group, sums) in out.chunks_mut(ROWS_AT_ONCE * bias.len()).enumerate() {
            let first = group * ROWS_AT_ONCE * tables.len();
            wrong += add(&x[first..], tables, bias.len(), sums);
            for row in sums.chunks_exact_mut(bias.len()) {
                row.iter_mut()
                    .zip(bias)
                    .for_each(|(sum, bias)| *sum += bias);
            }
        }
    }
    if wrong > 0 {
        Err(OutOfRange {
            wrong,
            total: x.len(),
        })
    } else {
        Ok(out)
    }
}

/// Adds every feature to the rows of `sums`; returns how many values were outside of their table. `K` is `k`, or 0.
fn add_columns<T: Copy + Into<f64>, const K: usize>(
    x: &[T],
    tables: &[&[f64]],
    k: usize,
    sums: &mut [f64],
) -> usize {
    let k = if K > 0 { K } else { k };
    let mut wrong = 0;
    for (feature, table) in tables.iter().enumerate() {
        let column = x[feature..].iter().step_by(tables.len());
        for (row, &value) in sums.chunks_exact_mut(k).zip(column) {
            let value = value.into();
            let start = category(value) * k;
            match table.get(start..start + k) {
                Some(entries) if is_category(value) => {
                    row.iter_mut()
                        .zip(entries)
                        .for_each(|(sum, entry)| *sum += entry);
                }
                _ => wrong += 1,
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const N_FEATURES: usize = 3;
    const N_CATEGORIES: u8 = 5;

    proptest! {
        /// Features in order, then the bias; a row alone has the bits it has in bulk, and float32 those of float64.
        #[test]
        fn features_are_summed_in_order(
            rows in prop::collection::vec([0..N_CATEGORIES, 0..N_CATEGORIES, 0..N_CATEGORIES], 1..200),
            k in 0_usize..7,
            entries in prop::collection::vec(-30.0..0.0, N_FEATURES * usize::from(N_CATEGORIES) * 7),
        ) {
            let n_entries = k * usize::from(N_CATEGORIES);
            let tables: Vec<&[f64]> = (0..N_FEATURES).map(|f| &entries[f * n_entries..][..n_entries]).collect();
            let bias = &entries[1..=k];
            let x: Vec<f64> = rows.iter().flatten().map(|&category| category.into()).collect();
            let narrow: Vec<f32> = rows.iter().flatten().map(|&category| category.into()).collect();

            let bulk = joint_log_likelihood(&x, &tables, bias, rows.len()).expect("in range");

            prop_assert_eq!(&bulk, &joint_log_likelihood(&narrow, &tables, bias, rows.len()).expect("in range"));
            for (i, row) in rows.iter().enumerate() {
                let values = row.map(f64::from);
                let alone = joint_log_likelihood(&values, &tables, bias, 1).expect("in range");
                prop_assert_eq!(&alone[..], &bulk[i * k..(i + 1) * k]);
                for class in 0..k {
                    let terms = (0..N_FEATURES).map(|f| tables[f][usize::from(row[f]) * k + class]);
                    let expected = terms.fold(0.0, |sum, term| sum + term) + bias[class];
                    prop_assert_eq!(alone[class].to_bits(), expected.to_bits());
                }
            }
        }
    }

    #[test]
    fn values_outside_of_their_table_are_refused() {
        let tables: [&[f64]; 2] = [&[0.1, 0.2], &[0.3]];
        let x = [1.0, 0.0, 2.0, 0.0, 0.5, 1.0, f64::NAN, -1.0];
        for bias in [&[0.0][..], &[]] {
            let wrong = if bias.is_empty() {
                Ok(vec![])
            } else {
                Err(OutOfRange { wrong: 5, total: 8 })
            };
            assert_eq!(joint_log_likelihood(&x, &tables, bias, 4), wrong);
        }
    }
}
