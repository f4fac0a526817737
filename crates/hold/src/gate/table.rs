//! Which target a request is for. Looks up without allocating; keys may have several claimants.

use protocol::{HostName, HostPattern, host_key};

use crate::gate::TargetIx;
use crate::maps::FixedMap;

/// Claimants of one key, in order of arrival; never empty while in a map.
type Claims = Vec<TargetIx>;

/// What stands before the subset of an Istio cluster, and the claimants.
type Pattern = (Box<[u8]>, Claims);

/// The keys of all targets.
#[derive(Debug, Default)]
pub(super) struct KeyTable {
    clusters: FixedMap<Box<[u8]>, Claims>,
    /// Istio's `outbound|80|*|host`, under `host`: what stands before the subset, and the claimants.
    subsets: FixedMap<Box<[u8]>, Vec<Pattern>>,
    hosts: FixedMap<Box<[u8]>, Claims>,
    /// `*.example.com` under `example.com`.
    suffixes: FixedMap<Box<[u8]>, Claims>,
    /// Keys with more than one claimant.
    shared: usize,
}

impl KeyTable {
    pub(super) fn add(&mut self, ix: TargetIx, target: &protocol::Target) {
        for cluster in &target.clusters {
            match split_subset_pattern(cluster) {
                Some((before, host)) => {
                    let patterns = self.subsets.entry(host.into()).or_default();
                    match patterns.iter_mut().find(|(known, _)| **known == *before) {
                        Some((_, claims)) => self.shared += claim(claims, ix),
                        None => patterns.push((before.into(), vec![ix])),
                    }
                }
                None => {
                    let claims = self.clusters.entry(cluster.as_bytes().into()).or_default();
                    self.shared += claim(claims, ix);
                }
            }
        }
        for host in &target.hosts {
            // Spelt anew, in case the control plane is older and has left a dot at its end.
            let host = host_key(host);
            let claims = match HostPattern::of(&host) {
                HostPattern::Exact(host) => self.hosts.entry(host.into()),
                HostPattern::Below(suffix) => self.suffixes.entry(suffix.into()),
            };
            self.shared += claim(claims.or_default(), ix);
        }
    }

    pub(super) fn remove(&mut self, ix: TargetIx, target: &protocol::Target) {
        for cluster in &target.clusters {
            match split_subset_pattern(cluster) {
                Some((before, host)) => {
                    if let Some(patterns) = self.subsets.get_mut(host) {
                        for (known, claims) in patterns.iter_mut() {
                            if **known == *before {
                                self.shared -= drop_claim(claims, ix);
                            }
                        }
                        patterns.retain(|(_, claims)| !claims.is_empty());
                        if patterns.is_empty() {
                            self.subsets.remove(host);
                        }
                    }
                }
                None => self.shared -= disclaim(&mut self.clusters, cluster.as_bytes(), ix),
            }
        }
        for host in &target.hosts {
            self.shared -= match HostPattern::of(&host_key(host)) {
                HostPattern::Exact(host) => disclaim(&mut self.hosts, host, ix),
                HostPattern::Below(suffix) => disclaim(&mut self.suffixes, suffix, ix),
            };
        }
    }

    /// Claimants of a cluster name; empty if there is none.
    pub(super) fn cluster(&self, name: &[u8]) -> &[TargetIx] {
        if let Some(claims) = self.clusters.get(name) {
            return claims;
        }
        if self.subsets.is_empty() {
            return &[];
        }
        let Some((before, host)) = split_subset(name) else {
            return &[];
        };
        self.subsets
            .get(host)
            .and_then(|patterns| patterns.iter().find(|(known, _)| **known == *before))
            .map_or(&[], |(_, claims)| claims)
    }

