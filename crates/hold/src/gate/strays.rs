//! Counts the streams that no target was found for, by where they go: a target that comes later is in use by those that are
//! its own, so that its first sleep does not cut a WebSocket that is older than the target. Bounded: a stream that finds no
//! place is not counted.

use std::hash::Hasher;

use rustc_hash::FxHasher;

use crate::gate::TargetIx;
use crate::gate::targets::Targets;

/// Most destinations that are told apart at once. Each costs some 150 bytes, and a look at eight; a gateway's worker rarely has
/// streams to more that belong to no target.
const MAX: usize = 256;

/// Longest names that are kept, cluster and authority together, in bytes: the longest that a key can mean, and a port.
const NAME_MAX: usize = 1024;

/// Most targets that one stream is counted for: those of one key, or those that it may be for.
const CLAIMANTS: usize = 64;

/// Streams to one destination. Its place is used again once it has none.
#[derive(Debug)]
struct Stray {
    cluster: Box<[u8]>,
    /// `None`: it was not read, because no target was found by host.
    authority: Option<Box<[u8]>>,
    count: u32,
    /// Targets that have come since, and that these streams are counted for: those that come now find them by themselves.
    targets: Vec<TargetIx>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Strays {
    all: Vec<Stray>,
    /// Of what each place stands for, in the same order: looked through for each request that belongs to no target.
    hashes: Vec<u64>,
    /// Streams that are counted.
    live: u32,
}

impl Strays {
    /// A request passes that no target was found for; `authority` if it was read. Returns its destination's place, or `None` if
    /// there is no room. Allocates for the first to a destination only.
    pub(super) fn begin(&mut self, cluster: &[u8], authority: Option<&[u8]>) -> Option<u32> {
        if cluster.len() + authority.map_or(0, <[u8]>::len) > NAME_MAX {
            return None;
        }
        let hash = hash_of(cluster, authority);
        let known = self.hashes.iter().zip(&self.all).position(|(other, stray)| {
            *other == hash
                && *stray.cluster == *cluster
                && stray.authority.as_deref() == authority
                && stray.targets.is_empty()
        });
        let at = known.or_else(|| self.make_room(hash, cluster, authority))?;
        self.all.get_mut(at)?.count += 1;
        self.live += 1;
        u32::try_from(at).ok()
    }

    fn make_room(&mut self, hash: u64, cluster: &[u8], authority: Option<&[u8]>) -> Option<usize> {
        let stray = Stray {
            cluster: cluster.into(),
            authority: authority.map(Into::into),
            count: 0,
            targets: Vec::new(),
        };
        if self.all.len() < MAX {
            self.all.push(stray);
            self.hashes.push(hash);
            return Some(self.all.len() - 1);
        }
        let at = self.all.iter().position(|stray| stray.count == 0)?;
        *self.all.get_mut(at)? = stray;
        *self.hashes.get_mut(at)? = hash;
        Some(at)
    }

    /// Targets have come, or have other keys: which streams are theirs already, and how many. Costs what there is of streams,
    /// not of targets.
    pub(super) fn claim(&mut self, rekeyed: &[TargetIx], targets: &Targets) -> Vec<(TargetIx, u32)> {
        let mut claimed = Vec::new();
        if self.live == 0 || rekeyed.is_empty() {
            return claimed;
        }
        let by_host = |ix: &TargetIx| {
            let entry = targets.get(*ix);
            entry.is_some_and(|entry| !entry.target().hosts.is_empty())
        };
        for stray in self.all.iter_mut().filter(|stray| stray.count > 0) {
            let by_cluster = targets.all_of_cluster(&stray.cluster);
            let (claimants, certain) = match &stray.authority {
                _ if !by_cluster.is_empty() => (by_cluster, true),
                Some(authority) => (targets.all_of_host(authority), true),
                // Where it goes is not known, so it may be there.
                None => (rekeyed, false),
            };
            for ix in claimants
                .iter()
                .filter(|ix| certain || by_host(ix))
                .take(CLAIMANTS)
            {
                if !stray.targets.contains(ix) {
                    stray.targets.push(*ix);
                    claimed.push((*ix, stray.count));
                }
            }
        }
        claimed
    }

