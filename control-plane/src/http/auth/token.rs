//! A shared secret.

use std::fmt;

use subtle::ConstantTimeEq;

/// A token that is shorter, in bytes, may be guessed.
const WEAK_BELOW: usize = 16;
/// Most tokens of one file: the old and the new.
const MOST: usize = 2;

/// A shared secret. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Vec<u8>);

impl Token {
    /// Takes visible ASCII without white space around it.
    ///
    /// # Errors
    /// One sentence for a token that is empty or holds what a header value cannot.
    pub fn try_new(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.is_empty() {
            return Err("the token is empty");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the token holds something other than visible ASCII");
        }
        Ok(Self(text.as_bytes().to_vec()))
    }

    /// Those of a file: one on each line, and not more than two. Empty lines are none.
    ///
    /// # Errors
    /// One sentence.
    pub fn try_lines(text: &str) -> Result<Vec<Self>, &'static str> {
        let tokens: Vec<_> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(Self::try_new)
            .collect::<Result<_, _>>()?;
        match tokens.len() {
            0 => Err("the token is empty"),
            1..=MOST => Ok(tokens),
            _ => Err("it holds more than two tokens: write the old one and the new one"),
        }
    }

    /// True if it is so short that it may be guessed.
    pub fn is_weak(&self) -> bool {
        self.0.len() < WEAK_BELOW
    }

    /// True if `header` carries it. Takes as long whatever the first difference is.
    pub(super) fn is_in(&self, header: &[u8]) -> bool {
        let Some((scheme, given)) = header.split_at_checked(7) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(self.0.ct_eq(given.trim_ascii()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_the_whole_token() {
        let token = Token::try_new("secret\n").unwrap();
        assert!(token.is_in(b"Bearer secret"), "must take the token");
        for header in [
            &b"Bearer secre"[..],
            b"Bearer secrets",
            b"secret",
            b"Bearer",
            b"Basic secret",
            b"",
        ] {
            assert!(!token.is_in(header), "must refuse {header:?}");
        }
    }

    #[test]
    fn refuses_tokens_no_header_can_carry() {
        for text in [" ", "a b", "a\nb", "\u{e9}"] {
            assert!(Token::try_new(text).is_err(), "{text:?} must be refused");
        }
    }

    #[test]
    fn a_file_may_hold_the_old_and_the_new() {
        assert_eq!(Token::try_lines("one\n").unwrap().len(), 1);
        assert_eq!(Token::try_lines("\none\r\ntwo\n\n").unwrap().len(), 2);
        for text in ["", "\n \n", "one\ntwo\nthree", "one\nt wo"] {
            assert!(Token::try_lines(text).is_err(), "{text:?} must be refused");
        }
    }

    #[test]
    fn is_never_shown() {
        assert_eq!(
            format!("{:?}", Token::try_new("secret").unwrap()),
            "Token(..)",
            "must not be shown"
        );
    }

    #[test]
    fn a_short_one_is_weak() {
        assert!(Token::try_new("change-me").unwrap().is_weak());
        assert!(!Token::try_new("0123456789abcdef").unwrap().is_weak());
    }
}
