//! Speaks for the whole Envoy: publishes to the gates what the control plane says, and reports what the gates hold. There is one
//! relay for each Envoy at a time; which root context runs it is [`crate::Candidate`]'s business.
//!
//! Never does I/O and never reads a clock. The shell reads statuses whenever it has published, and only then asks for a
//! report: so no gate that has registered meanwhile is missed.

mod arrivals;
mod gate_table;
mod gauges;
#[cfg(any(test, feature = "fuzz"))]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a model fails as tests do, in a fuzzer too"
)]
pub(crate) mod model;
mod published;
mod session;
mod split;
mod target_counts;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use hold::{GateStatus, Manifest, Member, Slot, SlotRecord, Time};
use protocol::{Incarnation, Proxy, Report, Reporter, Revision, SyncRequest, SyncResponse, Target};

pub use gauges::Gauges;
pub use session::SyncFailure;

use arrivals::Arrivals;
use gate_table::GateTable;
use published::Published;
use session::{Brought, Session};

use crate::Members;

/// What a root context brings when it becomes the relay.
#[derive(Debug)]
pub struct RelayStart {
    /// Envoy's node id.
    pub id: String,
    /// Of this `vm_id`.
    pub incarnation: Incarnation,
    /// Of the lease.
    pub term: u64,
    /// From one heartbeat of a gate or the relay to the next.
    pub heartbeat_interval: Duration,
    /// A gate whose status has had no new heartbeat for so long is taken for dead. Ten seconds: a worker thread that stands still for
    /// so long while the relay's runs is not seen short of a dead VM, and until then the gate blocks drains, because it may pass
    /// requests.
    pub silent_after: Duration,
    /// As it stood in shared data, if it did.
    pub manifest: Option<Manifest>,
    /// As they stood in shared data.
    pub slots: Vec<(Slot, SlotRecord)>,
}

/// What the shell should do, in this order.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Write these slots, then the manifest, each by compare-and-swap, then notify [`Relay::gates_to_notify`], then read the statuses. If a write
    /// fails, another relay has taken over: drop this one.
    Publish {
        /// First.
        slots: Vec<(Slot, SlotRecord)>,
        /// Then.
        manifest: Manifest,
    },
    /// The sync that is on its way is given up: drop its answer, should there be one.
    ForgetSync,
    /// Post a sync and give its answer to [`Relay::sync_answered`]. At most one is on its way.
    Sync {
        /// The body.
        request: SyncRequest,
    },
    /// Free every permit of a gate that went silent.
    Free(Member),
    /// Take a gate that went silent long ago off the list of members.
    Forget(Member),
}

/// The relay of one Envoy.
#[derive(Debug)]
pub struct Relay {
    proxy: Proxy,
    published: Published,
    gates: GateTable,
    arrivals: Arrivals,
    session: Session,
    /// What the sync that is on its way asked for.
    asked: Option<Revision>,
    out: VecDeque<Command>,
    warnings: VecDeque<String>,
    forget_after: Duration,
}

impl Relay {
    /// Takes over what stands in shared data. Every slot that is in use is published again under the new term, so that
    /// whatever a former relay still writes fails.
    pub fn new(start: RelayStart, now: Time) -> Self {
        let proxy = Proxy {
            id: start.id,
            incarnation: start.incarnation,
            term: start.term,
        };
        let known = start.manifest.as_ref().is_some_and(|manifest| manifest.known);
        let lost = start.manifest.as_ref().is_some_and(|manifest| manifest.lost);
        Self {
            published: Published::new(start.term, start.manifest, start.slots),
            proxy,
            gates: GateTable::new(now, start.heartbeat_interval, start.silent_after),
            arrivals: Arrivals::default(),
            session: Session::new(now, known, lost),
            asked: None,
            out: VecDeque::new(),
            warnings: VecDeque::new(),
            forget_after: Duration::from_secs(600),
        }
    }

    /// Raised at every takeover.
    pub fn term(&self) -> u64 {
        self.proxy.term
    }

    /// The list of members, as read from shared data.
    pub fn members(&mut self, now: Time, members: &Members) {
        self.gates.members(now, members);
    }

    /// The members to notify after a publication.
    pub fn gates_to_notify(&self) -> Vec<Member> {
        self.gates.fresh()
    }

    /// A status that has changed.
    pub fn status(&mut self, now: Time, member: Member, status: GateStatus) {
        self.gates.status(now, member, status);
    }

    /// True if a gate has said something new since the last call.
    pub fn take_news(&mut self) -> bool {
        self.gates.take_news()
    }

    /// Counts how long each gate has been silent. Call it once a heartbeat interval at least.
    pub fn tick(&mut self, now: Time) {
        for member in self.gates.tick(now) {
            self.warnings.push_back(format!(
                "gate {} has gone silent: what it held is given up, what it had in flight blocks sleeps",
                member.id.0
            ));
            self.out.push_back(Command::Free(member));
        }
        for member in self.gates.forget(now, self.forget_after) {
            self.out.push_back(Command::Forget(member));
        }
    }

