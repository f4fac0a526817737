//! The gate: what one root context does with its requests. Passes, holds, refuses; releases in order and at a pace.
//!
//! Never does I/O and never reads a clock. A request that passes allocates nothing. Every held request ends in exactly
//! one of: resumed, refused, gone.

mod asking;
mod claims;
mod confirm;
mod counts;
mod entry;
#[cfg(test)]
mod future;
mod headers;
#[cfg(any(test, feature = "fuzz"))]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a model fails as tests do, in a fuzzer too"
)]
pub(crate) mod model;
mod pending;
mod release;
mod request;
mod reroute;
mod strays;
mod table;
mod telling;
#[cfg(any(test, feature = "fuzz"))]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "the set-up of tests fails as tests do, in a fuzzer too, which needs a part of it"
)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod unreached;
mod update;
mod warm;

use std::collections::VecDeque;

pub use confirm::{ConfirmCall, ConfirmToken, Outcome};
pub use counts::{Counts, Tally};
pub use headers::{REQUEST_CHARGE, Request, Weight};
pub use release::Command;
pub use request::{Answered, Claim, Ticket, Verdict};
pub use update::{Update, Wants};
pub use warm::{Found, Warm};

use entry::Entry;
use strays::Strays;
use table::Table;

use crate::maps::{FixedMap, Ordered};
use crate::reply::Refusal;
use crate::{Config, Member, Row, RowEntry, Slot, StreamId, Time};

/// Place of one target within one gate. Never leaves the gate's own VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetIx(pub(crate) u32);

/// Credits to give back: of a target's ledger, and the same of the Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GiveBack {
    /// Whose ledger; `None` if only the Envoy's was charged.
    pub slot: Option<Slot>,
    /// Requests.
    pub requests: u32,
    /// Bytes.
    pub bytes: u64,
}

/// A request that was held at least once.
#[derive(Debug)]
enum Stream {
    /// Held until the first snapshot says what it is for.
    Pending(Box<Pending>),
    Held(Held),
    /// Let go: `window` is the generation of the window that counts it, until it is answered.
    Resumed {
        target: Option<TargetIx>,
        waited: Time,
        window: Option<u32>,
    },
    /// Let through before the first snapshot, without being held.
    Passed {
        target: Option<TargetIx>,
    },
    /// Told no: `grpc` in gRPC's way, and why.
    Refused {
        waited: Time,
        grpc: Option<Refusal>,
    },
}

#[derive(Debug)]
struct Pending {
    order: u64,
    since: Time,
    request: headers::Owned,
    /// A claim on the target's ledger is with the shell.
    claiming: bool,
}

/// Times are in nanoseconds, half the size of [`Time`]: there is one of these for each held request.
#[derive(Debug)]
struct Held {
    target: TargetIx,
    route: u16,
    order: u64,
    since: u64,
    deadline: u64,
    bytes: u64,
    grpc: bool,
}

/// What `bench held` measures grows with it.
const _: () = assert!(size_of::<Stream>() <= 40, "each held request takes one of these");

impl Held {
    fn waited(&self, now: Time) -> Time {
        now.saturating_sub(Time::from_nanos(self.since))
    }
}

/// One root context's gate.
#[derive(Debug)]
pub struct Gate {
    config: Config,
    me: Member,
    started: Time,
    version: Option<u64>,
    known: bool,
    lost: bool,
    entries: Vec<Option<Entry>>,
    /// Free places in `entries`.
    free: Vec<TargetIx>,
    /// By slot: they are dense.
    by_slot: Vec<Option<TargetIx>>,
    table: Table,
    streams: FixedMap<StreamId, Stream>,
    /// Held streams by their deadline in nanoseconds.
    deadlines: Ordered,
    /// Streams that are [`Stream::Held`].
    in_line: usize,
    /// Held streams whose deadline has passed.
    expired: VecDeque<StreamId>,
    /// Streams that wait for the first snapshot, by arrival.
    pending: Ordered,
    /// Let through before the first snapshot, and not ended: it will say what they are for.
    early: FixedMap<StreamId, headers::Owned>,
    /// Streams that no target was found for.
    strays: Strays,
    /// Removed targets whose last stream has not ended.
    retired: Vec<TargetIx>,
    /// Targets that hold something: their timers are looked at.
    waiting: Ordered,
    /// Targets whose lines may move.
    work: VecDeque<TargetIx>,
    /// A line waits for another claimant of its key.
    any_waits: bool,
    /// Targets that the row lists.
    active: Vec<TargetIx>,
    /// Targets with credits to give back; a target may stand here twice.
    owing: Vec<TargetIx>,
    /// Questions for requests that were not even held, to be sent by the root.
    asks: VecDeque<ConfirmCall>,
    next_order: u64,
    next_token: u64,
    pending_back: (u32, u64),
    row_changed: bool,
    row_urgent: bool,
    beat: u64,
    counts: Counts,
    warnings: VecDeque<String>,
    /// Whether `notes` are wanted.
    verbose: bool,
    notes: VecDeque<String>,
}

impl Gate {
    /// A gate that knows no target yet. `now` is the start of the wait for the first snapshot.
    pub fn new(config: Config, me: Member, now: Time) -> Self {
        Self {
            config,
            me,
            started: now,
            version: None,
            known: false,
            lost: false,
            entries: Vec::new(),
            free: Vec::new(),
            by_slot: Vec::new(),
            table: Table::default(),
            streams: FixedMap::default(),
            deadlines: Ordered::default(),
            in_line: 0,
            expired: VecDeque::new(),
            pending: Ordered::default(),
            early: FixedMap::default(),
            strays: Strays::default(),
            retired: Vec::new(),
            waiting: Ordered::default(),
            work: VecDeque::new(),
            any_waits: false,
            active: Vec::new(),
            owing: Vec::new(),
            asks: VecDeque::new(),
            next_order: 0,
            next_token: 0,
            pending_back: (0, 0),
            row_changed: true,
            row_urgent: false,
            beat: 0,
            counts: Counts::default(),
            warnings: VecDeque::new(),
            verbose: false,
            notes: VecDeque::new(),
        }
    }

