//! What a benchmark found: figures and goals, as a table for people and as JSON for programs.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::spread::Spread;

/// The result of one benchmark, as it is written to `target/bench/NAME.json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// Name of the benchmark.
    pub name: String,
    /// True if it was a short run, made to see that it works: its figures mean nothing.
    pub quick: bool,
    /// Where and with what it was measured.
    pub machine: Machine,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// What was asked for.
    pub goals: Vec<Goal>,
    /// What a reader has to know about this very run.
    pub notes: Vec<String>,
}

/// One measured quantity.
#[derive(Debug, Serialize, Deserialize)]
pub struct Figure {
    /// What, and on what work.
    pub what: String,
    /// Its unit; `ratio` if it has none.
    pub unit: String,
    /// The runs.
    #[serde(flatten)]
    pub spread: Spread,
}

/// A goal and what was reached.
#[derive(Debug, Serialize, Deserialize)]
pub struct Goal {
    /// The goal, in words.
    pub what: String,
    /// `≤` or `≥`.
    pub sign: String,
    /// The limit.
    pub limit: f64,
    /// Unit of both.
    pub unit: String,
    /// What was reached; of several runs the median.
    pub reached: f64,
    /// Whether that is within the limit.
    pub met: bool,
}

impl Report {
    /// Nothing measured yet.
    pub(crate) fn new(name: &str, quick: bool) -> Self {
        Self {
            name: name.to_owned(),
            quick,
            machine: Machine::here(),
            figures: Vec::new(),
            goals: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds what several runs gave.
    pub(crate) fn figure(&mut self, what: impl Into<String>, unit: &'static str, runs: &[f64]) -> Spread {
        self.spread(what, unit, Spread::of(runs))
    }

    /// Adds ratios taken pair by pair.
    pub(crate) fn ratio(&mut self, what: impl Into<String>, of: &[f64], to: &[f64]) -> Spread {
        self.spread(what, "ratio", Spread::of_ratios(of, to))
    }

    fn spread(&mut self, what: impl Into<String>, unit: &'static str, spread: Spread) -> Spread {
        self.figures.push(Figure {
            what: what.into(),
            unit: unit.to_owned(),
            spread,
        });
        spread
    }

    /// Sets what was reached against what must not be exceeded.
    pub(crate) fn at_most(&mut self, what: impl Into<String>, limit: f64, unit: &'static str, reached: f64) {
        self.goals.push(Goal {
            what: what.into(),
            sign: "≤".to_owned(),
            limit,
            unit: unit.to_owned(),
            reached,
            met: reached <= limit,
        });
    }

    /// Sets what was reached against what must be reached at least.
    pub(crate) fn at_least(&mut self, what: impl Into<String>, limit: f64, unit: &'static str, reached: f64) {
        self.goals.push(Goal {
            what: what.into(),
            sign: "≥".to_owned(),
            limit,
            unit: unit.to_owned(),
            reached,
            met: reached >= limit,
        });
    }

    /// Adds a sentence about this run.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// As it is written to files.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Both tables, in Markdown.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        out.push_str("| goal | limit | reached | |\n|---|---|---|---|\n");
        for goal in &self.goals {
            let verdict = if goal.met { "met" } else { "**missed**" };
            let [what, limit, reached] = goal.shown();
            let _ = writeln!(out, "| {what} | {limit} | {reached} | {verdict} |");
        }
        out.push_str("\n| measured | median | min | max | runs |\n|---|---|---|---|---|\n");
        for Figure { what, unit, spread } in &self.figures {
            let [median, min, max] = [spread.median, spread.min, spread.max].map(|value| shown(value, unit));
            let _ = writeln!(out, "| {what} | {median} | {min} | {max} | {} |", spread.runs);
        }
        for note in &self.notes {
            let _ = write!(out, "\n{note}\n");
        }
        let _ = write!(out, "\nMeasured on {}.\n", self.machine);
        out
    }
}

impl Goal {
    /// What, limit and reached, for a row of a table.
    pub(crate) fn shown(&self) -> [String; 3] {
        let limit = format!("{} {}", self.sign, shown(self.limit, &self.unit));
        [self.what.clone(), limit, shown(self.reached, &self.unit)]
    }
}

/// Three significant digits, and thousands set apart.
fn shown(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        size if size >= 99.95 || size == 0.0 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && digit != '-' && (whole.len() - index).is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match unit {
        "ratio" => format!("{grouped}{rest}"),
        unit => format!("{grouped}{rest} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_three_digits() {
        assert_eq!(shown(0.98765, "ratio"), "0.988");
        assert_eq!(shown(12.345, "ms"), "12.3 ms");
        assert_eq!(shown(1_234_567.8, "bytes"), "1,234,568 bytes");
        assert_eq!(shown(0.0, "calls"), "0 calls");
        assert_eq!(shown(-1234.0, "bytes"), "-1,234 bytes");
    }

    #[test]
    fn a_goal_is_met_up_to_its_limit() {
        let mut report = Report::new("x", true);
        report.at_most("a", 2.0, "ms", 2.0);
        report.at_most("b", 2.0, "ms", 2.1);
        report.at_least("c", 0.97, "ratio", 0.96);
        let met: Vec<bool> = report.goals.iter().map(|goal| goal.met).collect();
        assert_eq!(met, [true, false, false]);
    }
}
