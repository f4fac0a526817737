//! Compares resourceVersions: the only place that does.

use std::fmt;

/// A resourceVersion. Compared as a number where both are numbers; otherwise two are only equal or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    /// As the API server wrote it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// True if an object at this version shows what was written as `other`.
    pub fn reaches(&self, other: &Self) -> bool {
        match (self.0.parse::<u128>(), other.0.parse::<u128>()) {
            (Ok(mine), Ok(theirs)) => mine >= theirs,
            _ => self == other,
        }
    }

    /// For the API server.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_as_numbers_and_the_rest_as_equal_or_not() {
        let reaches = |a: &str, b: &str| Version::new(a).reaches(&Version::new(b));
        assert!(reaches("10", "9"), "must compare numbers, not text");
        assert!(reaches("10", "10"), "must reach itself");
        assert!(!reaches("9", "10"), "must not reach what comes later");
        assert!(reaches("b", "b"), "must reach what is equal");
        assert!(!reaches("b", "a"), "must not order what is no number");
        assert!(!reaches("", "1"), "must not take nothing for a number");
    }
}
