//! Searches a stream for forbidden patterns. Holds back the longest pattern less one byte, so that no byte of a match is
//! ever let go, wherever the body is cut.

use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use bytes::{Bytes, BytesMut};
use thiserror::Error;

/// The most bytes of one pattern: what a stream holds back is less than it.
pub const LONGEST: usize = 4 * 1024;

/// The most bytes of all patterns together. The automaton takes some 20 to 50 times as much.
pub const MOST: usize = 1 << 20;

/// Why patterns cannot be searched for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternsError {
    /// None are given.
    #[error("there is no pattern")]
    None,
    /// The pattern of this number, counted from 0, has no byte: it would match everywhere.
    #[error("pattern {0} is empty")]
    Empty(usize),
    /// The pattern of this number is longer than [`LONGEST`].
    #[error("pattern {0} is longer than {LONGEST} bytes")]
    TooLong(usize),
    /// They are longer than [`MOST`] together, or the automaton would be too large.
    #[error("the patterns are longer than {MOST} bytes together")]
    TooMany,
}

/// Patterns, prepared once for all streams. A clone is the same.
#[derive(Clone, Debug)]
pub struct Patterns {
    automaton: Arc<AhoCorasick>,
    /// How much a stream holds back.
    hold: usize,
}

impl Patterns {
    /// Takes patterns as bytes. Where `ignore_case`, ASCII letters match in both cases.
    ///
    /// # Errors
    /// One of [`PatternsError`].
    pub fn try_new<P: AsRef<[u8]>>(patterns: &[P], ignore_case: bool) -> Result<Self, PatternsError> {
        let mut sum = 0;
        let mut longest = 0;
        for (number, pattern) in patterns.iter().enumerate() {
            match pattern.as_ref().len() {
                0 => return Err(PatternsError::Empty(number)),
                length if length > LONGEST => return Err(PatternsError::TooLong(number)),
                length => {
                    sum += length;
                    longest = longest.max(length);
                }
            }
        }
        if longest == 0 {
            return Err(PatternsError::None);
        }
        if sum > MOST {
            return Err(PatternsError::TooMany);
        }
        // The first match to end counts: it does not depend on what has not come yet.
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(ignore_case)
            .build(patterns)
            .map_err(|_| PatternsError::TooMany)?;
        Ok(Self {
            automaton: Arc::new(automaton),
            hold: longest - 1,
        })
    }
}

/// Where a pattern was found: the match that ended first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("pattern {pattern} was found at byte {start}")]
pub struct Match {
    /// Its number in the list that [`Patterns::try_new`] was given, counted from 0. Of patterns that end at the same
    /// byte, the longest.
    pub pattern: usize,
    /// Its first byte, counted from the stream's beginning.
    pub start: u64,
    /// The byte after its last.
    pub end: u64,
}

/// What may be let go, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released([Bytes; 2]);

impl IntoIterator for Released {
    type Item = Bytes;
    type IntoIter = std::iter::Filter<std::array::IntoIter<Bytes, 2>, fn(&Bytes) -> bool>;

    /// Only what is not empty.
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().filter(|bytes| !bytes.is_empty())
    }
}

/// Searches one stream.
#[derive(Clone, Debug)]
pub struct Scanner {
    patterns: Patterns,
    /// The last bytes that came, `hold` at most.
    held: BytesMut,
    /// Bytes that came.
    seen: u64,
    found: Option<Match>,
}

impl Scanner {
    /// Begins a stream.
    pub fn new(patterns: Patterns) -> Self {
        Self {
            patterns,
            held: BytesMut::new(),
            seen: 0,
            found: None,
        }
    }

    /// Takes the next chunk, and lets go what cannot be part of a match any more. Chunks are not copied, but for what is
    /// held back of them.
    ///
    /// # Errors
    /// A match. No byte of it has been let go or will be, and every later call gives it again.
    pub fn push(&mut self, mut chunk: Bytes) -> Result<Released, Match> {
        if let Some(found) = self.found {
            return Err(found);
        }
        let hold = self.patterns.hold;
        let held = self.held.len();
        // What ends in the chunk's first `hold` bytes may have begun before the chunk.
        self.held.extend_from_slice(chunk.get(..hold).unwrap_or(&chunk));
        let base = self.seen - held as u64;
        let over_the_edge = self.search(&self.held, base);
        let found = over_the_edge.or_else(|| self.search(&chunk, self.seen));
        if found.is_some() {
            self.found = found;
            self.held.clear();
        }
        if let Some(found) = found {
            return Err(found);
        }
        self.seen += chunk.len() as u64;
        if chunk.len() >= hold {
            self.held.truncate(held);
            let before = self.held.split().freeze();
            let after = chunk.split_off(chunk.len() - hold);
            self.held.extend_from_slice(&after);
            return Ok(Released([before, chunk]));
        }
        let free = self.held.len().saturating_sub(hold);
        Ok(Released([self.held.split_to(free).freeze(), Bytes::new()]))
    }

    /// Ends the stream, and lets go the rest.
    ///
    /// # Errors
    /// The match that [`push`](Self::push) gave.
    pub fn finish(self) -> Result<Bytes, Match> {
        self.found.map_or(Ok(self.held.freeze()), Err)
    }

