//! Which slot a target is written to, over renames, removals and new relays.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

#[test]
fn a_new_relay_writes_every_slot_again() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready), target("b", State::Asleep)]);
    let start = RelayStart {
        term: 2,
        manifest: Some(s.manifest.clone()),
        slots: s.slots.clone(),
        ..mk_start()
    };
    let mut heir = Scenario::with(start, Time::new(Duration::from_secs(9)));
    heir.run();
    assert_eq!(
        heir.slots.len(),
        2,
        "so that whatever the former relay still writes fails"
    );
    assert!(heir.manifest.version > s.manifest.version && heir.manifest.term == 2);
    assert!(heir.manifest.known, "gates must not fall back to knowing nothing");
    heir.status(A, heir.manifest.version, vec![held(1, 1)]);
    assert!(
        heir.report().is_some(),
        "must report at once: its first poll may stay open for long"
    );
}

#[test]
fn slots_are_used_again_and_old_rows_do_not_speak_for_the_new_tenant() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    let old = s.manifest.version;
    s.snapshot(2, vec![target("b", State::Asleep)]);
    assert_eq!(s.manifest.slots, 1, "the freed slot must be used again");
    s.status(A, old, vec![held(0, 5)]);
    s.later();
    assert!(
        s.report().unwrap().targets.is_empty(),
        "the status speaks of the former tenant"
    );
}

#[test]
fn a_long_list_of_changes_is_cut_between_versions() {
    let mut s = Scenario::new();
    s.snapshot(
        1,
        (0..300)
            .map(|n| target(&format!("t{n}"), State::Asleep))
            .collect(),
    );
    assert!(s.manifest.changes.len() <= Manifest::CHANGES);
    assert_eq!(
        s.manifest.floor, s.manifest.version,
        "a gate that knows nothing must read everything"
    );
}

#[test]
fn what_goes_on_under_another_name_keeps_its_place_and_is_confirmed_anew() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready), target("b", State::Asleep)]);
    let slot = s.slot("a");
    assert_eq!(
        s.record("a").preconfirmed_epoch,
        Some(1),
        "must be preconfirmed_epoch at first"
    );
    let renamed = Target {
        clusters: vec!["a".to_owned()],
        ..target("z", State::Ready)
    };
    s.snapshot(2, vec![renamed, target("b", State::Asleep)]);
    assert_eq!(s.slot("z"), slot, "must keep its place: its requests are in it");
    assert_eq!(s.record("z").preconfirmed_epoch, None, "must be confirmed anew");
    s.snapshot(3, vec![target("y", State::Asleep), target("b", State::Asleep)]);
    let of_z = s.slots.iter().filter(|(_, record)| {
        record
            .target
            .as_ref()
            .is_some_and(|target| target.id.as_str() == "z")
    });
    assert_eq!(of_z.count(), 0, "must be gone: others have other keys");
}

#[test]
fn a_target_that_waited_without_keys_takes_the_place_of_the_one_that_had_them() {
    let mut s = Scenario::new();
    let beside = |clusters: &[&str]| Target {
        clusters: clusters.iter().map(|key| (*key).to_owned()).collect(),
        ..target("z", State::Asleep)
    };
    s.snapshot(1, vec![target("a", State::Waking), beside(&[])]);
    let slot = s.slot("a");
    let own = s.slot("z");
    s.snapshot(2, vec![beside(&["a"])]);
    assert_eq!(s.slot("z"), slot, "must have its place: its requests are in it");
    let left = s
        .slots
        .iter()
        .find(|(at, _)| *at == own)
        .map(|(_, record)| record);
    assert!(
        left.is_some_and(|record| record.target.is_none()),
        "must have left its own: {left:?}"
    );

    let other = target("b", State::Asleep);
    s.snapshot(3, vec![beside(&["a"]), other]);
    s.snapshot(4, vec![beside(&["b"])]);
    assert_eq!(
        s.slot("z"),
        slot,
        "one with requests of its own must stay where they are"
    );
}

#[test]
fn an_heir_keeps_a_drain_that_may_have_been_confirmed() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Draining)]);
    let start = RelayStart {
        term: 2,
        manifest: Some(s.manifest.clone()),
        slots: s.slots.clone(),
        ..mk_start()
    };
    let mut heir = Scenario::with(start, Time::new(Duration::from_secs(9)));
    heir.run();
    heir.now += HEARTBEAT * 3;
    heir.run();
    assert!(heir.manifest.lost);
    assert_eq!(heir.record("a").target.as_ref().unwrap().state, State::Draining);
}

#[test]
fn an_heir_rings_only_gates_that_it_has_seen_to_beat() {
    let mut s = Scenario::new();
    s.status(A, 0, vec![]);
    assert_eq!(s.relay.gates_to_notify(), [], "the status may be a dead gate's");
    s.status(A, 0, vec![]);
    assert_eq!(s.relay.gates_to_notify(), [A]);
}
