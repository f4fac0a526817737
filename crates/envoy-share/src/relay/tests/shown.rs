//! What gauges and log lines show.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

#[test]
fn gauges_show_what_there_is_now() {
    let mut s = Scenario::new();
    let unknown = Target {
        state: State::Unknown,
        ..target("c", State::Asleep)
    };
    s.snapshot(
        1,
        vec![target("a", State::Ready), target("b", State::Asleep), unknown],
    );
    let busy = TargetUsage {
        in_flight: 3,
        ..held(s.slot("b").0, 2)
    };
    s.status(A, s.manifest.version, vec![busy]);
    s.status(B, s.manifest.version, vec![busy]);
    let shown = |s: &Scenario| {
        let gauges = s.relay.gauges(s.now);
        (
            (gauges.targets, gauges.targets_ready, gauges.targets_unknown),
            (gauges.held, gauges.in_flight),
            (gauges.gates, gauges.gates_silent),
            gauges.control_plane_up,
        )
    };
    assert_eq!(shown(&s), ((3, 1, 1), (4, 6), (2, 0), 1));
    // B goes silent, and the control plane away.
    for _ in 0..101 {
        s.tick();
        s.status(A, s.manifest.version, vec![busy]);
    }
    assert_eq!(shown(&s), ((3, 1, 1), (2, 6), (1, 1), 0));
    assert_eq!(s.relay.gauges(s.now).sync_age_ms, 10_100);
    s.snapshot(2, vec![target("a", State::Ready), target("b", State::Ready)]);
    assert_eq!(shown(&s).0, (2, 2, 0));
    s.snapshot(3, vec![target("a", State::Draining)]);
    assert_eq!(shown(&s).0, (1, 0, 0));
    assert_eq!(s.relay.term(), 1);
}

#[test]
fn the_loss_and_the_return_of_the_control_plane_are_told() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    assert_eq!(s.relay.poll_warning(), None);
    s.now += HEARTBEAT * 3;
    s.run();
    assert!(s.manifest.lost);
    let told = s.relay.poll_warning().expect("must be told");
    assert!(told.contains("is lost"), "{told}");
    s.snapshot(2, vec![target("a", State::Ready)]);
    assert!(!s.manifest.lost);
    let told = s.relay.poll_warning().expect("must be told");
    assert!(told.contains("is back"), "{told}");
}

#[test]
fn what_is_not_understood_of_a_target_is_told_once() {
    let mut s = Scenario::new();
    let unknown = || Target {
        state: State::Unknown,
        ..target("a", State::Asleep)
    };
    let mut warnings = |n, targets| {
        s.snapshot(n, targets);
        std::iter::from_fn(|| s.relay.poll_warning()).count()
    };
    assert_eq!(warnings(1, vec![target("a", State::Asleep)]), 0);
    assert_eq!(warnings(2, vec![unknown()]), 1);
    assert_eq!(warnings(3, vec![unknown()]), 0, "once");
    assert_eq!(warnings(4, vec![target("a", State::Asleep)]), 0);
    assert_eq!(warnings(5, vec![unknown()]), 1, "it is another time");
}
