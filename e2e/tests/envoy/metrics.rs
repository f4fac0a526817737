//! What Envoy's `/stats/prometheus` says about holds: names, labels, and the right numbers.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use harness::{Pending, Stack, Target, binaries, eventually, sum_of_samples};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_numbers_tell_what_happened() {
    let stack = start().await;
    let (web, never) = (stack.client("web"), stack.client("never"));

    // Three places: three are held, the fourth is refused, one of the three leaves, two are let go.
    let mut held: Vec<Pending> = (0..3).map(|_| web.get("/hello").spawn()).collect();
    eventually("three are held", SECOND * 5, || async {
        stack.envoy_holds().await == 3
    })
    .await;
    assert_eq!(
        web.get("/hello").send().await.status,
        503,
        "there must be three places"
    );
    expect(&stack, "holdfast_targets_ready", &[], 0.0).await;
    held.pop().unwrap().leave().await;
    for reply in join_all(held.into_iter().map(Pending::reply)).await {
        assert_eq!(
            reply.status, 200,
            "a client that stays must be answered: {reply:?}"
        );
    }
    // One hold runs out.
    assert_eq!(never.get("/hello").send().await.status, 504, "must run out");
    // One stays in flight.
    let open = web.get("/events?period=100ms").open().await.unwrap();
    expect(&stack, "holdfast_requests_in_flight", &[], 1.0).await;
    drop(open);

    for (name, labels, value) in [
        ("holdfast_requests_held_total", &[][..], 4.0),
        ("holdfast_requests_released_total", &[], 2.0),
        ("holdfast_requests_gone_total", &[], 1.0),
        ("holdfast_requests_refused_total", &[], 2.0),
        (
            "holdfast_requests_refused_total",
            &["reason=\"target_requests\""],
            1.0,
        ),
        (
            "holdfast_requests_refused_total",
            &["reason=\"hold_timeout\""],
            1.0,
        ),
        ("holdfast_bounds_hit_total", &[], 1.0),
        // However a hold ends.
        ("holdfast_hold_duration_ms_count", &[], 4.0),
        ("holdfast_confirms_total", &["outcome=\"yes\""], 1.0),
        ("holdfast_confirms_given_up_total", &[], 0.0),
        ("holdfast_syncs_total", &["outcome=\"failed\""], 0.0),
        ("holdfast_reports_total", &["outcome=\"failed\""], 0.0),
        ("holdfast_relay_takeovers_total", &[], 1.0),
        ("holdfast_requests_held", &[], 0.0),
        ("holdfast_requests_in_flight", &[], 0.0),
        ("holdfast_targets", &[], 2.0),
        ("holdfast_targets_ready", &[], 1.0),
        // That of the worker, and that of the main thread, which never sees a stream.
        ("holdfast_gates", &[], 2.0),
        ("holdfast_gates_silent", &[], 0.0),
        ("holdfast_control_plane_up", &[], 1.0),
    ] {
        expect(&stack, name, labels, value).await;
    }
    let stats = stack.envoy.prometheus().await;
    for name in ["holdfast_syncs_total", "holdfast_reports_total"] {
        let count = sum_of_samples(&stats, name, &["outcome=\"ok\""]);
        assert!(
            count >= 2.0,
            "{name}: sleeping, waking and ready were heard of: {count}"
        );
    }
    // The two that were released waited for the workload's second, the third for its own 300 ms.
    let waited = sum_of_samples(&stats, "holdfast_hold_duration_ms_sum", &[]);
    assert!(
        (1_800.0..9_000.0).contains(&waited),
        "must be the time of the holds: {waited} ms"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_of_the_control_plane_shows() {
    let stack = start().await;
    expect(&stack, "holdfast_control_plane_up", &[], 1.0).await;

    stack.control.kill();

    expect(&stack, "holdfast_control_plane_up", &[], 0.0).await;
    let stats = stack.envoy.prometheus().await;
    assert!(
        sum_of_samples(&stats, "holdfast_syncs_total", &["outcome=\"failed\""]) >= 1.0,
        "the polls that failed must be counted"
    );
    let age = sum_of_samples(&stats, "holdfast_last_sync_age_ms", &[]);
    assert!(
        (1_000.0..30_000.0).contains(&age),
        "must be the age of the last sync: {age} ms"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documents_list_every_name() {
    let stack = start().await;
    let text = std::fs::read_to_string(binaries::root().join("docs/metrics.md")).unwrap();
    let section = text.split("## Metrics of the filter").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    // | `name{label}`, `other` | kind | what |
    let first_cells = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let listed: BTreeSet<String> = first_cells
        .flat_map(|cell| cell.split(", "))
        .map(|name| format!("holdfast_{}", name.trim_matches('`').split('{').next().unwrap()))
        .collect();

    let shown: BTreeSet<String> = eventually("the histogram is flushed", SECOND * 5, || async {
        let stats = stack.envoy.prometheus().await;
        let types = stats
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE holdfast_"));
        let names: BTreeSet<_> = types
            .map(|rest| format!("holdfast_{}", rest.split(' ').next().unwrap()))
            .collect();
        names.contains("holdfast_hold_duration_ms").then_some(names)
    })
    .await;

    assert_eq!(shown, listed, "docs/metrics.md must list what Envoy shows");
}

/// One worker, so that the numbers are exact; stats are flushed soon, which histograms wait for.
async fn start() -> Stack {
    let web = Target::http("web").upstream(["--start-delay", "1s"]);
    let never = Target::http("never").upstream(["--start-delay", "50s"]);
    Stack::builder()
        .target(web.spec("hold.maxRequests", 3))
        .target(never.spec("hold.timeout", "300ms"))
        .control(|control| control.args(["--heartbeat", "500ms"]))
        .envoy(|envoy| envoy.workers(1).patch("/stats_flush_interval", "0.1s"))
        .start()
        .await
}

/// Waits until the samples of that name and those labels add up to `value`: gates count at the end of a callback, the
/// relay records at its ticks.
async fn expect(stack: &Stack, name: &str, labels: &[&str], value: f64) {
    eventually(&format!("{name} {labels:?} is {value}"), SECOND * 5, || async {
        let stats = stack.envoy.prometheus().await;
        let there = stats.lines().any(|line| line.starts_with(name));
        there && (sum_of_samples(&stats, name, labels) - value).abs() < 0.5
    })
    .await;
}
