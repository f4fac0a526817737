//! What several runs of the same measurement gave. Pure.

use serde::{Deserialize, Serialize};

/// Median, extremes and number of the runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle; of an even number the mean of the two middle ones.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// How many.
    pub runs: usize,
}

impl Spread {
    /// Panics if there are none, or if one is not a number.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        assert!(
            sorted.iter().all(|value| value.is_finite()),
            "every run must give a number: {values:?}"
        );
        let (min, max) = (
            *sorted.first().expect("at least one run"),
            sorted[sorted.len() - 1],
        );
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Self {
            median,
            min,
            max,
            runs: sorted.len(),
        }
    }

    /// Ratios taken pair by pair: run `i` of `of` by run `i` of `to`, which were taken one right after the other.
    pub fn of_ratios(of: &[f64], to: &[f64]) -> Self {
        assert_eq!(of.len(), to.len(), "each run must have its pair");
        Self::of(&of.iter().zip(to).map(|(of, to)| of / to).collect::<Vec<_>>())
    }
}

/// The smallest value that at least `share` (0 to 1) of all values do not exceed. Panics if there are none.
pub(crate) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Nearest rank.
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]).median, 2.0);
        assert_eq!(
            Spread::of(&[4.0, 1.0, 2.0, 3.0]).median,
            2.5,
            "of two, their mean"
        );
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        // The machine was half as fast in the second round: the ratio does not see it.
        let ratios = Spread::of_ratios(&[90.0, 45.0], &[100.0, 50.0]);
        assert_eq!((ratios.min, ratios.max), (0.9, 0.9));
    }

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.99), 198.0);
        assert_eq!(percentile(&values, 0.5), 100.0);
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
    }
}
