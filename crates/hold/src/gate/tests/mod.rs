//! Facts about the gate as a whole, where the model looks away.

mod confirm;
mod release;
mod row;

use std::time::Duration;

use protocol::{State, Target};

use crate::gate::testing::{ME, mk_config, mk_target, publish};
use crate::gate::{Command, Gate, Outcome};
use crate::{SlotRecord, StreamId, Time};

const SECOND: Duration = Duration::from_secs(1);

const YES: Outcome = Outcome::Answered {
    status: 200,
    grpc_status: None,
};

/// `web`, in this state, in epoch 1, found by the clusters `web` and `other`.
fn mk_web(state: State) -> Target {
    let mut target = mk_target("web");
    target.clusters.push("other".to_owned());
    target.state = state;
    target.epoch = 1;
    target
}

/// `web` as this gate is told to ask first for it, and to have ten released requests unanswered.
fn mk_asked(state: State) -> SlotRecord {
    SlotRecord {
        target: Some(mk_web(state)),
        prober: Some(ME.id),
        shares: vec![(ME.id, 10)],
        ..SlotRecord::default()
    }
}

/// A gate that knows this target.
fn mk_with(record: SlotRecord) -> Gate {
    let mut gate = Gate::new(mk_config(""), ME, Time::ZERO);
    publish(&mut gate, 0, record);
    gate
}

/// The requests that go on now, in order.
fn let_go(gate: &mut Gate, now: Time) -> Vec<u32> {
    std::iter::from_fn(|| match gate.poll_command(now)? {
        Command::Release(stream) => match gate.let_go(now, stream, b"a")? {
            Command::Resume(StreamId(stream)) => Some(stream),
            other => panic!("must go on: {other:?}"),
        },
        other => panic!("must be let go: {other:?}"),
    })
    .collect()
}
