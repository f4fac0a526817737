//! Text of others in one line of bounded length: for logs, statuses and answers. Pure.

/// How a line ends that was longer.
const MORE: &str = "...";

/// `text` in one line of at most `max` bytes (three at least): runs of white space and control characters are one space, and what
/// is too long is cut at a character and ends in `...`. Keeps no more of `text` than that.
pub fn one_line(text: &str, max: usize) -> String {
    let mut line = String::new();
    let is_gap = |c: char| c.is_whitespace() || c.is_control();
    for word in text.split(is_gap).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        // One byte more than there is room for tells that there is more. A word may be as long as all of the text.
        let end = word.ceil_char_boundary(max.saturating_add(1).saturating_sub(line.len()));
        line.push_str(word.get(..end).unwrap_or(word));
        if line.len() > max {
            line.truncate(line.floor_char_boundary(max.saturating_sub(MORE.len())));
            line.push_str(MORE);
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_no_more_memory_than_the_line_needs() {
        for text in ["\u{e4}".repeat(1 << 20), "a ".repeat(1 << 20)] {
            let line = one_line(&text, 100);
            assert!(line.len() <= 100 && line.ends_with(MORE), "must be cut: {line}");
            assert!(line.capacity() < 1_000, "must not keep {} bytes", line.capacity());
        }
    }

    #[test]
    fn is_one_line_of_words_and_bounded() {
        assert_eq!(
            one_line(" a\n\tb\u{7} c ", 9),
            "a b c",
            "must be one line of words"
        );
        assert_eq!(one_line("", 9), "", "must stay empty");
        assert_eq!(one_line("123456789", 9), "123456789", "must not cut what fits");
        assert_eq!(one_line("12345 6789", 9), "12345 ...", "must say that it is cut");
        assert_eq!(one_line("ääääää", 8), "ää...", "must be cut at a character");
    }
}
