//! A request that passes allocates nothing in `hold`, and neither does its end, however many targets there are.

#![cfg(not(target_arch = "wasm32"))]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

use allocation_counter::measure;
use hold::{
    ClusterLookup, Config, Gate, GateId, Manifest, Member, Slot, SlotRecord, StreamId, TargetIx, Ticket,
    Time, Update, WarmDecision,
};
use protocol::{SyncResponse, read_json};

#[test]
fn a_request_that_is_found_by_cluster_allocates_nothing() {
    for targets in [1, 10_000] {
        let mut gate = mk_gate(targets);
        let clusters = ["cluster-0".to_owned(), format!("cluster-{}", targets - 1)];
        check(&mut gate, |gate| {
            for cluster in &clusters {
                let ClusterLookup::Target(ix) = gate.find_cluster(cluster.as_bytes()) else {
                    panic!("must find {cluster}")
                };
                pass_and_end(gate, ix, cluster.as_bytes());
            }
        });
    }
}

#[test]
fn a_request_that_is_found_by_host_allocates_nothing() {
    for targets in [1, 10_000] {
        let mut gate = mk_gate(targets);
        let hosts = [
            "Host-0.example.com:8080".to_owned(),
            format!("x.wild-{}.example.com", targets - 1),
        ];
        check(&mut gate, |gate| {
            for host in &hosts {
                assert_eq!(gate.find_cluster(b"other"), ClusterLookup::AskHost);
                let ix = gate
                    .find_host(host.as_bytes(), b"other")
                    .expect("must find the host");
                pass_and_end(gate, ix, b"other");
            }
        });
    }
}

#[test]
fn a_request_of_a_target_that_ignores_some_allocates_nothing() {
    let ignore = r#""ignore":{"paths":["/healthz"],"user_agents":["kube-probe"]}"#;
    let mut gate = mk_gate_of([mk_record_with(0, ignore)]);
    check(&mut gate, |gate| {
        let ClusterLookup::Target(ix) = gate.find_cluster(b"cluster-0") else {
            panic!("must be found")
        };
        pass_and_end(gate, ix, b"cluster-0");
        let probe = gate.pass_unless_ignored(ix, b"cluster-0", b"/healthz", b"");
        assert_eq!(probe, Some(Ticket::Free), "must not be counted");
    });
}

#[test]
fn a_request_of_no_target_allocates_nothing() {
    let mut gate = mk_gate(10_000);
    let pass = |gate: &mut Gate| {
        assert_eq!(gate.find_cluster(b"other"), ClusterLookup::AskHost);
        assert_eq!(gate.find_host(b"none.example.com", b"other"), None);
        let ticket = gate.stray(b"other", Some(b"none.example.com"));
        assert!(matches!(ticket, Ticket::Stray(_)));
        gate.ended(Time::ZERO, StreamId(1), ticket);
    };
    // The name of where it goes is remembered once.
    pass(&mut gate);
    check(&mut gate, pass);
}

#[test]
fn allocations_are_seen() {
    let gate = measure(|| drop(mk_gate(1)));
    assert!(gate.count_total > 0, "must count");
}

fn check(gate: &mut Gate, mut requests: impl FnMut(&mut Gate)) {
    // Twice: the first request of a target puts it on the list of those that are in use.
    for time in ["first", "second"] {
        let seen = measure(|| requests(gate));
        assert_eq!(seen.count_total, 0, "must not allocate for the {time} request");
    }
}

fn pass_and_end(gate: &mut Gate, ix: TargetIx, cluster: &[u8]) {
    let ticket = match gate.pass(ix, cluster) {
        WarmDecision::Pass(ticket) => ticket,
        WarmDecision::Read { .. } => gate
            .pass_unless_ignored(ix, cluster, b"/", b"curl/8")
            .expect("must pass"),
        WarmDecision::Arrive => panic!("must pass"),
    };
    assert!(matches!(ticket, Ticket::Passed(_)));
    gate.ended(Time::ZERO, StreamId(1), ticket);
}

/// A gate whose targets are all ready, and have been since the first snapshot.
fn mk_gate(targets: u32) -> Gate {
    mk_gate_of((0..targets).map(mk_record))
}

fn mk_gate_of(records: impl IntoIterator<Item = SlotRecord>) -> Gate {
    let me = Member {
        id: GateId(1),
        nonce: 7,
        gate: true,
    };
    let config = Config::parse(br#"{"control_plane":{"cluster":"holdfast"}}"#).expect("must be valid");
    let mut gate = Gate::new(config, me, Time::ZERO);
    let slots: Vec<_> = (0..).map(Slot).zip(records).collect();
    let manifest = Manifest {
        version: 1,
        known: true,
        slots: u32::try_from(slots.len()).expect("few"),
        ..Manifest::default()
    };
    gate.apply(
        Time::ZERO,
        Update {
            manifest,
            full: true,
            slots,
        },
    );
    gate
}

fn mk_record(n: u32) -> SlotRecord {
    mk_record_with(n, r#""ignore":{}"#)
}

fn mk_record_with(n: u32, more: &str) -> SlotRecord {
    let json = format!(
        r#"{{"revision":{{"instance":"a","n":1}},"full":true,"heartbeat_ms":1,"forget_after_ms":1,"targets":[{{
            "id":"shop/{n}","state":"ready","epoch":1,"ready_endpoints":1,
            "clusters":["cluster-{n}"],"hosts":["host-{n}.example.com","*.wild-{n}.example.com"],
            "hold":{{"timeout_ms":1,"max_requests":1,"max_bytes":1,"unknown_body":1,"on_control_plane_loss":"hold"}},
            "release":{{"concurrency_per_endpoint":1}},"confirm":{{"kind":"off","settle_ms":1}},{more}}}]}}"#
    );
    let response: SyncResponse = read_json(json.as_bytes()).expect("must be a sync response");
    SlotRecord {
        target: response.targets.into_iter().next(),
        preconfirmed_epoch: Some(1),
        ..SlotRecord::default()
    }
}
