//! Facts about the gate as a whole, where the model looks away.

mod confirm;
mod early;
mod future;
mod keys;
mod release;
mod status;

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use protocol::{State, Target};

use crate::gate::testing::{ME, at, mk_config, mk_target, publish, settle};
use crate::gate::{ConfirmCall, ConfirmOutcome, Gate, Output};
use crate::{GateStatus, SlotRecord, StreamId, Time};

const SECOND: Duration = Duration::from_secs(1);

const YES: ConfirmOutcome = ConfirmOutcome::Answered {
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

/// A gate, and what it wanted done and no test has looked at yet.
struct Shell {
    gate: Gate,
    questions: VecDeque<ConfirmCall>,
    decisions: Vec<Output>,
    notes: Vec<String>,
}

impl Shell {
    /// A root callback.
    fn run(&mut self, now: Time) {
        self.gate.handle_timeout(now);
        self.settle();
    }

    fn settle(&mut self) -> Option<GateStatus> {
        let done = settle(&mut self.gate);
        self.questions.extend(done.questions);
        self.decisions.extend(done.decisions);
        self.notes.extend(done.notes);
        done.status
    }

    /// The next question.
    fn ask(&mut self, now: Time) -> Option<ConfirmCall> {
        self.run(now);
        self.questions.pop_front()
    }

    fn ask_all(&mut self, now: Time) -> Vec<ConfirmCall> {
        self.run(now);
        self.questions.drain(..).collect()
    }

    /// The decisions that are due.
    fn decide(&mut self, now: Time) -> Vec<Output> {
        self.run(now);
        std::mem::take(&mut self.decisions)
    }

    /// The requests that go on now, in order.
    fn let_go(&mut self, now: Time) -> Vec<u32> {
        let decisions = self.decide(now).into_iter();
        decisions
            .map(|decision| match decision {
                Output::Resume(StreamId(stream)) => stream,
                other => panic!("must go on: {other:?}"),
            })
            .collect()
    }

    /// A request is answered.
    fn answer(&mut self, stream: u32) {
        let now = self.gate.now;
        self.gate.answered(now, StreamId(stream)).expect("was held");
    }

    fn status(&mut self, now: Time) -> GateStatus {
        self.gate.publish_status(now);
        self.settle().expect("must be published")
    }

    fn is_urgent(&self) -> bool {
        self.gate.status.is_urgent()
    }

    fn notes(&mut self) -> Vec<String> {
        self.settle();
        std::mem::take(&mut self.notes)
    }
}

impl Deref for Shell {
    type Target = Gate;

    fn deref(&self) -> &Gate {
        &self.gate
    }
}

impl DerefMut for Shell {
    fn deref_mut(&mut self) -> &mut Gate {
        &mut self.gate
    }
}

/// A gate that knows this target.
fn mk_with(record: SlotRecord) -> Shell {
    let mut gate = Gate::new(mk_config(""), ME, Time::ZERO);
    publish(&mut gate, 0, record);
    Shell {
        gate,
        questions: VecDeque::new(),
        decisions: Vec::new(),
        notes: Vec::new(),
    }
}
