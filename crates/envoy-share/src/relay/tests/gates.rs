//! Gates that write, fall silent and die.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

#[test]
fn a_gate_is_notified_until_it_has_missed_two_heartbeats() {
    for entries in [vec![held(0, 1)], vec![]] {
        let mut s = Scenario::new();
        s.snapshot(1, vec![target("a", State::Asleep)]);
        s.status(A, s.manifest.version, vec![]);
        s.status(A, s.manifest.version, entries);
        for tick in 0..=10 {
            assert_eq!(s.relay.gates_to_notify(), [A], "after {tick} ticks");
            s.tick();
        }
        assert_eq!(s.relay.gates_to_notify(), [], "a dead VM must not be notified");
    }
}

#[test]
fn a_process_that_was_stopped_finds_no_gate_dead() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Asleep)]);
    s.status(A, s.manifest.version, vec![held(0, 1)]);
    for _ in 0..3 {
        s.now += Duration::from_secs(3600);
        s.relay.tick(s.now);
        s.run();
    }
    assert_eq!(s.freed, [], "its status has had no time to be written");
}

#[test]
fn a_silent_gate_is_freed_at_once_and_blocks_by_what_it_had_in_flight() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    let version = s.manifest.version;
    s.status(
        A,
        version,
        vec![TargetUsage {
            in_flight: 2,
            ..held(0, 3)
        }],
    );
    s.status(B, version, vec![]);
    for _ in 0..100 {
        s.tick();
        s.relay.sync_answered(s.now, Err(SyncFailure::Status(503)));
        s.status(B, version, vec![]);
    }
    s.run();
    assert_eq!(s.freed, [A]);
    let usage = s.report().unwrap().targets[&TargetId::new("a")];
    assert_eq!((usage.held, usage.in_flight), (0, 2));
    s.now += Duration::from_secs(60);
    s.relay.tick(s.now);
    s.run();
    assert_eq!(s.forgotten, [A]);
}