    /// Every target that has one of the keys of this target, each once; of a host also those that have a wildcard above it.
    pub(super) fn claimants_of(&self, target: &protocol::Target) -> Vec<TargetIx> {
        let clusters = target.clusters.iter().map(|key| self.cluster(key.as_bytes()));
        let hosts = target.hosts.iter().map(|key| self.host(key.as_bytes()));
        let mut found: Vec<TargetIx> = clusters.chain(hosts).flatten().copied().collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// True if any key has more than one claimant.
    pub(super) fn has_shared(&self) -> bool {
        self.shared > 0
    }

    /// True if any target is found by host, so that the shell need not read `:authority` otherwise.
    pub(super) fn has_hosts(&self) -> bool {
        !self.hosts.is_empty() || !self.suffixes.is_empty()
    }

    /// Claimants of an `:authority`, of the exact host first, else of the longest suffix; empty if there is none.
    pub(super) fn host(&self, authority: &[u8]) -> &[TargetIx] {
        let host = HostName::of(authority);
        // Without wildcards nothing is looked for behind the host itself.
        let most = if self.suffixes.is_empty() { 1 } else { usize::MAX };
        let mut claims = host.patterns().take(most).filter_map(|pattern| match pattern {
            HostPattern::Exact(host) => self.hosts.get(host),
            HostPattern::Below(suffix) => self.suffixes.get(suffix),
        });
        claims.next().map_or(&[], |claims| claims)
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.clusters.is_empty() && self.subsets.is_empty() && !self.has_hosts() && !self.has_shared()
    }
}

/// 1 if the key is shared from now on.
fn claim(claims: &mut Claims, ix: TargetIx) -> usize {
    if claims.contains(&ix) {
        return 0;
    }
    claims.push(ix);
    usize::from(claims.len() == 2)
}

/// 1 if the key is no longer shared.
fn drop_claim(claims: &mut Claims, ix: TargetIx) -> usize {
    let before = claims.len();
    claims.retain(|other| *other != ix);
    usize::from(before == 2 && claims.len() == 1)
}

/// 1 if the key is no longer shared.
fn disclaim(map: &mut FixedMap<Box<[u8]>, Claims>, key: &[u8], ix: TargetIx) -> usize {
    let Some(claims) = map.get_mut(key) else {
        return 0;
    };
    let unshared = drop_claim(claims, ix);
    if claims.is_empty() {
        map.remove(key);
    }
    unshared
}

/// `outbound|80|*|host` → (`outbound|80`, `host`).
fn split_subset_pattern(cluster: &str) -> Option<(&[u8], &[u8])> {
    let (before, host) = split_subset(cluster.as_bytes())?;
    (cluster.as_bytes().get(before.len()..cluster.len() - host.len()) == Some(b"|*|"))
        .then_some((before, host))
}

/// `outbound|80|v1|host` → (`outbound|80`, `host`): Istio's `direction|port|subset|host`.
fn split_subset(cluster: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut bars = cluster
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'|')
        .map(|(at, _)| at);
    let (_, second, third) = (bars.next()?, bars.next()?, bars.next()?);
    Some((cluster.get(..second)?, cluster.get(third + 1..)?))
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::testing::mk_target;

    fn mk_table(keys: &[(&[&str], &[&str])]) -> KeyTable {
        let mut table = KeyTable::default();
        for (n, (hosts, clusters)) in keys.iter().enumerate() {
            let mut target = mk_target("t");
            target.hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
            target.clusters = clusters.iter().map(|cluster| (*cluster).to_owned()).collect();
            table.add(TargetIx(n as u32), &target);
        }
        table
    }

    fn check_host(table: &KeyTable, authority: &str, expected: Option<u32>) {
        assert_eq!(
            table.host(authority.as_bytes()).first().copied(),
            expected.map(TargetIx),
            "{authority}"
        );
    }

