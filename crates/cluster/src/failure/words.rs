//! Makes the words of others fit to be told: one bounded line, without credentials.

/// Longest reason, in bytes: a few lines of a terminal, and far below what the wire protocol takes.
const LONGEST: usize = 300;

/// `text` in one line of at most [`LONGEST`] bytes, without what URLs in it log in with.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<_> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .map(without_login)
        .collect();
    fleet::line::one_line(&words.join(" "), LONGEST)
}

/// `scheme://user:password@host` without `user:password@`.
fn without_login(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let host_ends = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(host_ends);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// What a message made of causes, each after `: `, ends with: the first cause. `None` if it is one piece.
pub(super) fn last_cause(message: &str) -> Option<&str> {
    let (_, cause) = message.trim().rsplit_once(": ")?;
    Some(cause.trim()).filter(|cause| !cause.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_bounded_line() {
        assert_eq!(one_line(" a\n\tb\u{7} c "), "a b c", "must be one line of words");
        let long = one_line(&"ä".repeat(400));
        assert!(long.len() <= LONGEST, "must be bounded, in bytes");
        assert!(
            long.ends_with("ä..."),
            "must be cut between characters, and say so"
        );
        let fits = "x".repeat(LONGEST);
        assert_eq!(one_line(&fits), fits, "must not cut what fits");
    }

    #[test]
    fn logins_in_urls_are_left_out() {
        let check = |text: &str, wanted: &str| assert_eq!(one_line(text), wanted, "must not tell a login");
        check(
            "Get \"https://me:s3cret@reg.example/v2/\": EOF",
            "Get \"https://reg.example/v2/\": EOF",
        );
        check("https://me:s3c@ret@reg.example", "https://reg.example");
        check("https://reg.example/a@b?c", "https://reg.example/a@b?c");
    }

    #[test]
    fn the_last_cause_is_the_first_in_time() {
        assert_eq!(
            last_cause("rpc error: code = NotFound desc = failed to pull: reg.example/a:1: not found"),
            Some("not found"),
            "must be the innermost"
        );
        assert_eq!(
            last_cause("Back-off pulling image \"a:1\""),
            None,
            "must not make one up"
        );
    }
}