    /// A sync was answered, or was not.
    pub fn sync_answered(&mut self, now: Time, answer: Result<SyncResponse, SyncFailure>) {
        match answer {
            Ok(response) => {
                self.forget_after = Duration::from_millis(response.forget_after_ms);
                let heartbeat = Duration::from_millis(response.heartbeat_ms.max(1));
                let brought = self.brought(&response);
                self.session.sync_succeeded(now, heartbeat, brought);
                for target in &response.targets {
                    let known = self.published.find(&target.id);
                    if target.has_unknown_words() && !known.is_some_and(Target::has_unknown_words) {
                        self.warnings.push_back(format!(
                            "target {}: the control plane says something of it that this version does not understand; \
                             its requests are held until their deadline",
                            target.id
                        ));
                    }
                    if known.is_some_and(|known| !has_keys_of(known, target)) {
                        self.arrivals.forget(&target.id);
                    }
                }
                self.published.take_in(self.asked.as_ref(), response);
                self.arrivals.retain(|id| self.published.find(id).is_some());
            }
            Err(failure) => {
                if let Some(warning) = self.session.sync_failed(now, failure) {
                    self.warnings.push_back(warning);
                }
            }
        }
        self.watch_loss(now);
    }

    /// What the answer to the sync that was on its way is worth.
    fn brought(&self, response: &SyncResponse) -> Brought {
        let empty = !response.full && response.targets.is_empty() && response.removed.is_empty();
        match &self.asked {
            _ if empty => Brought::Nothing,
            None => Brought::News,
            Some(asked) if *asked == response.revision => Brought::Nothing,
            Some(_) if response.full => Brought::Anew,
            Some(_) => Brought::News,
        }
    }

    /// A report was answered with 204, or was not.
    pub fn report_answered(&mut self, now: Time, ok: bool) {
        self.session.report_answered(now, ok);
        self.watch_loss(now);
    }

    /// The last report was taken by this instance. If the sync on its way asked another it is asked anew: whom it asked leads no
    /// more, and may have been stopped or cut off, so that it never says so.
    pub fn taken_by(&mut self, now: Time, instance: &str) {
        let asked_another = self.asked.as_ref().is_none_or(|asked| asked.instance != instance);
        self.arrivals.taken_by(instance);
        if asked_another && self.session.give_up_sync(now, instance) {
            self.out.push_back(Command::ForgetSync);
        }
    }

    /// Carries out what is due at `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        self.watch_loss(now);
    }

    /// When [`Relay::handle_timeout`], a sync or a report is due next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.session.poll_timeout()
    }

    /// The next thing to do but to report.
    pub fn poll_command(&mut self, now: Time) -> Option<Command> {
        let parts = self
            .gates
            .parts(|slot, applied| self.published.tenant(slot, applied).is_some());
        self.published.follow(parts);
        if let Some((slots, manifest)) = self.published.publish(self.proxy.term) {
            return Some(Command::Publish { slots, manifest });
        }
        if let Some(command) = self.out.pop_front() {
            return Some(command);
        }
        let wait_ms = self.session.poll_sync(now)?;
        self.asked = self.published.revision();
        let request = SyncRequest {
            proxy: self.proxy.clone(),
            since: self.asked.clone(),
            wait_ms,
            module: Some(env!("CARGO_PKG_VERSION").to_owned()),
        };
        Some(Command::Sync { request })
    }

    /// The report that is due, if one is. Ask only when every status has been read since the last publication.
    pub fn poll_report(&mut self, now: Time) -> Option<Report> {
        let applied = self.published.applied(self.gates.applied());
        let tenant = |slot, applied| self.published.tenant(slot, applied);
        let mut targets = self.gates.usage(now, tenant, self.session.recent(now));
        self.arrivals.complete(now, &mut targets);
        let draining = self.published.has_draining();
        let seq = self
            .session
            .poll_report(now, &applied, &targets, draining, |id| {
                self.published.state_of(id)
            })?;
        self.published.reported(applied.as_ref());
        self.arrivals.sent();
        Some(Report {
            proxy: Reporter {
                id: self.proxy.id.clone(),
                incarnation: self.proxy.incarnation.clone(),
                term: self.proxy.term,
                seq,
            },
            applied,
            targets,
            unreached: self
                .gates
                .unreached(now, |slot, applied| self.published.tenant(slot, applied)),
            leaving: false,
        })
    }

    /// What the gauges should show now.
    pub fn gauges(&self, now: Time) -> Gauges {
        let mut gauges = self.gates.gauges();
        gauges.targets = self.published.len();
        gauges.targets_ready = self.published.counts().ready();
        gauges.targets_unknown = self.published.counts().unknown();
        gauges.control_plane_up = u64::from(!self.published.lost());
        gauges.sync_age_ms = self.session.sync_age_ms(now);
        gauges
    }

    /// Something for the log.
    pub fn poll_warning(&mut self) -> Option<String> {
        self.warnings.pop_front()
    }

    fn watch_loss(&mut self, now: Time) {
        let lost = self.session.is_lost(now);
        if lost != self.published.lost() {
            self.warnings.push_back(if lost {
                "the control plane is lost: ready targets keep passing, others follow hold.onControlPlaneLoss"
                    .to_owned()
            } else {
                "the control plane is back".to_owned()
            });
            self.published.set_lost(lost);
        }
    }
}

fn has_keys_of(one: &Target, other: &Target) -> bool {
    one.hosts == other.hosts && one.clusters == other.clusters
}