    /// Under which name the gate's row stands.
    pub fn member(&self) -> Member {
        self.me
    }

    /// The gate has registered again under another name: its credits and row move with it from now on.
    pub fn rename(&mut self, me: Member) {
        self.me = me;
        self.version = None;
        self.row_changed = true;
    }

    /// Requests held now, those waiting for the first snapshot included.
    pub fn held(&self) -> usize {
        self.pending.len() + self.in_line
    }

    /// The gate's row as of now. Call it only to write it.
    pub fn row(&mut self, now: Time) -> Row {
        self.row_changed = false;
        self.row_urgent = false;
        self.beat += 1;
        let unreached = self.unreached(now);
        let mut entries = Vec::with_capacity(self.active.len());
        let all = &mut self.entries;
        self.active.retain(|ix| {
            let Some(entry) = all.get_mut(ix.0 as usize).and_then(Option::as_mut) else {
                return false;
            };
            if std::mem::take(&mut entry.arrived) {
                entry.last_arrival = Some(now);
            }
            let idle = entry
                .last_arrival
                .map(|at| now.saturating_sub(at))
                .filter(|idle| *idle < Row::RECENT);
            let keep = entry.held > 0 || entry.in_flight > 0 || idle.is_some();
            entry.active = keep;
            if keep && !entry.retired {
                entries.push(RowEntry {
                    slot: entry.slot,
                    held: entry.held,
                    in_flight: entry.in_flight,
                    idle_ms: idle.map(crate::units::millis),
                    proven: entry.proven_here,
                });
            }
            keep
        });
        Row {
            nonce: self.me.nonce,
            applied: self.version.unwrap_or(0),
            beat: self.beat,
            entries,
            unreached,
        }
    }

    /// True if the row should be written at this tick.
    pub fn row_changed(&self) -> bool {
        self.row_changed
    }

    /// True if the row should be written, and the relay told, before this callback ends.
    pub fn row_is_urgent(&self) -> bool {
        self.row_urgent
    }

    /// What to count, since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Credits to give back, since the last call.
    pub fn take_credits(&mut self) -> Vec<GiveBack> {
        let mut out = Vec::new();
        if self.pending_back != (0, 0) {
            let (requests, bytes) = std::mem::take(&mut self.pending_back);
            out.push(GiveBack {
                slot: None,
                requests,
                bytes,
            });
        }
        for ix in std::mem::take(&mut self.owing) {
            if let Some(entry) = self.entry_mut(ix)
                && entry.back.0 > 0
            {
                let (requests, bytes) = std::mem::take(&mut entry.back);
                out.push(GiveBack {
                    slot: Some(entry.slot),
                    requests,
                    bytes,
                });
            }
            self.drop_if_spent(ix);
        }
        out
    }

    /// Something for the log, at most once for each epoch and cluster.
    pub fn poll_warning(&mut self) -> Option<String> {
        self.warnings.pop_front()
    }

    /// Whether each hold, confirm and release should leave a line for the log.
    pub fn set_verbose(&mut self, verbose: bool) {
        self.verbose = verbose;
    }

    /// A line for the log at debug level. Drained by the shell at the end of every callback.
    pub fn poll_note(&mut self) -> Option<String> {
        self.notes.pop_front()
    }

    fn note(&mut self, event: &str, ix: TargetIx, more: std::fmt::Arguments<'_>) {
        if self.verbose
            && let Some(entry) = self.entry(ix)
        {
            let line = format!("{event} target={}{more}", entry.target.id);
            self.notes.push_back(line);
        }
    }

    fn entry(&self, ix: TargetIx) -> Option<&Entry> {
        self.entries.get(ix.0 as usize).and_then(Option::as_ref)
    }

    fn entry_mut(&mut self, ix: TargetIx) -> Option<&mut Entry> {
        self.entries.get_mut(ix.0 as usize).and_then(Option::as_mut)
    }

    /// Puts a target on the list of those whose lines may move.
    fn queue(&mut self, ix: TargetIx) {
        if let Some(entry) = self.entry_mut(ix)
            && entry.held > 0
            && !entry.queued
        {
            entry.queued = true;
            self.work.push_back(ix);
        }
    }

    /// Notes that the target is in use, so that the row lists it.
    fn touch(&mut self, ix: TargetIx) {
        self.row_changed = true;
        if let Some(entry) = self.entries.get_mut(ix.0 as usize).and_then(Option::as_mut)
            && !entry.active
        {
            entry.active = true;
            self.active.push(ix);
        }
    }

    /// Frees the place of a removed target once nothing of it is left.
    fn drop_if_spent(&mut self, ix: TargetIx) {
        let spent = self.entry(ix).is_some_and(|entry| {
            entry.retired && entry.held == 0 && entry.in_flight == 0 && entry.back.0 == 0
        });
        if spent && let Some(place) = self.entries.get_mut(ix.0 as usize) {
            *place = None;
            self.free.push(ix);
            self.retired.retain(|other| *other != ix);
            self.active.retain(|other| *other != ix);
            self.work.retain(|other| *other != ix);
            self.waiting.remove(0, ix.0);
        }
    }
}
