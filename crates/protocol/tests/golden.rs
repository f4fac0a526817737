//! The files in `golden/` are the wire format: each is what the types write, byte for byte, and what they read.
//!
//! `HOLDFAST_BLESS=1` writes them anew; a change in them is a change of the protocol.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use protocol::{
    Confirm, Hold, Ignore, Incarnation, LossPolicy, Problem, Proxy, Release, Report, Reporter, Revision,
    State, SyncRequest, SyncResponse, Target, TargetId, Unreached, Usage,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

#[test]
fn sync_request_of_a_proxy_that_has_nothing() {
    check(
        "sync-request-first",
        &SyncRequest {
            proxy: mk_proxy(),
            since: None,
            wait_ms: 0,
            module: None,
        },
    );
}

#[test]
fn sync_request_that_waits() {
    check(
        "sync-request-waiting",
        &SyncRequest {
            proxy: mk_proxy(),
            since: Some(mk_revision(7)),
            wait_ms: 30_000,
            module: Some("0.1.0".to_owned()),
        },
    );
}

#[test]
fn sync_response_with_nothing_new() {
    check("sync-response-empty", &mk_response(false, vec![]));
}

#[test]
fn sync_response_with_one_target() {
    check(
        "sync-response-one",
        &mk_response(true, vec![mk_target("shop/web", State::Ready)]),
    );
}

#[test]
fn sync_response_with_many_targets_and_removals() {
    let mut bare = mk_target("shop/bare", State::Asleep);
    bare.hosts.clear();
    bare.clusters.clear();
    bare.ignore = Ignore::default();
    bare.hold.on_control_plane_loss = LossPolicy::Pass;
    bare.confirm = Confirm::Off { settle_ms: 2_000 };
    let mut grpc = mk_target("shop/grpc", State::Waking);
    grpc.hold.on_control_plane_loss = LossPolicy::Refuse;
    grpc.confirm = Confirm::Grpc {
        authority: Some("grpc.internal".to_owned()),
        timeout_ms: 1_000,
        give_up_ms: 5_000,
    };
    let mut response = mk_response(false, vec![bare, grpc, mk_target("shop/web", State::Ready)]);
    response.removed = vec![TargetId::new("shop/gone"), TargetId::new("shop/lost")];
    check("sync-response-many", &response);
}

#[test]
fn each_state() {
    let states = [
        ("asleep", State::Asleep),
        ("waking", State::Waking),
        ("ready", State::Ready),
        ("draining", State::Draining),
        ("failed", State::Failed),
        ("suspended", State::Suspended),
    ];
    for (name, state) in states {
        check(&format!("target-{name}"), &mk_target("shop/web", state));
    }
}

#[test]
fn a_target_that_was_found_ready() {
    let found = Target {
        epoch: 1,
        found: true,
        ..mk_target("shop/web", State::Ready)
    };
    check("target-found", &found);
}

#[test]
fn a_target_whose_route_has_moved() {
    let old = "httproute/shop/web/rule/0".to_owned();
    let moved = Target {
        clusters: vec![old.clone(), "httproute/shop/web/rule/1".to_owned()],
        leaving: vec![old],
        ..mk_target("shop/web", State::Ready)
    };
    check("target-moved", &moved);
}

#[test]
fn report_of_an_idle_proxy() {
    check("report-empty", &mk_report([]));
}

#[test]
fn report_of_one_target() {
    check(
        "report-one",
        &mk_report([(
            "shop/web",
            Usage {
                held: 1,
                in_flight: 0,
                idle_ms: Some(3),
            },
        )]),
    );
}

#[test]
fn report_of_many_targets() {
    let mut report = mk_report([
        (
            "shop/api",
            Usage {
                held: 0,
                in_flight: 12,
                idle_ms: Some(0),
            },
        ),
        (
            "shop/grpc",
            Usage {
                held: 0,
                in_flight: 1,
                idle_ms: None,
            },
        ),
        (
            "shop/web",
            Usage {
                held: 200,
                in_flight: 3,
                idle_ms: Some(15),
            },
        ),
    ]);
    report.applied = Some(mk_revision(12));
    report.unreached = vec![
        Unreached {
            target: TargetId::new("shop/web"),
            cluster: "outbound|80||web.shop.svc.cluster.local".to_owned(),
            saw: "refused".to_owned(),
            for_ms: 2_500,
        },
        Unreached {
            target: TargetId::new("shop/grpc"),
            cluster: "grpc".to_owned(),
            saw: "no answer in 1 s".to_owned(),
            for_ms: 900,
        },
    ];
    check("report-many", &report);
}

#[test]
fn report_of_a_proxy_that_leaves() {
    check(
        "report-leaving",
        &Report {
            leaving: true,
            ..mk_report([])
        },
    );
}

#[test]
fn problem_with_little_and_with_everything() {
    let bare = Problem {
        kind: "urn:holdfast:unauthorized".to_owned(),
        title: "Unauthorized".to_owned(),
        status: 401,
        detail: None,
        target: None,
        field: None,
    };
    check("problem-bare", &bare);
    let full = Problem {
        detail: Some("it is in use: 1 held, 2 in flight".to_owned()),
        target: Some("shop/web".to_owned()),
        field: Some("spec.idle.after".to_owned()),
        ..bare
    };
    check("problem-full", &full);
}

