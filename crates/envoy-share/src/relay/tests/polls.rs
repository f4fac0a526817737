//! When the control plane is polled again.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

#[test]
fn a_poll_that_hangs_at_a_former_leader_is_asked_anew() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Asleep)]);
    let asked = s.syncs.len();
    s.later();
    s.relay.taken_by(s.now, "cp");
    s.run();
    assert_eq!(s.syncs.len(), asked, "must wait on where it is waited rightly");
    s.relay.taken_by(s.now, "next");
    s.run();
    assert_eq!(
        (s.syncs.len(), s.given_up),
        (asked + 1, 1),
        "must give the poll up and ask again"
    );
    s.later();
    s.relay.taken_by(s.now, "next");
    s.run();
    assert_eq!(
        s.syncs.len(),
        asked + 1,
        "must leave the new one the time that a snapshot takes"
    );
    s.snapshot_of("next", 1, vec![target("a", State::Waking)]);
    s.later();
    s.relay.taken_by(s.now, "next");
    s.run();
    assert_eq!(s.given_up, 1, "must not give up what waits at the successor");
    assert_eq!(s.record("a").target.as_ref().unwrap().state, State::Waking);
}

/// Syncs that leave within `period`, if each is answered at once with what `answer` makes of its number.
fn syncs_within(period: Duration, mut answer: impl FnMut(u64) -> Result<SyncResponse, SyncFailure>) -> usize {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    s.run();
    let (begun, end) = (s.syncs.len(), s.now + period);
    let mut n = 0;
    while s.now < end {
        if s.syncs.len() > n + begun - 1 {
            n += 1;
            s.relay.sync_answered(s.now, answer(n as u64));
        }
        s.run();
        s.now += Duration::from_millis(1);
    }
    n
}

#[test]
fn an_answer_without_news_is_not_followed_by_a_poll_without_a_pause() {
    let seconds = 10;
    let all = || vec![target("a", State::Ready)];
    type Answer = Box<dyn FnMut(u64) -> Result<SyncResponse, SyncFailure>>;
    let cases: Vec<(&str, Answer)> = vec![
        (
            "nothing new",
            Box::new(|_| Ok(answer_of("cp", 1, false, Vec::new()))),
        ),
        (
            "nothing, under ever new revisions",
            Box::new(|n| Ok(answer_of("cp", n + 1, false, Vec::new()))),
        ),
        (
            "a change, under the revision that is known",
            Box::new(move |_| Ok(answer_of("cp", 1, false, all()))),
        ),
        (
            "the same snapshot",
            Box::new(move |_| Ok(answer_of("cp", 1, true, all()))),
        ),
        (
            "two control planes in turn",
            Box::new(move |n| {
                let instance = if n % 2 == 0 { "one" } else { "other" };
                Ok(answer_of(instance, 1, true, all()))
            }),
        ),
        ("superseded", Box::new(|_| Err(SyncFailure::Status(409)))),
    ];
    for (what, answer) in cases {
        let syncs = syncs_within(Duration::from_secs(seconds), answer);
        assert!(
            syncs <= 5 + seconds as usize,
            "{what}: {syncs} syncs in {seconds} s"
        );
        assert!(syncs >= 5, "{what}: must go on asking: {syncs} syncs");
    }
}

#[test]
fn news_is_asked_for_again_at_once_also_from_a_successor() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Asleep)]);
    for n in 2..50 {
        s.run();
        let asked = s.syncs.len();
        let state = [State::Asleep, State::Waking][n as usize % 2];
        let news = answer_of("cp", n, false, vec![target("a", state)]);
        s.relay.sync_answered(s.now, Ok(news));
        s.run();
        assert_eq!(s.syncs.len(), asked + 1, "must ask again at once");
    }
    let asked = s.syncs.len();
    s.snapshot_of("successor", 1, vec![target("a", State::Ready)]);
    assert_eq!(s.syncs.len(), asked + 1, "a takeover must cost no time");
}

#[test]
fn a_poll_that_ends_in_its_own_time_is_repeated_at_once() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    for _ in 0..3 {
        let asked = s.syncs.len();
        s.now += Duration::from_secs(25);
        s.relay
            .sync_answered(s.now, Ok(answer_of("cp", 1, false, Vec::new())));
        s.run();
        assert_eq!(s.syncs.len(), asked + 1, "it was waited for");
    }
}
