//! How deep a YAML text is nested, by a look at its brackets: before it is parsed, because the parser's time grows with the
//! square of it.
//!
//! It is not a parser. What it takes for a bracket may be text, by a few in a text that people write; what it lets pass
//! has no more than [`MAX`] open at once, unless an author hides them from it on purpose; the parser is then merely slow.

/// Deepest nesting that is parsed. A targets file needs five.
pub(super) const MAX: usize = 64;

/// True if a document in `text` opens more than [`MAX`] brackets, or items of items in one line, before it closes them.
pub(super) fn is_too_deep(text: &str) -> bool {
    let mut look = Look::default();
    text.lines().any(|line| {
        if line.starts_with("---") || line.starts_with("...") {
            look = Look::default();
        }
        look.line(line) || items(line) > MAX
    })
}

/// What is known at one place of the text.
#[derive(Default)]
struct Look {
    /// Brackets that are open.
    depth: usize,
    /// The quote that is open. Within brackets only: elsewhere it may be text.
    quote: Option<u8>,
}

impl Look {
    /// True if it is too deep in this line.
    fn line(&mut self, line: &str) -> bool {
        // What stands before: a bracket or quote opens something only where a value can begin.
        let mut before = b'\n';
        let mut escaped = false;
        for byte in line.bytes() {
            if let Some(quote) = self.quote {
                if !escaped && byte == quote {
                    self.quote = None;
                }
                escaped = !escaped && byte == b'\\' && quote == b'"';
                continue;
            }
            let begins = b"\n[{,:-?".contains(&before);
            match byte {
                b'[' | b'{' if begins => self.depth += 1,
                b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                b'"' | b'\'' if begins && self.depth > 0 => self.quote = Some(byte),
                b'#' if self.depth > 0 && begins => return false,
                _ => {}
            }
            if self.depth > MAX {
                return true;
            }
            // A bracket in the middle of a text is text, and the next one is no nearer to being one.
            before = match byte {
                b' ' | b'\t' => before,
                b'[' | b'{' if !begins => b'a',
                _ => byte,
            };
        }
        false
    }
}

/// `- - - x` is an item of an item of an item.
fn items(line: &str) -> usize {
    line.split_ascii_whitespace()
        .take_while(|word| matches!(*word, "-" | "?" | ":"))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_no_person_writes() {
        for deep in [
            "[".repeat(100_000),
            "a: ".to_owned() + &"{a: ".repeat(100_000),
            "- ".repeat(100_000),
            "? ".repeat(100_000),
            "[\n".repeat(65),
            "[['# no comment', ".repeat(40),
            "['a b', \"]]]\", ".repeat(65),
            "[ # ]]]]\n".repeat(65),
            // A quote or a number sign in the middle of a text, or where no bracket is open, hides nothing.
            "a: don't\nb: ".to_owned() + &"[".repeat(65),
            "a: |\n  'tis\nb: ".to_owned() + &"[".repeat(65),
            "[don't, ".to_owned() + &"[".repeat(64),
            "a#b: ".to_owned() + &"[".repeat(65),
            "a:#b: ".to_owned() + &"[".repeat(65),
            "[a#b, ".to_owned() + &"[".repeat(64),
            "- ".repeat(65),
        ] {
            assert!(is_too_deep(&deep), "must be refused: {:.40}", deep);
        }
    }

    #[test]
    fn lets_pass_what_people_write() {
        let script = "command: [sh, -c, \"if [ -f x ]; then echo '((([[['; fi\"]\n".repeat(100);
        let block = format!(
            "a: |\n{}",
            "  case [ in (a[0) echo \"don't {{\" ;; esac\n".repeat(100)
        );
        let documents = "---\na: {b: [c, {d: e}\n".repeat(1_000);
        let json = "{\"a\": {\"b\": [\"[[[[\", \"{\\\"\"]}}\n".repeat(100);
        let comments = "# [ { [ { not one of them opens\na: b\n".repeat(100);
        let escaped = format!("[\"\\\"{}\"]", ", [".repeat(100));
        let items = "- ".repeat(MAX) + "x";
        for good in [
            "[".repeat(MAX),
            script,
            block,
            documents,
            json,
            comments,
            escaped,
            items,
        ] {
            assert!(!is_too_deep(&good), "must be parsed: {:.60}", good);
        }
    }
}
