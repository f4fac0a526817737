//! Entry points for fuzzers and property tests: each takes any bytes and panics where something is wrong. Never part of the filter.

use hold::fuzz::made_of;
use hold::{GateStatus, Manifest, SlotRecord, Time};
use protocol::{SyncResponse, read_json};

use crate::relay::model as relay_model;
use crate::{Lease, Members, Quota, Record, Relay};

/// An answer of the control plane, or of a server in its place: read, and given to a relay if it can be.
pub fn wire(bytes: &[u8]) {
    let Ok(response) = read_json::<SyncResponse>(bytes) else {
        return;
    };
    let mut relay = Relay::new(relay_model::mk_start(), Time::ZERO);
    let mut commands = 0;
    while relay.poll_command(Time::ZERO).is_some() {
        commands += 1;
        assert!(commands < 10, "commands must end");
    }
    relay.sync_answered(Time::ZERO, Ok(response));
    relay.handle_timeout(Time::ZERO);
    while relay.poll_command(Time::ZERO).is_some() {
        commands += 1;
        assert!(commands < 20, "commands must end");
    }
}

/// Shared data that any program may have written: what can be read is written as it was understood.
pub fn records(bytes: &[u8]) {
    fn check<R: Record + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
        if let Some(read) = R::decode(bytes) {
            let again = R::decode(&read.encode());
            assert_eq!(again.as_ref(), Some(&read), "must survive");
        }
    }
    check::<Lease>(bytes);
    check::<Members>(bytes);
    check::<Manifest>(bytes);
    check::<SlotRecord>(bytes);
    check::<GateStatus>(bytes);
    // A damaged account must not keep the others from being read.
    let _ = Quota::decode(bytes).total();
}

/// Everything that can happen to a relay.
pub fn relay(bytes: &[u8]) {
    relay_model::check(&made_of(bytes, &relay_model::event()));
}

#[cfg(test)]
mod tests {
    use hold::fuzz::damaged;
    use hold::testing::{mk_runner, mk_target};
    use hold::{GateId, Member, Slot, TargetUsage};
    use proptest::collection::vec;
    use proptest::prelude::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const ANSWERS: [&str; 3] = [
        include_str!("../../protocol/tests/golden/sync-response-one.json"),
        include_str!("../../protocol/tests/golden/sync-response-many.json"),
        include_str!("../../protocol/tests/golden/unknown/sync-response.json"),
    ];

    fn check(cases: u32, strategy: &impl Strategy<Value = Vec<u8>>, entry: impl Fn(&[u8])) {
        let outcome = mk_runner(cases).run(strategy, |bytes| {
            entry(&bytes);
            Ok(())
        });
        outcome.unwrap();
    }

    #[test]
    fn damaged_answers_are_read_or_refused() {
        let samples = ANSWERS.iter().map(|answer| answer.as_bytes().to_vec()).collect();
        check(1_000, &damaged(samples), wire);
    }

    #[test]
    fn damaged_records_are_read_or_not() {
        let member = Member {
            id: GateId(1),
            nonce: 300,
            gate: true,
        };
        let record = SlotRecord {
            target: Some(mk_target("ns/a")),
            shares: vec![(GateId(1), 2)],
            ..SlotRecord::default()
        };
        let entry = TargetUsage {
            slot: Slot(1),
            held: 1,
            in_flight: 2,
            idle_ms: Some(3),
            confirmed_epoch: Some(4),
        };
        let status = GateStatus {
            entries: vec![entry],
            ..GateStatus::default()
        };
        let manifest = Manifest {
            changes: [(1, Slot(2))].into(),
            ..Manifest::default()
        };
        let members = Members { live: vec![member] };
        let samples = vec![
            record.encode(),
            status.encode(),
            manifest.encode(),
            members.encode(),
        ];
        check(2_000, &damaged(samples), records);
    }

    #[test]
    fn any_bytes_make_events_of_a_relay() {
        check(200, &vec(any::<u8>(), 0..600), relay);
    }
}