    fn search(&self, bytes: &[u8], base: u64) -> Option<Match> {
        let found = self.patterns.automaton.find(bytes)?;
        Some(Match {
            pattern: found.pattern().as_usize(),
            start: base + found.start() as u64,
            end: base + found.end() as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn finds_a_pattern_across_every_edge() {
        let patterns = Patterns::try_new(&["secret"], false).unwrap();
        let text = b"no secret here";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let chunks = [&text[..first], &text[first..second], &text[second..]];
                let (released, found) = scan(&patterns, &chunks);
                let expected = Match {
                    pattern: 0,
                    start: 3,
                    end: 9,
                };
                assert_eq!(found, Some(expected), "cut at {first} and {second}");
                assert!(
                    b"no ".starts_with(&released),
                    "must let no byte of it go: {released:?}"
                );
            }
        }
    }

    #[test]
    fn lets_everything_go_where_nothing_is_found() {
        let patterns = Patterns::try_new(&["secret"], false).unwrap();
        let (released, found) = scan(&patterns, &[b"no secre", b"", b"", b"cy here: secre"]);
        assert_eq!(found, None);
        assert_eq!(released, b"no secrecy here: secre");
    }

    #[test]
    fn holds_back_no_more_than_the_longest_pattern_less_one() {
        let patterns = Patterns::try_new(&["ab", "secret"], false).unwrap();
        let mut scanner = Scanner::new(patterns);
        let mut released = 0;
        for came in 1..100_usize {
            released += scanner
                .push(Bytes::from("s"))
                .unwrap()
                .into_iter()
                .flatten()
                .count();
            assert_eq!(released, came.saturating_sub(5), "after {came} bytes");
        }
    }

    #[test]
    fn a_pattern_of_one_byte_holds_nothing_back() {
        let mut scanner = Scanner::new(Patterns::try_new(&["x"], false).unwrap());
        let released: Vec<_> = scanner.push(Bytes::from("abc")).unwrap().into_iter().collect();
        assert_eq!(released, ["abc"], "must pass uncopied and at once");
        assert!(scanner.push(Bytes::from("dx")).is_err());
    }

    #[test]
    fn case_is_ignored_where_asked() {
        let text: [&[u8]; 2] = [b"No SeC", b"ReT"];
        let sensitive = Patterns::try_new(&["secret"], false).unwrap();
        assert_eq!(scan(&sensitive, &text).1, None);
        let insensitive = Patterns::try_new(&["secret"], true).unwrap();
        assert_eq!(scan(&insensitive, &text).1.map(|found| found.start), Some(3));
    }

    #[test]
    fn a_match_lasts() {
        let mut scanner = Scanner::new(Patterns::try_new(&["x"], false).unwrap());
        let found = scanner.push(Bytes::from("x")).unwrap_err();
        assert_eq!(scanner.push(Bytes::from("y")), Err(found));
        assert_eq!(scanner.finish(), Err(found));
    }

    #[test]
    fn refuses_patterns_that_cannot_be_searched_for() {
        let refused = |patterns: &[Vec<u8>]| Patterns::try_new(patterns, false).unwrap_err();
        assert_eq!(refused(&[]), PatternsError::None);
        assert_eq!(refused(&[b"a".to_vec(), vec![]]), PatternsError::Empty(1));
        assert_eq!(refused(&[vec![b'a'; LONGEST + 1]]), PatternsError::TooLong(0));
        assert_eq!(refused(&vec![vec![b'a'; LONGEST]; 257]), PatternsError::TooMany);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn every_cut_gives_what_the_whole_gives(
            patterns in vec("[ab]{1,5}|[ab]{1,2}c", 1..4), text in "[abc]{0,40}", cuts in vec(0..12_usize, 0..8)
        ) {
            let prepared = Patterns::try_new(&patterns, false).unwrap();
            let (_, whole) = scan(&prepared, &[text.as_bytes()]);
            prop_assert_eq!(whole.map(|found| found.end), naive_end(&patterns, &text));
            let mut rest = text.as_bytes();
            let mut chunks: Vec<_> = cuts.iter().map(|cut| {
                let (chunk, after) = rest.split_at((*cut).min(rest.len()));
                rest = after;
                chunk
            }).collect();
            chunks.push(rest);
            let (released, found) = scan(&prepared, &chunks);
            prop_assert_eq!(found, whole);
            match found {
                None => prop_assert_eq!(released, text.as_bytes()),
                Some(found) => {
                    let before = &text.as_bytes()[..usize::try_from(found.start).unwrap()];
                    prop_assert!(before.starts_with(&released), "{released:?} must not reach into {found:?}");
                }
            }
        }
    }

    /// Where the match that ends first ends.
    fn naive_end(patterns: &[String], text: &str) -> Option<u64> {
        let end =
            (1..=text.len()).find(|end| patterns.iter().any(|pattern| text[..*end].ends_with(pattern)))?;
        Some(end as u64)
    }

    /// What was let go, and what was found.
    fn scan(patterns: &Patterns, chunks: &[&[u8]]) -> (Vec<u8>, Option<Match>) {
        let mut scanner = Scanner::new(patterns.clone());
        let mut released = Vec::new();
        for chunk in chunks {
            match scanner.push(Bytes::copy_from_slice(chunk)) {
                Ok(pieces) => pieces
                    .into_iter()
                    .for_each(|piece| released.extend_from_slice(&piece)),
                Err(found) => return (released, Some(found)),
            }
        }
        match scanner.finish() {
            Ok(rest) => released.extend_from_slice(&rest),
            Err(found) => return (released, Some(found)),
        }
        (released, None)
    }
}
