//! What is written of an answer, what is not, and what counts as applied.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

impl Scenario {
    /// Where this target is written.
    fn places_of(&self, id: &str) -> Vec<Slot> {
        let is = |record: &SlotRecord| {
            record
                .target
                .as_ref()
                .is_some_and(|one| one.id == TargetId::new(id))
        };
        let there = self.slots.iter().filter(|(_, record)| is(record));
        there.map(|(slot, _)| *slot).collect()
    }
}

#[test]
fn an_answer_that_says_nothing_new_is_not_written() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    let version = s.manifest.version;
    s.relay
        .sync_answered(s.now, Ok(answer_of("cp", 1, false, Vec::new())));
    s.run();
    s.snapshot(1, vec![target("a", State::Ready)]);
    assert_eq!(s.manifest.version, version, "each gate would read it");
    s.snapshot(2, vec![target("a", State::Ready)]);
    assert_eq!(
        s.manifest.version,
        version + 1,
        "the revision has to be reported as applied"
    );
}

#[test]
fn nothing_counts_as_applied_before_it_is_written() {
    for targets in [vec![], vec![target("a", State::Asleep)]] {
        let mut s = Scenario::new();
        s.relay.members(s.now, &Members { live: vec![] });
        s.snapshot(1, vec![target("a", State::Ready)]);
        assert_eq!(
            s.report().expect("must report").applied,
            Some(revision(1)),
            "there is no gate to wait for"
        );
        s.later();
        s.relay
            .sync_answered(s.now, Ok(answer_of("cp", 2, false, targets)));
        assert_eq!(
            s.report().expect("must report").applied,
            None,
            "a gate that comes now reads what was before"
        );
        s.run();
        s.later();
        assert_eq!(s.report().expect("must report").applied, Some(revision(2)));
    }
}

#[test]
fn a_list_of_changes_is_as_long_as_it_may_be_and_names_all_of_a_version() {
    let many = |count: usize| (0..count).map(|n| target(&format!("t{n}"), State::Asleep));
    let mut s = Scenario::new();
    s.snapshot(1, many(Manifest::CHANGES).collect());
    assert_eq!(s.manifest.changes.len(), Manifest::CHANGES);
    assert_eq!(s.manifest.floor, 0, "must name all there was");

    let mut s = Scenario::new();
    s.snapshot(1, vec![target("first", State::Asleep)]);
    let first = s.manifest.version;
    let all = || many(Manifest::CHANGES).chain([target("first", State::Asleep)]);
    s.snapshot(2, all().collect());
    assert_eq!(
        s.manifest.floor, first,
        "a gate that has the first version needs no more than the list"
    );
    assert_eq!(
        s.manifest.changes.len(),
        Manifest::CHANGES,
        "must name all that came after it"
    );
    let named = |s: &Scenario, version| s.manifest.changes.iter().filter(|one| one.0 == version).count();
    assert_eq!(named(&s, first + 1), Manifest::CHANGES);
    s.snapshot(3, all().chain([target("last", State::Asleep)]).collect());
    assert_eq!(
        (s.manifest.floor, s.manifest.changes.len()),
        (first + 1, 1),
        "a part of a version must not be taken for the whole"
    );
}

#[test]
fn a_gate_that_is_thousands_of_publications_behind_has_applied_nothing() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![]);
    let states = [State::Asleep, State::Waking];
    for n in 2..=4_096 {
        s.snapshot(n, vec![target("a", states[n as usize % 2])]);
    }
    let applied = |s: &mut Scenario| {
        s.later();
        s.report().expect("must report").applied
    };
    assert_eq!(applied(&mut s), Some(revision(1)), "must be remembered");
    s.snapshot(4_097, vec![target("a", State::Ready)]);
    assert_eq!(applied(&mut s), None, "must be bounded");
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![]);
    assert_eq!(applied(&mut s), Some(revision(4_097)), "it has moved");
}

#[test]
fn only_while_something_drains_is_what_was_applied_urgent() {
    let ready = || target("a", State::Ready);
    let draining = || target("a", State::Draining);
    let apply = |s: &mut Scenario| {
        for member in [A, B] {
            s.status(member, s.manifest.version, vec![]);
        }
        s.report().is_some()
    };
    // The last of them is what is applied, and whether that is reported at once.
    let cases: [(&str, Vec<Target>, bool); 6] = [
        ("nothing drains", vec![ready()], false),
        ("it drains", vec![ready(), draining()], true),
        ("it drains on", vec![ready(), draining(), draining()], true),
        ("it is turned back", vec![ready(), draining(), ready()], false),
        (
            "it sleeps",
            vec![ready(), draining(), target("a", State::Asleep)],
            false,
        ),
        (
            "it is another",
            vec![draining(), target("b", State::Ready)],
            false,
        ),
    ];
    for (why, steps, urgent) in cases {
        let mut s = Scenario::new();
        s.snapshot(1, vec![]);
        apply(&mut s);
        for (n, step) in (2..).zip(steps) {
            s.snapshot(n, vec![step]);
        }
        assert_eq!(apply(&mut s), urgent, "{why}");
        s.later();
        assert!(s.report().is_some(), "{why}: must be reported in its time");
    }
}

