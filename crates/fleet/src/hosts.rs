//! Finds the target of a host, among all host keys, without going through them. Which keys match is `protocol`'s rule.

use std::collections::BTreeMap;

use protocol::{HostName, HostPattern, TargetId};

/// Host keys and their targets, in the order of ids; a key has one as a rule.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    exact: Index,
    /// `*.example.com` under `example.com`.
    suffixes: Index,
}

type Index = BTreeMap<Box<[u8]>, Vec<TargetId>>;

impl Hosts {
    /// `id` has other keys than before.
    pub fn change(&mut self, id: &TargetId, before: &[String], after: &[String]) {
        if before == after {
            return;
        }
        for key in before {
            let (map, key) = self.place(key);
            if let Some(ids) = map.get_mut(key) {
                ids.retain(|other| other != id);
                if ids.is_empty() {
                    map.remove(key);
                }
            }
        }
        for key in after {
            let (map, key) = self.place(key);
            let ids = map.entry(key.into()).or_default();
            if let Err(at) = ids.binary_search(id) {
                ids.insert(at, id.clone());
            }
        }
    }

    /// The target that a request for this authority belongs to: an exact key first, then the longest wildcard. Of several that
    /// have the same key the last.
    pub fn find(&self, authority: &str) -> Option<&TargetId> {
        let host = HostName::of(authority.as_bytes());
        let mut found = host.patterns().filter_map(|pattern| match pattern {
            HostPattern::Exact(host) => self.exact.get(host),
            HostPattern::Below(suffix) => self.suffixes.get(suffix),
        });
        found.next()?.last()
    }

    fn place<'k>(&mut self, key: &'k str) -> (&mut Index, &'k [u8]) {
        match HostPattern::of(key) {
            HostPattern::Exact(host) => (&mut self.exact, host),
            HostPattern::Below(suffix) => (&mut self.suffixes, suffix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_given_up_leads_nowhere() {
        let mut hosts = Hosts::default();
        hosts.change(&id("a"), &[], &keys(&["x.example.com", "*.example.com"]));
        hosts.change(&id("b"), &[], &keys(&["x.example.com"]));
        assert_eq!(
            hosts.find("x.example.com"),
            Some(&id("b")),
            "must be the last one's"
        );
        hosts.change(&id("b"), &keys(&["x.example.com"]), &[]);
        assert_eq!(hosts.find("x.example.com"), Some(&id("a")));
        hosts.change(
            &id("a"),
            &keys(&["x.example.com", "*.example.com"]),
            &keys(&["*.example.com"]),
        );
        assert_eq!(
            hosts.find("x.example.com"),
            Some(&id("a")),
            "must match the wildcard"
        );
        assert_eq!(
            hosts.find(".example.com"),
            None,
            "a wildcard must stand for something"
        );
        hosts.change(&id("a"), &keys(&["*.example.com"]), &[]);
        assert_eq!(hosts.find("x.example.com"), None);
        assert!(
            hosts.exact.is_empty() && hosts.suffixes.is_empty(),
            "must keep nothing"
        );
    }

    #[test]
    fn every_spelling_of_a_host_finds_its_key() {
        let spellings: serde_json::Value =
            serde_json::from_str(include_str!("../../protocol/tests/hosts.json")).unwrap();
        let mut hosts = Hosts::default();
        for key in spellings["keys"].as_array().unwrap() {
            let written: crate::config::HostKey = key.as_str().unwrap().parse().unwrap();
            assert_eq!(written.as_str(), key, "must be a key as it is written");
            hosts.change(&id(written.as_str()), &[], &keys(&[written.as_str()]));
        }
        for row in spellings["hosts"].as_array().unwrap() {
            let found = hosts.find(row[0].as_str().unwrap()).map(TargetId::as_str);
            assert_eq!(found, row[1].as_str(), "{}", row[0]);
        }
    }

    fn id(id: &str) -> TargetId {
        TargetId::new(id)
    }

    fn keys(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }
}
