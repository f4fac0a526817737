//! The one set-up of the gate's tests: a gate, a target, what the relay publishes, a request that is held.

use std::time::Duration;

use protocol::Target;

use crate::gate::{
    ArrivalDecision, ClusterLookup, ConfirmCall, Counts, Gate, LogLevel, Output, PermitRequest, Request,
    TargetIx, Ticket, Update,
};
use crate::{Config, GateId, GateStatus, Manifest, Member, Slot, SlotRecord, StreamId, Time};

pub(crate) use crate::testing::mk_target;

/// Under which name the gate of a test stands.
pub(crate) const ME: Member = Member {
    id: GateId(1),
    nonce: 7,
    gate: true,
};

/// The least that a configuration needs, and `more`: nothing, or fields with a comma before each.
pub(crate) fn mk_config(more: &str) -> Config {
    Config::parse(format!(r#"{{"control_plane":{{"cluster":"cp"}}{more}}}"#).as_bytes()).unwrap()
}

/// The moment `since_start` after the start of the VM.
pub(crate) const fn at(since_start: Duration) -> Time {
    Time::new(since_start)
}

/// A gate that knows no target yet.
pub(crate) fn mk_gate() -> Gate {
    Gate::new(mk_config(""), ME, Time::ZERO)
}

/// A target as the relay publishes it, with nothing known of its confirm.
pub(crate) fn mk_record(target: Target) -> SlotRecord {
    SlotRecord {
        target: Some(target),
        ..SlotRecord::default()
    }
}

/// The same, and nothing has to be confirmed in its epoch.
pub(crate) fn mk_preconfirmed(target: Target) -> SlotRecord {
    SlotRecord {
        preconfirmed_epoch: Some(target.epoch),
        ..mk_record(target)
    }
}

/// The gate takes in what one more publication says of these slots, and whether the control plane is lost.
pub(crate) fn apply(gate: &mut Gate, lost: bool, slots: Vec<(Slot, SlotRecord)>) {
    apply_at(gate, Time::ZERO, lost, slots);
}

fn apply_at(gate: &mut Gate, now: Time, lost: bool, slots: Vec<(Slot, SlotRecord)>) {
    let manifest = Manifest {
        version: gate.version.unwrap_or(0) + 1,
        known: true,
        lost,
        slots: 10,
        ..Manifest::default()
    };
    let update = Update {
        manifest,
        full: false,
        slots,
    };
    gate.apply(now, update);
}

/// One slot is published.
pub(crate) fn publish(gate: &mut Gate, slot: u32, record: SlotRecord) {
    publish_at(gate, Time::ZERO, slot, record);
}

/// The same, at this time.
pub(crate) fn publish_at(gate: &mut Gate, now: Time, slot: u32, record: SlotRecord) {
    apply_at(gate, now, false, vec![(Slot(slot), record)]);
}

/// The target of a cluster.
pub(crate) fn find(gate: &Gate, cluster: &str) -> TargetIx {
    match gate.find_cluster(cluster.as_bytes()) {
        ClusterLookup::Target(ix) => ix,
        other => panic!("must be found by {cluster}: {other:?}"),
    }
}

/// A request by this cluster, for the authority `a`.
pub(crate) fn mk_request(cluster: &str) -> Request<'_> {
    Request {
        cluster: cluster.as_bytes(),
        authority: b"a",
        ..Request::default()
    }
}

/// A request comes by this cluster, which is a target's, and is to be held.
pub(crate) fn request_permits(gate: &mut Gate, now: Time, stream: u32, cluster: &str) -> PermitRequest {
    let ix = find(gate, cluster);
    match gate.arrive(now, StreamId(stream), Some(ix), &mk_request(cluster)) {
        ArrivalDecision::Hold(permits) => permits,
        other => panic!("must be held: {other:?}"),
    }
}

/// The same, and is held.
pub(crate) fn hold(gate: &mut Gate, now: Time, stream: u32, cluster: &str) -> Ticket {
    let permits = request_permits(gate, now, stream, cluster);
    gate.hold(now, StreamId(stream), permits).unwrap()
}

/// What a callback of a shell has done, by kind. Permits are dropped.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) questions: Vec<ConfirmCall>,
    /// Resumed and refused streams, and permits to take.
    pub(crate) decisions: Vec<Output>,
    pub(crate) status: Option<GateStatus>,
    pub(crate) notified: bool,
    pub(crate) warnings: Vec<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) counts: Vec<Counts>,
    pub(crate) woken: bool,
}

/// What a stream callback does at its end.
pub(crate) fn settle(gate: &mut Gate) -> Done {
    let mut done = Done::default();
    while let Some(output) = gate.poll_output() {
        match output {
            Output::Confirm(call) => done.questions.push(call),
            // Every held request of a test is for this.
            Output::ReadAuthority(stream) => gate.release(gate.now, stream, b"a"),
            Output::TakePermits(..) | Output::Resume(_) | Output::Refuse(..) => done.decisions.push(output),
            Output::PublishStatus(status) => done.status = Some(status),
            Output::NotifyRelay => done.notified = true,
            Output::Log(LogLevel::Warn, line) => done.warnings.push(line),
            Output::Log(LogLevel::Debug, line) => done.notes.push(line),
            Output::Count(counts) => done.counts.push(*counts),
            Output::Wake => done.woken = true,
            Output::ReturnPermits(_) => {}
        }
    }
    done
}

/// What a root callback does.
pub(crate) fn run(gate: &mut Gate, now: Time) -> Done {
    gate.handle_timeout(now);
    settle(gate)
}

/// The gate's status as of now.
pub(crate) fn status(gate: &mut Gate, now: Time) -> GateStatus {
    gate.publish_status(now);
    settle(gate).status.unwrap()
}