#[test]
fn a_drain_that_is_taken_back_is_urgent_no_more() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready), target("b", State::Ready)]);
    s.snapshot(
        2,
        vec![target("a", State::Draining), target("b", State::Draining)],
    );
    s.now += HEARTBEAT * 3;
    s.run();
    assert!(s.manifest.lost, "must have been lost");
    for member in [A, B] {
        s.status(member, s.manifest.version, vec![]);
    }
    assert!(s.report().is_some(), "a heartbeat is due");
    s.snapshot(3, vec![target("a", State::Ready), target("b", State::Ready)]);
    for member in [A, B] {
        s.status(member, s.manifest.version, vec![]);
    }
    assert_eq!(s.report(), None, "nothing drains");
}

#[test]
fn an_old_status_does_not_speak_for_the_new_tenant_when_the_release_is_split() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    let confirmed = TargetUsage {
        confirmed_epoch: Some(1),
        ..held(0, 5)
    };
    let of_a = s.manifest.version;
    s.snapshot(2, vec![target("b", State::Ready)]);
    assert_eq!(s.slot("b"), Slot(0), "must have its place");
    s.status(A, of_a, vec![confirmed]);
    let record = s.record("b");
    assert_eq!(
        (record.confirmed_epoch, record.prober, record.shares.len()),
        (None, None, 0),
        "was said of the former tenant"
    );
    s.status(A, s.manifest.version, vec![confirmed]);
    assert_eq!(s.record("b").confirmed_epoch, Some(1));
}

#[test]
fn what_came_up_since_is_confirmed_whatever_else_changes() {
    let found = |endpoints| Target {
        found: true,
        ready_endpoints: endpoints,
        ..target("a", State::Ready)
    };
    let mut s = Scenario::new();
    s.snapshot(1, vec![]);
    for (n, endpoints) in [(2, 1), (3, 2)] {
        s.snapshot(n, vec![found(endpoints)]);
        assert_eq!(
            s.record("a").preconfirmed_epoch,
            None,
            "this Envoy has not used it yet"
        );
    }
}

#[test]
fn what_was_ready_from_the_first_needs_no_confirm_until_it_sleeps() {
    let mut s = Scenario::new();
    for (n, state, preconfirmed) in [
        (1, State::Ready, Some(1)),
        (2, State::Draining, Some(1)),
        (3, State::Ready, Some(1)),
        (4, State::Asleep, None),
        (5, State::Ready, None),
    ] {
        s.snapshot(n, vec![target("a", state)]);
        assert_eq!(s.record("a").preconfirmed_epoch, preconfirmed, "{n}: {state:?}");
    }
}

#[test]
fn the_gate_that_asks_first_stays_while_it_is_ready() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    s.status(A, s.manifest.version, vec![held(0, 1)]);
    s.status(B, s.manifest.version, vec![held(0, 9)]);
    let more = Target {
        ready_endpoints: 2,
        ..target("a", State::Ready)
    };
    s.snapshot(2, vec![more]);
    assert_eq!(s.record("a").prober, Some(A.id), "it asks already");
    s.snapshot(3, vec![target("a", State::Asleep)]);
    assert_eq!(s.record("a").prober, None, "there is nothing to ask for");
}

#[test]
fn what_a_relay_has_left_in_two_places_is_in_one() {
    for newer in [Slot(0), Slot(1)] {
        let record = |slot: Slot| SlotRecord {
            version: 5 + u64::from(slot == newer),
            target: Some(target("a", State::Asleep)),
            ..SlotRecord::default()
        };
        let start = RelayStart {
            term: 2,
            slots: [Slot(0), Slot(1)].map(|slot| (slot, record(slot))).to_vec(),
            ..mk_start()
        };
        let mut heir = Scenario::with(start, Time::new(Duration::from_secs(9)));
        heir.run();
        assert_eq!(heir.places_of("a"), [newer], "what was written last must stand");
        heir.snapshot(1, vec![target("b", State::Asleep)]);
        assert_eq!(heir.places_of("a"), [], "must not stay for ever");
        assert_eq!(heir.manifest.slots, 2, "its place must be used again");
    }
}

#[test]
fn what_is_due_next_is_said() {
    let mut s = Scenario::new();
    assert_eq!(s.relay.poll_timeout(), Some(s.now), "the first sync");
    s.snapshot(1, vec![target("a", State::Ready)]);
    let sent = s.now;
    assert!(s.report().is_some());
    assert_eq!(s.relay.poll_timeout(), Some(sent + HEARTBEAT), "the next report");
}

#[test]
fn each_relay_has_the_term_of_its_lease() {
    let start = RelayStart {
        term: 7,
        ..mk_start()
    };
    let s = Scenario::with(start, Time::ZERO);
    assert_eq!(s.relay.term(), 7);
}
