//! Which version of the filter a proxy runs, beside that of this control plane.

use std::fmt;

/// What a proxy says of its module's version. Only the numbers are kept: they go into logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// Nothing that can be read: it is older than the field, or not of our making.
    Unknown,
    /// Major, minor and patch.
    Version([u32; 3]),
}

impl Module {
    /// Every word that [`Self::compared`] has.
    pub const WORDS: [&'static str; 4] = ["same", "older", "newer", "unknown"];

    /// Reads [`protocol::SyncRequest::module`]; what comes after the numbers is not looked at.
    pub fn parse(text: Option<&str>) -> Self {
        let numbers = || {
            let text = text?.split(['-', '+']).next()?;
            let mut numbers = text.split('.').map(|number| number.parse().ok());
            let version = [numbers.next()??, numbers.next()??, numbers.next()??];
            numbers.next().is_none().then_some(version)
        };
        numbers().map_or(Self::Unknown, Self::Version)
    }

    /// What it is beside this control plane: one of [`Self::WORDS`].
    pub fn compared(self) -> &'static str {
        match (self, Self::parse(Some(env!("CARGO_PKG_VERSION")))) {
            (Self::Unknown, _) | (_, Self::Unknown) => "unknown",
            (Self::Version(one), Self::Version(ours)) => match one.cmp(&ours) {
                std::cmp::Ordering::Less => "older",
                std::cmp::Ordering::Equal => "same",
                std::cmp::Ordering::Greater => "newer",
            },
        }
    }
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown"),
            Self::Version([major, minor, patch]) => write!(f, "{major}.{minor}.{patch}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let ours = env!("CARGO_PKG_VERSION");
        for (text, word) in [
            (Some(ours), "same"),
            (Some(&*format!("{ours}-rc.1")), "same"),
            (Some("0.0.1"), "older"),
            (Some("900.10.2"), "newer"),
            (None, "unknown"),
            (Some(""), "unknown"),
            (Some("1.2"), "unknown"),
            (Some("1.2.3.4"), "unknown"),
            (Some("1.2.99999999999"), "unknown"),
            (Some("1.2.3\nlevel=error"), "unknown"),
        ] {
            assert_eq!(Module::parse(text).compared(), word, "{text:?}");
            assert!(Module::WORDS.contains(&word), "must be one of few labels");
        }
        assert_eq!(Module::parse(Some("1.20.3-rc+x")).to_string(), "1.20.3");
    }
}