#[test]
fn unknown_fields_are_ignored() {
    check_reads(
        "unknown/sync-request",
        &SyncRequest {
            proxy: mk_proxy(),
            since: Some(mk_revision(7)),
            wait_ms: 5,
            module: None,
        },
    );
    check_reads(
        "unknown/sync-response",
        &mk_response(true, vec![mk_target("shop/web", State::Ready)]),
    );
    let report = mk_report([(
        "shop/web",
        Usage {
            held: 1,
            in_flight: 0,
            idle_ms: Some(3),
        },
    )]);
    check_reads("unknown/report", &report);
}

#[test]
fn absent_fields_have_their_defaults() {
    let report = Report {
        applied: None,
        ..mk_report([("shop/web", Usage::default())])
    };
    check_reads("defaults/report", &report);
    let proxy = Proxy {
        term: 0,
        ..mk_proxy()
    };
    check_reads(
        "defaults/sync-request",
        &SyncRequest {
            proxy,
            since: None,
            wait_ms: 0,
            module: None,
        },
    );
    let mut target = mk_target("shop/web", State::Asleep);
    (target.epoch, target.ready_endpoints) = (0, 0);
    (target.hosts, target.clusters, target.ignore) = (vec![], vec![], Ignore::default());
    check_reads("defaults/target", &target);
}

#[test]
fn a_word_of_a_later_version_is_known_for_what_it_is() {
    let mut dreaming = mk_target("shop/dreaming", State::Ready);
    dreaming.state = State::Unknown;
    let mut lost = mk_target("shop/lost", State::Ready);
    lost.hold.on_control_plane_loss = LossPolicy::Unknown;
    let mut asked = mk_target("shop/asked", State::Ready);
    asked.confirm = Confirm::Unknown;
    let unknown = [dreaming, lost, asked];
    assert!(
        unknown.iter().all(Target::has_unknown_words),
        "must be told apart"
    );
    let known = mk_target("shop/web", State::Ready);
    assert!(!known.has_unknown_words(), "must be as it was");
    let targets = unknown.into_iter().chain([known]).collect();
    check_reads("future/sync-response", &mk_response(true, targets));
}

fn mk_proxy() -> Proxy {
    Proxy {
        id: "envoy-1".to_owned(),
        incarnation: Incarnation::from_random(0x0123_4567_89ab_cdef),
        term: 2,
    }
}

fn mk_revision(n: u64) -> Revision {
    Revision {
        instance: "fedcba9876543210".to_owned(),
        n,
    }
}

fn mk_response(full: bool, targets: Vec<Target>) -> SyncResponse {
    SyncResponse {
        revision: mk_revision(8),
        full,
        targets,
        removed: vec![],
        heartbeat_ms: 5_000,
        forget_after_ms: 600_000,
    }
}

fn mk_target(id: &str, state: State) -> Target {
    let failed = state == State::Failed;
    Target {
        id: TargetId::new(id),
        state,
        reason: failed.then(|| "exited with status 3: no disk".to_owned()),
        reason_class: failed.then(|| "crash".to_owned()),
        retry_after_ms: failed.then_some(2_000),
        epoch: 4,
        found: false,
        ready_endpoints: u32::from(matches!(state, State::Ready | State::Draining)),
        hosts: vec!["*.web.example.com".to_owned(), "web.example.com".to_owned()],
        clusters: vec!["outbound|80|*|web.shop.svc.cluster.local".to_owned()],
        leaving: vec![],
        hold: Hold {
            timeout_ms: 60_000,
            max_requests: 1_000,
            max_bytes: 64 << 20,
            unknown_body: 64 << 10,
            on_control_plane_loss: LossPolicy::Hold,
        },
        release: Release {
            concurrency_per_endpoint: 100,
        },
        confirm: Confirm::Http {
            path: "/".to_owned(),
            authority: None,
            timeout_ms: 1_000,
            give_up_ms: 5_000,
        },
        ignore: Ignore {
            paths: vec!["/healthz".to_owned()],
            user_agents: vec!["kube-probe".to_owned()],
        },
    }
}

fn mk_report<const N: usize>(targets: [(&str, Usage); N]) -> Report {
    let Proxy {
        id,
        incarnation,
        term,
    } = mk_proxy();
    let targets: BTreeMap<_, _> = targets
        .into_iter()
        .map(|(id, usage)| (TargetId::new(id), usage))
        .collect();
    Report {
        proxy: Reporter {
            id,
            incarnation,
            term,
            seq: 41,
        },
        applied: Some(mk_revision(7)),
        targets,
        unreached: vec![],
        leaving: false,
    }
}

/// The file is what `value` is written as, and is read as `value`.
fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, value: &T) {
    let written = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        std::fs::write(path(name), &written).unwrap();
    }
    assert_eq!(read(name), written, "{name} must be written as it stands");
    check_reads(name, value);
}

/// The file is read as `value`.
fn check_reads<T: DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, value: &T) {
    let read: T = serde_json::from_str(&read(name)).unwrap();
    assert_eq!(&read, value, "{name} must be read as what it says");
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.json"))
}
