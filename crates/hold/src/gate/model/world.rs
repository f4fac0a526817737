//! What the model knows: of every stream its fate, of every target what was published last, and what is taken of each bound.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Op;
use super::told::Told;
use crate::gate::testing::{ME, mk_config};
use crate::gate::{ConfirmToken, Gate, Ticket};
use crate::testing::Quota;
use crate::{Bound, Config, Manifest, REQUEST_CHARGE, Slot, SlotRecord, StreamId, Time};

pub(super) const TARGETS: u8 = 3;
pub(super) const CLUSTERS: u8 = 2;
/// A cluster that several targets may claim.
pub(super) const SHARED: u8 = CLUSTERS;

/// What the model knows of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Passed,
    Held {
        target: Option<u8>,
        cluster: u8,
        order: u64,
    },
    Resumed,
    Refused,
    Ended,
}

/// The released requests of one target that are not answered, as the model counts them.
#[derive(Debug, Default)]
pub(super) struct Released {
    /// How many there may be.
    pub(super) share: usize,
    pub(super) unanswered: BTreeSet<StreamId>,
    /// When it last became full, or was emptied.
    pub(super) since: Time,
}

/// From a full window to its opening by itself.
pub(super) const WINDOW: Duration = Duration::from_secs(1);
/// For which every target holds.
pub(super) const HOLD: Duration = Duration::from_secs(2);

/// The shell, the quotas and the relay, as simply as they can be.
pub(super) struct World {
    pub(super) gate: Gate,
    pub(super) config: Config,
    pub(super) now: Time,
    pub(super) version: u64,
    pub(super) manifest: Manifest,
    pub(super) records: BTreeMap<u8, SlotRecord>,
    pub(super) last: Option<(Manifest, Vec<(Slot, SlotRecord)>)>,
    pub(super) quota: Quota,
    pub(super) fates: BTreeMap<StreamId, Fate>,
    pub(super) tickets: BTreeMap<StreamId, Ticket>,
    pub(super) asked: Vec<ConfirmToken>,
    pub(super) next_stream: u32,
    pub(super) next_order: u64,
    pub(super) last_resumed: BTreeMap<(u8, u8), u64>,
    /// Until when each stream may be held.
    pub(super) deadlines: BTreeMap<StreamId, Time>,
    /// The version at which each came, and at which each target was published last with another word on the shared key.
    pub(super) came: BTreeMap<StreamId, u64>,
    pub(super) shared_since: BTreeMap<u8, u64>,
    /// The version at which each was removed last.
    pub(super) removed_at: BTreeMap<u8, u64>,
    pub(super) released: BTreeMap<u8, Released>,
    /// The bound that was just reached.
    pub(super) denied: Option<Bound>,
    pub(super) told: Told,
}

/// What happens to requests without a first snapshot.
pub(super) const STARTUPS: [&str; 3] = ["pass", "refuse", "hold"];
/// What one of the targets ignores.
pub(super) const PROBE: &str = "/healthz";
pub(super) const MAX_REQUESTS: u32 = 4;
/// Three with a body of unknown length, and a little more.
pub(super) const MAX_BYTES: u64 = 3 * (REQUEST_CHARGE + 1_000) + 500;
pub(super) const ENVOY_REQUESTS: u32 = 8;

impl World {
    pub(super) fn new(then: &str) -> Self {
        let config = mk_config(&format!(
            r#","buffer_limit":2000,"stream_buffer_limit":1500,"startup":{{"wait":"1s","then":"{then}"}}"#
        ));
        Self {
            gate: Gate::new(config.clone(), ME, Time::ZERO),
            config,
            now: Time::ZERO,
            version: 0,
            manifest: Manifest {
                slots: u32::from(TARGETS),
                ..Manifest::default()
            },
            records: BTreeMap::new(),
            last: None,
            quota: Quota::default(),
            fates: BTreeMap::new(),
            tickets: BTreeMap::new(),
            asked: Vec::new(),
            next_stream: 1,
            next_order: 0,
            last_resumed: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            came: BTreeMap::new(),
            shared_since: BTreeMap::new(),
            removed_at: BTreeMap::new(),
            released: BTreeMap::new(),
            denied: None,
            told: Told::default(),
        }
    }

    pub(super) fn step(&mut self, op: &Op) {
        match op {
            Op::Publish {
                target,
                state,
                new_epoch,
                told,
                share,
                twin,
            } => {
                self.publish(*target, Some((*state, *new_epoch, *told, *share, *twin)));
            }
            Op::Remove { target } => self.publish(*target, None),
            Op::Lose { lost } => {
                self.manifest.lost = *lost;
                self.apply(Vec::new());
            }
            Op::Reread { without } => self.reread(*without),
            Op::Stale => self.apply_stale(),
            Op::Arrive {
                target,
                cluster,
                grpc_timeout,
                length,
            } => self.arrive(*target, *cluster, *grpc_timeout, *length),
            Op::Answer { nth } => {
                let any = nth.is_multiple_of(4);
                let wanted = |fate| fate == Fate::Resumed || any && fate != Fate::Ended;
                if let Some(stream) = self.pick(*nth, wanted) {
                    self.answer(stream);
                    self.is_answered(stream);
                }
            }
            Op::Leave { nth } => {
                if let Some(stream) = self.pick(*nth, |fate| fate != Fate::Ended) {
                    self.end(stream);
                }
            }
            Op::Confirm { yes } => self.answer_confirm(*yes),
            Op::Advance { ms } => self.now += Duration::from_millis(u64::from(*ms)),
            Op::AdvanceToTimeout => {
                if let Some(at) = self.gate.poll_timeout() {
                    self.now = self.now.max(at);
                    self.drain();
                    let next = self.gate.poll_timeout();
                    assert!(
                        next.is_none_or(|next| next > self.now),
                        "must not spin: {next:?} at {:?}",
                        self.now
                    );
                }
            }
            Op::Drain => self.drain(),
        }
        self.settle();
    }

    pub(super) fn note(&mut self, stream: StreamId, ticket: Ticket, fate: Fate) {
        self.tickets.insert(stream, ticket);
        self.fates.insert(stream, fate);
    }

    fn pick(&self, nth: usize, wanted: impl Fn(Fate) -> bool) -> Option<StreamId> {
        let streams: Vec<_> = self
            .fates
            .iter()
            .filter(|(_, fate)| wanted(**fate))
            .map(|(stream, _)| *stream)
            .collect();
        (!streams.is_empty()).then(|| streams[nth % streams.len()])
    }
}

pub(super) fn cluster_name(target: u8, cluster: u8) -> String {
    if cluster == SHARED {
        return "shared".to_owned();
    }
    format!("t{target}-c{cluster}")
}