    #[test]
    fn every_spelling_of_a_host_finds_its_key() {
        let spellings: serde_json::Value =
            serde_json::from_str(include_str!("../../../protocol/tests/hosts.json")).unwrap();
        let keys: Vec<&str> = spellings["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key.as_str().unwrap())
            .collect();
        let hosts: Vec<[&str; 1]> = keys.iter().map(|key| [*key]).collect();
        let targets: Vec<(&[&str], &[&str])> = hosts.iter().map(|host| (&host[..], &[][..])).collect();
        let table = mk_table(&targets);
        for row in spellings["hosts"].as_array().unwrap() {
            let found = row[1]
                .as_str()
                .map(|key| keys.iter().position(|other| *other == key).unwrap());
            check_host(&table, row[0].as_str().unwrap(), found.map(|at| at as u32));
        }
        check_host(&table, "", None);
    }

    #[test]
    fn a_key_may_end_with_a_dot() {
        let table = mk_table(&[(&["web.example.com."], &[]), (&["*.example.org."], &[])]);
        check_host(&table, "web.example.com", Some(0));
        check_host(&table, "a.example.org.", Some(1));
    }

    #[test]
    fn the_exact_host_wins_and_then_the_longest_suffix() {
        let table = mk_table(&[
            (&["*.example.com"], &[]),
            (&["*.a.example.com"], &[]),
            (&["x.a.example.com"], &[]),
        ]);
        check_host(&table, "x.a.example.com", Some(2));
        check_host(&table, "y.a.example.com", Some(1));
        check_host(&table, "z.y.a.example.com", Some(1));
        check_host(&table, "b.example.com", Some(0));
        check_host(&table, "example.com", None);
    }

    #[test]
    fn istio_subsets_match_any() {
        let table = mk_table(&[(&[], &["outbound|80|*|web.shop.svc.cluster.local", "plain"])]);
        assert_eq!(
            table.cluster(b"outbound|80||web.shop.svc.cluster.local"),
            [TargetIx(0)]
        );
        assert_eq!(
            table.cluster(b"outbound|80|v1|web.shop.svc.cluster.local"),
            [TargetIx(0)]
        );
        assert_eq!(table.cluster(b"outbound|81||web.shop.svc.cluster.local"), []);
        assert_eq!(table.cluster(b"plain"), [TargetIx(0)]);
        assert_eq!(table.cluster(b"\xff|\xff"), []);
    }

    #[test]
    fn istio_subsets_of_several_ports_are_told_apart() {
        let (one, other) = (&["outbound|80|*|web"][..], &["outbound|81|*|web"][..]);
        let mut table = mk_table(&[(&[], one), (&[], other), (&[], other)]);
        assert_eq!(table.cluster(b"outbound|80|v1|web"), [TargetIx(0)]);
        assert_eq!(table.cluster(b"outbound|81|v1|web"), [TargetIx(1), TargetIx(2)]);
        assert!(table.has_shared());
        let mut target = mk_target("t");
        target.clusters = vec![other[0].to_owned()];
        table.remove(TargetIx(1), &target);
        assert_eq!(table.cluster(b"outbound|80|v1|web"), [TargetIx(0)]);
        assert_eq!(table.cluster(b"outbound|81|v1|web"), [TargetIx(2)]);
        assert!(!table.has_shared());
    }

    #[test]
    fn a_removed_target_leaves_nothing_behind() {
        let mut table = mk_table(&[]);
        let mut target = mk_target("t");
        target.hosts = vec!["a".to_owned(), "*.b".to_owned()];
        target.clusters = vec!["c".to_owned(), "outbound|80|*|d".to_owned()];
        table.add(TargetIx(3), &target);
        table.add(TargetIx(4), &target);
        assert_eq!(table.cluster(b"c"), [TargetIx(3), TargetIx(4)]);
        assert!(table.has_shared(), "must know that keys have two claimants");
        table.remove(TargetIx(3), &target);
        assert!(!table.has_shared(), "must know that they have one again");
        assert_eq!(table.cluster(b"outbound|80||d"), [TargetIx(4)]);
        table.remove(TargetIx(4), &target);
        assert!(table.is_empty(), "must be empty: {table:?}");
    }
}
