//! What is given to others' bytes, for a fuzzer and for property tests alike: each entry takes any bytes and panics where
//! something is wrong. Never part of the filter.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config as RunnerConfig, RngAlgorithm, TestRng, TestRunner};
use protocol::Incarnation;

use crate::gate::model as gate_model;
use crate::relay::model as relay_model;
use crate::wire::read_sync_response;
use crate::{Config, Head, Lease, Ledger, Members, Record, Relay, RelayStart, Row, SlotRecord, Time};

/// An answer of the control plane, or of whoever took its place: read, and given to a relay if it can be.
pub fn wire(bytes: &[u8]) {
    let Ok(response) = read_sync_response(bytes) else {
        return;
    };
    let start = RelayStart {
        id: "envoy".to_owned(),
        incarnation: Incarnation::new("i"),
        term: 1,
        head: None,
        slots: Vec::new(),
        silent_ticks: 100,
    };
    let mut relay = Relay::new(start, Time::ZERO);
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

/// Shared data, whoever wrote it: what can be read is written as it was understood.
pub fn records(bytes: &[u8]) {
    fn check<R: Record + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
        if let Some(read) = R::decode(bytes) {
            let again = R::decode(&read.encode());
            assert_eq!(again.as_ref(), Some(&read), "must survive");
        }
    }
    check::<Lease>(bytes);
    check::<Members>(bytes);
    check::<Head>(bytes);
    check::<SlotRecord>(bytes);
    check::<Row>(bytes);
    // An account of nobody is no reason to read no other.
    let _ = Ledger::decode(bytes).total();
}

/// The plugin's configuration: taken, or refused in one line.
pub fn configuration(bytes: &[u8]) {
    if let Err(refusal) = Config::parse(bytes) {
        let line = refusal.to_string();
        assert!(
            !line.is_empty() && !line.contains('\n'),
            "must be one line: {line:?}"
        );
    }
}

/// Everything that can happen to a gate, against the model.
pub fn gate(bytes: &[u8]) {
    gate_model::check(&made_of(bytes, &gate_model::event()));
}

/// Everything that can happen to a relay.
pub fn relay(bytes: &[u8]) {
    relay_model::check(&made_of(bytes, &relay_model::event()));
}

/// One event for each eight bytes, so that a fuzzer that moves, drops and doubles bytes does so with events.
fn made_of<S: Strategy>(bytes: &[u8], strategy: &S) -> Vec<S::Value> {
    const MOST: usize = 200;
    let made = bytes.chunks(8).take(MOST).map(|chunk| {
        let mut seed = [0; 32];
        for (to, from) in seed.iter_mut().zip(chunk) {
            *to = *from;
        }
        let dice = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let config = RunnerConfig {
            failure_persistence: None,
            ..RunnerConfig::default()
        };
        strategy.new_tree(&mut TestRunner::new_with_rng(config, dice))
    });
    made.filter_map(|tree| tree.ok().map(|tree| tree.current()))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::gate::testing::{mk_runner, mk_target};
    use crate::{GateId, Member, RowEntry, Slot};

    const ANSWERS: [&str; 3] = [
        include_str!("../../protocol/tests/golden/sync-response-one.json"),
        include_str!("../../protocol/tests/golden/sync-response-many.json"),
        include_str!("../../protocol/tests/golden/unknown/sync-response.json"),
    ];
    const CONFIGURATION: &str = r#"{"service":true,"control_plane":{"cluster":"cp","timeout":"5s"},"startup":{"wait":"2s"},
        "limits":{"requests":20,"bytes":"1Gi"},"buffer_limit":2000,"ticks":{"period":"100ms"}}"#;

    /// One of `samples` with some pieces replaced by any bytes.
    fn damaged(samples: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
        let piece = (any::<Index>(), 0..12_usize, vec(any::<u8>(), 0..12));
        (select(samples), vec(piece, 0..4)).prop_map(|(mut bytes, pieces)| {
            for (at, length, piece) in pieces {
                let at = at.index(bytes.len() + 1);
                let end = (at + length).min(bytes.len());
                bytes.splice(at..end, piece);
            }
            bytes
        })
    }

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
        let entry = RowEntry {
            slot: Slot(1),
            held: 1,
            in_flight: 2,
            idle_ms: Some(3),
            proven: Some(4),
        };
        let row = Row {
            entries: vec![entry],
            ..Row::default()
        };
        let head = Head {
            changes: [(1, Slot(2))].into(),
            ..Head::default()
        };
        let members = Members { live: vec![member] };
        let samples = vec![record.encode(), row.encode(), head.encode(), members.encode()];
        check(2_000, &damaged(samples), records);
    }

    #[test]
    fn a_damaged_configuration_is_taken_or_refused_in_one_line() {
        check(1_000, &damaged(vec![CONFIGURATION.into()]), configuration);
        // Found by the fuzzer.
        configuration(b"{\"\n}");
    }

    #[test]
    fn any_bytes_make_events_of_a_gate() {
        check(200, &vec(any::<u8>(), 0..800), gate);
    }

    #[test]
    fn any_bytes_make_events_of_a_relay() {
        check(200, &vec(any::<u8>(), 0..600), relay);
    }
}
