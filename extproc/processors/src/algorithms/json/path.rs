//! Paths into JSON documents, such as `user.ssn`, `$.users[*].ssn`, `a["b.c"][0]`. A path leads to any number of values.

use std::str::FromStr;

use thiserror::Error;

/// The most steps of a path: how deep a document is looked into.
pub const STEPS: usize = 32;

/// Where in a document. Written as members (`.name`, or `["any name"]`), elements (`[3]`) and all of either (`[*]`, `.*`),
/// with or without `$` in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(pub(super) Vec<Step>);

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The member of this name, unescaped; all of them, where a document has it twice.
    Member(String),
    /// The element of this number, counted from 0.
    Element(usize),
    /// Every member or element.
    Every,
}

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// No step: it would lead to the whole document. Write `$` for that.
    #[error("the path is empty; `$` is the whole document")]
    Empty,
    /// A step is not one of those above.
    #[error("`{0}` is no step of a path: write .name, [\"any name\"], [3], [*] or .*")]
    Step(String),
    /// More steps than [`STEPS`].
    #[error("the path has more than {STEPS} steps")]
    TooDeep,
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        let (mut rest, mut is_start) = match text.strip_prefix('$') {
            Some(rest) if rest.is_empty() || rest.starts_with(['.', '[']) => (rest, false),
            Some(_) | None => (text, true),
        };
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let unreadable = || PathError::Step(rest.chars().take(40).collect());
            let (step, after) = match rest.strip_prefix('[') {
                Some(inside) => bracket(inside),
                None if is_start => name(rest),
                None => rest.strip_prefix('.').and_then(name),
            }
            .ok_or_else(unreadable)?;
            if steps.len() == STEPS {
                return Err(PathError::TooDeep);
            }
            steps.push(step);
            rest = after;
            is_start = false;
        }
        Ok(Self(steps))
    }
}

/// A name up to the next step, or `*`.
fn name(text: &str) -> Option<(Step, &str)> {
    let end = text.find(['.', '[']).unwrap_or(text.len());
    match text.split_at_checked(end)? {
        ("", _) => None,
        ("*", rest) => Some((Step::Every, rest)),
        (name, rest) => Some((Step::Member(name.to_owned()), rest)),
    }
}

/// What stands behind a `[`, and what behind its `]`.
fn bracket(inside: &str) -> Option<(Step, &str)> {
    let quote = inside.chars().next().filter(|first| ['"', '\''].contains(first));
    if let Some(quote) = quote {
        let (name, rest) = inside.get(1..)?.split_once(quote)?;
        return Some((Step::Member(name.to_owned()), rest.strip_prefix(']')?));
    }
    let (inside, rest) = inside.split_once(']')?;
    if inside == "*" {
        return Some((Step::Every, rest));
    }
    let is_number = !inside.is_empty() && inside.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| inside.parse().ok())??;
    Some((Step::Element(number), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_each_way_of_writing_a_step() {
        check("ssn", &[member("ssn")]);
        check("$.ssn", &[member("ssn")]);
        check("$ssn", &[member("$ssn")]);
        check("mask.me", &[member("mask"), member("me")]);
        check("a.b[*].c", &[member("a"), member("b"), Step::Every, member("c")]);
        check("$.users[*].ssn", &[member("users"), Step::Every, member("ssn")]);
        check("$[0].*", &[Step::Element(0), Step::Every]);
        check("[*]", &[Step::Every]);
        check("*", &[Step::Every]);
        check("a['b.c'][\"d]\"]", &[member("a"), member("b.c"), member("d]")]);
        check("a[\"\"]", &[member("a"), member("")]);
        check("größe.x", &[member("größe"), member("x")]);
        check("$", &[]);
    }

    #[test]
    fn refuses_what_is_no_path() {
        assert_eq!("".parse::<Path>(), Err(PathError::Empty));
        for text in [
            ".",
            "a.",
            "a..b",
            ".a",
            "$.",
            "$..a",
            "a[",
            "a[]",
            "a[x]",
            "a[-1]",
            "a[+1]",
            "a['b]",
            "a['b'",
            "a[*",
            "a[0]b",
            "a[99999999999999999999]",
        ] {
            let refused = text.parse::<Path>();
            assert!(matches!(refused, Err(PathError::Step(_))), "{text}: {refused:?}");
        }
    }

    #[test]
    fn has_no_more_steps_than_are_looked_at() {
        let path = |steps: usize| vec!["a"; steps].join(".").parse::<Path>();
        assert!(path(STEPS).is_ok());
        assert_eq!(path(STEPS + 1), Err(PathError::TooDeep));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in r#"[$.\[\]*"'a0é]{0,12}|.{0,20}"#) {
            let _ = text.parse::<Path>();
        }
    }

    fn member(name: &str) -> Step {
        Step::Member(name.to_owned())
    }

    fn check(text: &str, steps: &[Step]) {
        assert_eq!(text.parse(), Ok(Path(steps.to_vec())), "{text}");
    }
}
