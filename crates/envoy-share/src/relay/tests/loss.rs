//! The control plane is lost and comes back, or another takes over.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

#[test]
fn a_drain_that_cannot_have_been_seen_confirmed_is_taken_back_when_the_control_plane_is_lost() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![]);
    s.report();
    s.snapshot(2, vec![target("a", State::Draining)]);
    s.status(A, s.manifest.version, vec![]);
    s.now += HEARTBEAT * 3;
    s.relay.sync_answered(s.now, Err(SyncFailure::Unreachable));
    s.run();
    assert!(
        s.manifest.lost,
        "three heartbeats without a word must count as loss"
    );
    assert_eq!(s.record("a").target.as_ref().unwrap().state, State::Ready);
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![]);
    s.later();
    assert_eq!(
        s.report().and_then(|report| report.applied),
        None,
        "must not confirm what it has taken back"
    );
    s.now += HEARTBEAT;
    s.run();
    assert_eq!(s.syncs.last().unwrap().since, None, "must ask for a new snapshot");
}

#[test]
fn a_confirmed_drain_holds_while_the_control_plane_is_lost() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Draining)]);
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![]);
    assert_eq!(s.relay.poll_report(s.now).unwrap().applied, Some(revision(1)));
    s.now += HEARTBEAT * 3;
    s.relay.report_answered(s.now, false);
    s.run();
    assert!(s.manifest.lost);
    assert_eq!(
        s.record("a").target.as_ref().unwrap().state,
        State::Draining,
        "it may be stopping right now"
    );
}

#[test]
fn an_answer_to_a_poll_from_before_the_loss_confirms_nothing() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready), target("b", State::Asleep)]);
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![]);
    s.snapshot(2, vec![target("a", State::Draining), target("b", State::Asleep)]);
    s.now += HEARTBEAT * 3;
    s.run();
    assert_eq!(
        s.record("a").target.as_ref().unwrap().state,
        State::Ready,
        "the drain must have been taken back"
    );
    let delta = SyncResponse {
        revision: revision(3),
        full: false,
        targets: vec![target("b", State::Waking)],
        removed: Vec::new(),
        heartbeat_ms: 1_000,
        forget_after_ms: 60_000,
    };
    s.relay.sync_answered(s.now, Ok(delta));
    s.run();
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![]);
    s.later();
    assert_eq!(
        s.report().unwrap().applied,
        None,
        "the gates let it pass: nothing may say that they hold"
    );
    assert_eq!(
        s.syncs.last().unwrap().since,
        None,
        "must ask for a full snapshot"
    );
}

#[test]
fn what_was_ready_needs_no_confirm_when_another_control_plane_takes_over() {
    let epoch = |epoch, state| Target {
        epoch,
        ..target("a", state)
    };
    let found = |found, epoch| Target {
        found,
        epoch,
        ..target("a", State::Ready)
    };
    let cases = [
        (State::Ready, true, true, "must go on passing"),
        (
            State::Ready,
            false,
            false,
            "another may have set zero, and it came up since, in the first epoch of the successor",
        ),
        (State::Asleep, true, false, "it has come up since"),
        (
            State::Draining,
            true,
            false,
            "the drain may have been carried out and it may have come up since",
        ),
    ];
    for (before, as_found, preconfirmed_epoch, why) in cases {
        let mut s = Scenario::new();
        s.snapshot(1, vec![]);
        s.snapshot(2, vec![epoch(7, before)]);
        s.snapshot_of("successor", 1, vec![found(as_found, 1)]);
        assert_eq!(
            s.record("a").preconfirmed_epoch,
            preconfirmed_epoch.then_some(1),
            "{why}"
        );
        s.snapshot_of("successor", 2, vec![found(false, 2)]);
        assert_ne!(
            s.record("a").preconfirmed_epoch,
            Some(2),
            "must be confirmed when it comes up again"
        );
    }
}
