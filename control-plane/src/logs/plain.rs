//! Keeps a line one line, whatever words are in it: what a client calls itself must not look like a line of its own,
//! nor move a terminal's cursor.

use std::borrow::Cow;
use std::fmt::Write;

/// False for what ends a line, steers a terminal, or turns the direction of what follows.
pub(crate) fn is_plain(character: char) -> bool {
    let turns = matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !character.is_control() && !turns
}

/// `line` with its end, and everything else that is not plain as `\u` and four digits, which JSON reads. ESC is left:
/// colours are made of it, and the subscriber keeps it out of what others say.
pub(super) fn one_line(line: &[u8]) -> Cow<'_, [u8]> {
    let (inner, end) = match line.split_last() {
        Some((b'\n', inner)) => (inner, &b"\n"[..]),
        _ => (line, &[][..]),
    };
    let is_kept = |character| is_plain(character) || character == '\u{1b}';
    let text = String::from_utf8_lossy(inner);
    if text.chars().all(is_kept) {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len());
    for character in text.chars() {
        if is_kept(character) {
            out.push(character);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        }
    }
    let mut out = out.into_bytes();
    out.extend_from_slice(end);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_ends_a_line() {
        for (line, expected) in [
            ("a b\n", "a b\n"),
            (
                "\u{1b}[2mINFO\u{1b}[0m \u{e4}\n",
                "\u{1b}[2mINFO\u{1b}[0m \u{e4}\n",
            ),
            ("a\nb\r\n", "a\\u000ab\\u000d\n"),
            ("a\u{85}b\u{2028}c\u{202e}d\n", "a\\u0085b\\u2028c\\u202ed\n"),
            ("no end", "no end"),
        ] {
            assert_eq!(one_line(line.as_bytes()), expected.as_bytes());
        }
    }

    #[test]
    fn json_stays_json() {
        let line = format!("{}\n", serde_json::json!({"proxy": "a\u{85}b\u{202e}\nc"}));
        let read: serde_json::Value = serde_json::from_slice(&one_line(line.as_bytes())).unwrap();
        assert_eq!(read["proxy"], "a\u{85}b\u{202e}\nc", "must say the same");
    }
}
