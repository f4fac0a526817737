//! The order of interleaved runs. Pure.

/// The order in which `variants` are run in this round: forwards, then backwards, so that none always follows the same one
/// and a machine that slows down favours neither side.
pub(crate) fn order(round: usize, variants: usize) -> Vec<usize> {
    if round.is_multiple_of(2) {
        (0..variants).collect()
    } else {
        (0..variants).rev().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_runs_every_variant_once() {
        assert_eq!(order(0, 3), [0, 1, 2]);
        assert_eq!(order(1, 3), [2, 1, 0]);
    }
}
