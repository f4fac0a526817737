//! The one rule by which a request finds a host key, for filter and control plane alike: which spellings of an `:authority` name one
//! host, and which keys match it, the best first. Knows no targets: indexes of keys are built on it.
//!
//! `tests/hosts.json` says what finds what; it is run by everything that is built on this, and on the real Envoy.

/// Longest host that is a key, in bytes: the longest name in DNS (RFC 1035).
pub const HOST_MAX: usize = 255;

/// What a host key matches. Lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern<'k> {
    /// `web.example.com`: this host alone.
    Exact(&'k [u8]),
    /// `*.example.com`, as `example.com`: every host below, however deep, and not `example.com` itself.
    Below(&'k [u8]),
}

impl<'k> HostPattern<'k> {
    /// What a key matches that is spelt as [`host_key`] spells it.
    pub fn of(key: &'k str) -> Self {
        match key.strip_prefix("*.") {
            Some(suffix) => Self::Below(suffix.as_bytes()),
            None => Self::Exact(key.as_bytes()),
        }
    }
}

/// The one spelling of a host key: lower case, and without the dot at its end that says that the name is complete.
pub fn host_key(text: &str) -> String {
    text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()
}

/// The host that an `:authority` names: lower case, without its port, and without a dot at its end. Envoy finds the same virtual host
/// for all of these where it strips both. Bytes as they came, UTF-8 or not.
#[derive(Clone, Copy, Debug)]
pub struct HostName {
    /// The end of the host, from the beginning. Of a host that is longer than any key the end decides: what stands before it is
    /// below a wildcard. One byte more than a key has shows whether a label begins there.
    end: [u8; HOST_MAX + 1],
    /// Bytes of `end` that are in use.
    len: usize,
    /// The host is no longer than `end`.
    is_whole: bool,
}

impl HostName {
    /// Reads an `:authority`. Allocates nothing.
    pub fn of(authority: &[u8]) -> Self {
        let host = without_port(authority);
        let host = host.strip_suffix(b".").unwrap_or(host);
        let mut end = [0; HOST_MAX + 1];
        let len = host.len().min(end.len());
        let is_whole = len == host.len();
        for (lower, byte) in end.iter_mut().zip(host.iter().skip(host.len() - len)) {
            *lower = byte.to_ascii_lowercase();
        }
        Self { end, len, is_whole }
    }

    /// The patterns that match this host, the best first: itself, and then the longest suffix. The first of these that is a key
    /// decides. Allocates nothing.
    pub fn patterns(&self) -> impl Iterator<Item = HostPattern<'_>> {
        let host = self.end.get(..self.len).unwrap_or_default();
        let exact = (self.is_whole && self.len <= HOST_MAX).then_some(HostPattern::Exact(host));
        // A wildcard stands for one character at least.
        let mut rest = if self.is_whole { host.get(1..) } else { Some(host) };
        let below = std::iter::from_fn(move || {
            let labels = rest?;
            let dot = labels.iter().position(|byte| *byte == b'.')?;
            rest = labels.get(dot + 1..);
            rest.map(HostPattern::Below)
        });
        exact.into_iter().chain(below)
    }
}

/// `host:80` → `host`; `[::1]:80` → `[::1]`; `host:` and `host:http` have none.
fn without_port(authority: &[u8]) -> &[u8] {
    match authority.iter().rposition(|byte| !byte.is_ascii_digit()) {
        Some(at) if authority.get(at) == Some(&b':') && at + 1 < authority.len() => {
            authority.get(..at).unwrap_or(authority)
        }
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn a_name_has_neither_port_nor_a_dot_at_its_end() {
        for (authority, name) in [
            ("web:80", "web"),
            ("web", "web"),
            ("WEB", "web"),
            ("web.", "web"),
            ("web.:80", "web"),
            ("web:", "web:"),
            ("web..", "web."),
            ("web:abc", "web:abc"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("80", "80"),
            (".", ""),
            (":", ":"),
            (":1", ""),
            ("", ""),
        ] {
            let found = HostName::of(authority.as_bytes());
            assert_eq!(
                found.patterns().next(),
                Some(HostPattern::Exact(name.as_bytes())),
                "of {authority:?}"
            );
        }
    }

    #[test]
    fn patterns_come_from_the_most_exact_to_the_least() {
        let exact = |host: &'static str| HostPattern::Exact(host.as_bytes());
        let below = |suffix: &'static str| HostPattern::Below(suffix.as_bytes());
        for (authority, expected) in [
            ("A.b.c:80", vec![exact("a.b.c"), below("b.c"), below("c")]),
            ("web", vec![exact("web")]),
            (".b.c", vec![exact(".b.c"), below("c")]),
            ("a..c", vec![exact("a..c"), below(".c"), below("c")]),
            ("*.b.c", vec![exact("*.b.c"), below("b.c"), below("c")]),
            ("", vec![exact("")]),
        ] {
            let host = HostName::of(authority.as_bytes());
            assert_eq!(host.patterns().collect::<Vec<_>>(), expected, "{authority}");
        }
        assert_eq!(HostPattern::of("a.b.c"), exact("a.b.c"));
        assert_eq!(HostPattern::of("*.b.c"), below("b.c"));
    }

    #[test]
    fn of_a_host_that_is_longer_than_any_key_the_end_decides() {
        let key = |length: usize| "k".repeat(length);
        for (suffix, is_found) in [(HOST_MAX, true), (HOST_MAX + 1, false)] {
            let suffix = key(suffix);
            let host = HostName::of(format!("a.{suffix}").as_bytes());
            let below = HostPattern::Below(suffix.as_bytes());
            assert_eq!(
                host.patterns().any(|pattern| pattern == below),
                is_found,
                "{}",
                suffix.len()
            );
        }
        for (length, is_exact) in [(HOST_MAX, true), (HOST_MAX + 1, false), (HOST_MAX + 2, false)] {
            let host = HostName::of(key(length).as_bytes());
            assert_eq!(host.patterns().count(), usize::from(is_exact), "{length} bytes");
        }
    }

    #[test]
    fn every_spelling_of_a_host_finds_its_key() {
        let table: serde_json::Value = serde_json::from_str(include_str!("../tests/hosts.json")).unwrap();
        let keys = table["keys"].as_array().unwrap().iter();
        let keys: BTreeSet<_> = keys.map(|key| key.as_str().unwrap()).collect();
        for row in table["hosts"].as_array().unwrap() {
            let host = HostName::of(row[0].as_str().unwrap().as_bytes());
            let is_pattern = |key: &&&str, pattern| HostPattern::of(key) == pattern;
            let found = host
                .patterns()
                .find_map(|pattern| keys.iter().find(|key| is_pattern(key, pattern)));
            assert_eq!(found.copied(), row[1].as_str(), "{}", row[0]);
        }
        for key in keys {
            for spelling in [key.to_owned(), format!("{key}."), key.to_ascii_uppercase()] {
                assert_eq!(host_key(&spelling), key);
            }
        }
    }
}