    /// The `n`th of the targets that the streams to this destination are counted for.
    pub(super) fn target(&self, at: u32, n: usize) -> Option<TargetIx> {
        self.all.get(at as usize)?.targets.get(n).copied()
    }

    /// A stream to this destination has ended.
    pub(super) fn end(&mut self, at: u32) {
        let Some(stray) = self.all.get_mut(at as usize) else {
            return;
        };
        stray.count = stray.count.saturating_sub(1);
        self.live = self.live.saturating_sub(1);
        if stray.count == 0 {
            stray.targets.clear();
        }
    }
}

fn hash_of(cluster: &[u8], authority: Option<&[u8]>) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(cluster);
    hasher.write(authority.unwrap_or_default());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use protocol::{State, Target, TargetId};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::gate::testing::{mk_gate, mk_record, mk_target, publish};
    use crate::gate::{ClusterLookup, Gate, Ticket};
    use crate::{SlotRecord, StreamId, Time};

    const KEYS: [(&[&str], &[&str]); 4] = [
        (&[], &["web"]),
        (&["web.example.com"], &[]),
        (&["*.example.com"], &[]),
        (&["other.example.com"], &["web"]),
    ];

    #[test]
    fn streams_that_are_older_than_their_target_are_its_use() {
        for (hosts, clusters) in KEYS {
            let mut world = World::new();
            let ours = [
                world.pass("web", "web.example.com"),
                world.pass("web", "web.example.com"),
            ];
            let others = world.pass("api", "api.example.org");
            world.publish(0, hosts, clusters);
            assert_eq!(
                world.in_flight(),
                [2],
                "must be in flight: {hosts:?} {clusters:?}"
            );
            world.end(others);
            world.end(ours[0]);
            assert_eq!(world.in_flight(), [1], "must count each");
            world.end(ours[1]);
            assert_eq!(world.in_flight(), [0], "must end with the last");
        }
    }

    #[test]
    fn a_stream_whose_host_was_not_read_may_be_of_any_target_that_is_found_by_host() {
        let mut world = World::bare();
        let stream = world.gate.stray(b"web", None);
        let Ticket::Stray(_) = stream else {
            panic!("must be counted")
        };
        world.publish(1, &["a.example.com"], &[]);
        world.publish(2, &["b.example.com"], &[]);
        world.publish(3, &[], &["c"]);
        assert_eq!(
            world.in_flight(),
            [1, 1],
            "must keep both up while it is not known which target it is for"
        );
        world.end(stream);
        assert_eq!(world.in_flight(), [0, 0], "must end for both");
    }

    #[test]
    fn streams_to_one_destination_take_one_place_and_to_another_their_own() {
        let mut world = World::new();
        for host in ["web.example.com", "api.example.com", "web.example.com"] {
            world.pass("web", host);
        }
        assert_eq!(world.gate.strays.all.len(), 2);
        let by_another = world.pass("api", "web.example.com");
        assert_eq!(
            world.gate.strays.all.len(),
            3,
            "one host by another cluster is another destination"
        );
        world.publish(0, &["web.example.com"], &[]);
        assert_eq!(world.in_flight(), [3], "must not count what goes to another host");
        world.publish(1, &[], &["api"]);
        assert_eq!(
            world.in_flight(),
            [3, 1],
            "must count what goes by another cluster apart"
        );
        world.end(by_another);
        assert_eq!(world.in_flight(), [2, 0], "must end with its own");
    }

    #[test]
    fn destinations_whose_hashes_are_the_same_are_told_apart() {
        let mut strays = Strays::default();
        assert_eq!(strays.begin(b"web", None), Some(0));
        strays.hashes[0] = hash_of(b"api", None);
        assert_eq!(
            strays.begin(b"api", None),
            Some(1),
            "must have a place of its own"
        );
    }

