//! Counts tests from what their runners print: closing lines, and the lines of tests that could not be run here
//! (`crates/harness/src/skip.rs`), which the runner takes for passed.

use std::collections::BTreeMap;

/// What runners say in their closing lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    passed: u32,
    failed: u32,
    skipped: u32,
}

/// The sum over all lines of all runners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that were skipped are not among those that passed.
    pub(crate) count: Count,
    /// How many tests were skipped for want of what.
    missing: BTreeMap<String, u32>,
    /// Skips of the runner that has not closed yet.
    open: u32,
}

impl Tally {
    /// Takes in one line.
    pub(crate) fn take(&mut self, line: &str) {
        if let Some((_, missing)) = line
            .strip_prefix("SKIPPED ")
            .and_then(|rest| rest.split_once(": "))
        {
            *self.missing.entry(missing.to_owned()).or_default() += 1;
            self.open += 1;
        } else if let Some(closed) = Count::parse(line) {
            self.count = self.count.plus(closed.without(std::mem::take(&mut self.open)));
        }
    }

    /// One test that is no runner's.
    pub(crate) fn of_one(passed: bool) -> Self {
        Self {
            count: Count {
                passed: passed.into(),
                failed: (!passed).into(),
                skipped: 0,
            },
            ..Self::default()
        }
    }

    pub(crate) fn plus(mut self, other: Self) -> Self {
        for (missing, tests) in other.missing {
            *self.missing.entry(missing).or_default() += tests;
        }
        Self {
            count: self.count.plus(other.count),
            missing: self.missing,
            open: self.open + other.open,
        }
    }

    /// False if a part was missing where none may be.
    pub(crate) fn may_stand(&self, in_ci: bool) -> bool {
        !in_ci || self.missing.is_empty()
    }

    /// For each part that was missing: how many tests were skipped, and why.
    pub(crate) fn skips(&self) -> impl Iterator<Item = String> {
        self.missing.iter().map(|(missing, tests)| {
            let noun = if *tests == 1 { "test" } else { "tests" };
            format!("{tests} {noun}: {missing}")
        })
    }
}

impl Count {
    /// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    fn parse(line: &str) -> Option<Self> {
        let numbers = line.strip_prefix("test result: ")?.split_once(". ")?.1;
        let of = |word: &str| {
            let part = numbers.split(';').find_map(|part| part.trim().strip_suffix(word));
            part.and_then(|number| number.trim().parse().ok())
        };
        Some(Self {
            passed: of("passed")?,
            failed: of("failed")?,
            skipped: of("ignored")?,
        })
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }

    /// Some of those that passed did not run.
    fn without(self, skipped: u32) -> Self {
        Self {
            passed: self.passed.saturating_sub(skipped),
            skipped: self.skipped + skipped,
            ..self
        }
    }

    pub(crate) fn shown(self) -> String {
        format!(
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_closing_line_of_a_runner() {
        let line = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.00s";
        let count = Count {
            passed: 3,
            failed: 2,
            skipped: 1,
        };
        assert_eq!(Count::parse(line), Some(count), "all three numbers must be read");
        assert_eq!(
            Count::parse("test tests::x ... ok"),
            None,
            "other lines must not count"
        );
    }

    #[test]
    fn what_was_skipped_is_not_among_those_that_passed() {
        let tally = mk_tally(&[
            "SKIPPED lease::a: no server",
            "test lease::a ... ok",
            "test lease::b ... ok",
            "SKIPPED scale::c: no server",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "SKIPPED d: no kubectl: neither here nor there",
            "it was not SKIPPED e: at all",
            "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ]);
        assert_eq!(
            tally.count.shown(),
            "2 passed, 0 failed, 4 skipped",
            "must count as skipped"
        );
        let skips = ["1 test: no kubectl: neither here nor there", "2 tests: no server"];
        assert_eq!(
            tally.skips().collect::<Vec<_>>(),
            skips,
            "must say how many and why"
        );
    }

    #[test]
    fn what_was_skipped_in_several_runs_adds_up() {
        let run = || {
            mk_tally(&[
                "SKIPPED a: no server",
                "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            ])
        };
        let both = run().plus(run());
        assert_eq!(both.count.shown(), "0 passed, 0 failed, 2 skipped");
        assert_eq!(both.skips().collect::<Vec<_>>(), ["2 tests: no server"]);
    }

    #[test]
    fn a_missing_part_is_a_failure_in_ci_alone() {
        let lacks = mk_tally(&["SKIPPED a: no server"]);
        assert!(lacks.may_stand(false), "must be no failure elsewhere");
        assert!(!lacks.may_stand(true), "must be a failure in CI");
        assert!(
            Tally::default().may_stand(true),
            "must be none if nothing is missing"
        );
    }

    fn mk_tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.take(line));
        tally
    }
}
