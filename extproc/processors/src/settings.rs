//! Settings of processors as people give them: `key=value`, each as often as it is meant.

use std::{fmt::Display, str::FromStr};

use thiserror::Error;

/// Why settings are refused. Each is one line that names the key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingError {
    /// Not `key=value`.
    #[error("`{0}` is no setting: write key=value")]
    Unreadable(String),
    /// The value cannot be read.
    #[error("setting {key}={value}: {reason}")]
    Value {
        /// The key.
        key: String,
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Given more than once, where it is meant once.
    #[error("setting {0} is given twice")]
    Twice(String),
    /// Settings that go together, or that are needed, are missing.
    #[error("{0}")]
    Missing(String),
    /// No processor that is served has it.
    #[error("there is no setting {0}; `extproc list` names them")]
    Unknown(String),
}

/// Settings not taken yet, in the order given.
#[derive(Clone, Debug, Default)]
pub struct Settings(Vec<(String, String)>);

impl Settings {
    /// Reads `key=value` of each.
    ///
    /// # Errors
    /// [`SettingError::Unreadable`].
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, SettingError> {
        let read = |text: &T| {
            let text = text.as_ref();
            let (key, value) = text
                .split_once('=')
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| SettingError::Unreadable(text.to_owned()))?;
            Ok((key.to_owned(), value.to_owned()))
        };
        texts.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Takes the settings of one processor: those that have its name and a point in front, and, where it is the only one, all.
    #[must_use]
    pub fn of(&mut self, name: &str, is_only: bool) -> Self {
        let mut own = Vec::new();
        self.0.retain(|(key, value)| {
            let key = match key.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) {
                Some(key) => key,
                None if is_only => key,
                None => return true,
            };
            own.push((key.to_owned(), value.clone()));
            false
        });
        Self(own)
    }

    /// Takes every value of `key`.
    ///
    /// # Errors
    /// [`SettingError::Value`] for the first that cannot be read.
    pub fn all<T: FromStr<Err: Display>>(&mut self, key: &str) -> Result<Vec<T>, SettingError> {
        let (taken, left) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(known, _)| known == key);
        self.0 = left;
        let read = |(_, value): (String, String)| {
            value
                .parse()
                .map_err(|reason: T::Err| refused(key, &value, reason))
        };
        Vec::into_iter(taken).map(read).collect()
    }

    /// Takes the value of `key`, if it is given.
    ///
    /// # Errors
    /// [`SettingError::Twice`], or [`SettingError::Value`] where it cannot be read.
    pub fn one<T: FromStr<Err: Display>>(&mut self, key: &str) -> Result<Option<T>, SettingError> {
        let mut values = self.all(key)?;
        match values.pop() {
            last if values.is_empty() => Ok(last),
            _ => Err(SettingError::Twice(key.to_owned())),
        }
    }

    /// Takes a yes or no, which is no where it is not given.
    ///
    /// # Errors
    /// As [`one`](Self::one).
    pub fn flag(&mut self, key: &str) -> Result<bool, SettingError> {
        Ok(self.one(key)?.unwrap_or(false))
    }

    /// Says whether all have been taken.
    ///
    /// # Errors
    /// [`SettingError::Unknown`] for the first that has not.
    pub fn finish(self) -> Result<(), SettingError> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((key, _)) => Err(SettingError::Unknown(key)),
        }
    }
}

/// A value that cannot be taken.
pub(crate) fn refused(key: &str, value: impl Display, reason: impl Display) -> SettingError {
    SettingError::Value {
        key: key.to_owned(),
        value: value.to_string(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_taken_once() {
        let mut settings = Settings::parse(&["a=1", "b=x=y", "a=2", "c="]).unwrap();
        assert_eq!(settings.all("a"), Ok(vec![1, 2]));
        assert_eq!(settings.one("b"), Ok(Some("x=y".to_owned())));
        assert_eq!(settings.one("b"), Ok(None::<String>));
        assert_eq!(settings.clone().finish(), Err(SettingError::Unknown("c".into())));
        assert_eq!(settings.one("c"), Ok(Some(String::new())));
        assert_eq!(settings.finish(), Ok(()));
    }

    #[test]
    fn those_of_several_processors_are_told_apart_by_name() {
        let mut settings = Settings::parse(&["scan.pattern=a", "pattern=b", "scanner.pattern=c"]).unwrap();
        let mut all = settings.clone().of("scan", true);
        assert_eq!(all.all("pattern"), Ok(vec!["a".to_owned(), "b".to_owned()]));
        let mut own = settings.of("scan", false);
        assert_eq!(own.all("pattern"), Ok(vec!["a".to_owned()]));
        assert_eq!(settings.finish(), Err(SettingError::Unknown("pattern".into())));
    }

    #[test]
    fn a_refusal_is_one_line_that_names_the_key() {
        assert_eq!(
            Settings::parse(&["a"]).unwrap_err(),
            SettingError::Unreadable("a".into())
        );
        assert!(Settings::parse(&["=a"]).is_err());
        let mut settings = Settings::parse(&["a=x", "b=true", "b=true"]).unwrap();
        let refused = settings.one::<u8>("a").unwrap_err().to_string();
        assert_eq!(refused, "setting a=x: invalid digit found in string");
        assert_eq!(settings.flag("b"), Err(SettingError::Twice("b".into())));
        assert_eq!(settings.flag("b"), Ok(false), "what is not given is no");
    }
}