    #[test]
    fn streams_that_come_while_their_target_is_away_are_its_use_once_it_is_back() {
        let mut world = World::new();
        let first = world.pass("web", "web.example.com");
        world.publish(0, &[], &["web"]);
        world.remove(0);
        let second = world.pass("web", "web.example.com");
        world.publish(0, &[], &["web"]);
        assert_eq!(world.in_flight(), [2], "must count both");
        world.end(first);
        world.end(second);
        assert_eq!(world.in_flight(), [0]);
    }

    #[test]
    fn a_destination_may_be_as_long_as_a_key_can_mean() {
        let mut world = World::new();
        let authority = "x".repeat(NAME_MAX - 3);
        world.pass("web", &authority);
        let longer = format!("{authority}x");
        let ticket = world.gate.stray(b"web", Some(longer.as_bytes()));
        assert_eq!(ticket, Ticket::Free, "must be short");
    }

    #[test]
    fn a_target_that_goes_before_its_streams_leaves_nothing_behind() {
        let mut world = World::new();
        let stream = world.pass("web", "web.example.com");
        world.publish(0, &[], &["web"]);
        world.remove(0);
        world.publish(1, &[], &["api"]);
        world.end(stream);
        assert_eq!(
            world.in_flight(),
            [0_u32; 0],
            "must not be counted for another in its place"
        );
        let again = world.pass("web", "web.example.com");
        world.publish(2, &[], &["web"]);
        assert_eq!(world.in_flight(), [1], "must count again");
        world.end(again);
    }

    #[test]
    fn destinations_are_bounded_and_their_places_used_again() {
        let mut world = World::new();
        let streams: Vec<_> = (0..MAX)
            .map(|n| world.pass("web", &format!("{n}.example.org")))
            .collect();
        let more = world.gate.stray(b"web", Some(b"more.example.org"));
        assert_eq!(more, Ticket::Free, "must be bounded");
        let long = "x".repeat(NAME_MAX);
        assert_eq!(
            world.gate.stray(b"web", Some(long.as_bytes())),
            Ticket::Free,
            "must be short"
        );
        streams.into_iter().for_each(|stream| world.end(stream));
        let more = world.gate.stray(b"web", Some(b"more.example.org"));
        assert!(matches!(more, Ticket::Stray(_)), "must find a place again");
        assert_eq!((world.gate.strays.all.len(), world.gate.strays.live), (MAX, 1));
    }

    struct World {
        gate: Gate,
    }

    impl World {
        /// That some targets are found by host is known.
        fn new() -> Self {
            let mut world = Self::bare();
            world.publish(9, &["host.example.net"], &[]);
            world
        }

        fn bare() -> Self {
            Self { gate: mk_gate() }
        }

        fn pass(&mut self, cluster: &str, host: &str) -> Ticket {
            let (cluster, host) = (cluster.as_bytes(), host.as_bytes());
            assert_eq!(
                self.gate.find_cluster(cluster),
                ClusterLookup::AskHost,
                "must be no target's"
            );
            assert_eq!(self.gate.find_host(host, cluster), None, "must be no target's");
            let ticket = self.gate.stray(cluster, Some(host));
            assert!(matches!(ticket, Ticket::Stray(_)), "must be counted");
            ticket
        }

        fn end(&mut self, ticket: Ticket) {
            self.gate.ended(Time::ZERO, StreamId(1), ticket);
        }

        fn publish(&mut self, n: u32, hosts: &[&str], clusters: &[&str]) {
            let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            let target = Target {
                id: TargetId::new(format!("t{n}")),
                state: State::Ready,
                hosts: texts(hosts),
                clusters: texts(clusters),
                ..mk_target("t")
            };
            publish(&mut self.gate, n, mk_record(target));
        }

        fn remove(&mut self, n: u32) {
            publish(&mut self.gate, n, SlotRecord::default());
        }

        /// Of each target that the status lists or could list, in the order in which they came into use.
        fn in_flight(&mut self) -> Vec<u32> {
            let listed = self.gate.status.listed();
            let entries = listed.filter_map(|ix| self.gate.targets.get(ix));
            entries
                .filter(|entry| !entry.is_retired())
                .map(|entry| entry.in_flight())
                .collect()
        }
    }
}
