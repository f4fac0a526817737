//! Which requests belong to a target, and which are none of the filter's business.

use std::time::Duration;

use harness::{Stack, Target, holds_for};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_enough() {
    let web = Target::http("web").spec("match", json!({"hosts": ["web.example.com"]}));
    let stack = Stack::builder().target(web).start().await;

    let reply = stack.client("web").get("/hello").send().await;

    assert_eq!(
        (reply.status, reply.held().is_some()),
        (200, true),
        "must be held and woken: {reply:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_wins_over_the_host() {
    let web = Target::http("web").spec("match.hosts", vec!["other.example.com"]);
    let other = Target::http("other");
    let stack = Stack::builder().target(web).target(other).start().await;

    let reply = stack.client("other").get("/hello").send().await;

    assert_eq!(
        (reply.status, reply.text()),
        (200, "hello from other\n"),
        "{reply:?}"
    );
    assert_eq!(
        stack.control.state("web").await,
        "asleep",
        "must not wake the host's"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_needs_no_workload_to_be_awake() {
    let routes = json!([
        {"match": {"path": "/moved"}, "redirect": {"path_redirect": "/hello"}},
        {"match": {"path": "/here"}, "direct_response": {"status": 200, "body": {"inline_string": "here"}}},
        {"match": {"prefix": "/"}, "route": {"cluster": "web", "timeout": "0s"}},
    ]);
    let stack = start_with_routes(routes).await;

    for (path, status) in [("/moved", 301), ("/here", 200)] {
        let reply = stack.client("web").get(path).send().await;
        assert_eq!(
            (reply.status, reply.held()),
            (status, None),
            "{path}: must not wait: {reply:?}"
        );
    }

    holds_for("nothing wakes", SECOND, || async {
        stack.control.state("web").await == "asleep"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_plane_is_not_to_be_reached_through_the_filter() {
    let stack =
        start_with_routes(json!([{"match": {"prefix": "/"}, "route": {"cluster": "holdfast"}}])).await;

    let reply = stack.client("web").get("/v1/targets").send().await;

    assert_eq!(
        (reply.status, reply.problem().status),
        (404, 404),
        "must be refused: {reply:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_matches_nothing_passes() {
    let elsewhere = Target::http("elsewhere").spec("match", json!({"clusters": ["another"]}));
    let stack = Stack::builder().target(elsewhere).start().await;

    let reply = stack.client("elsewhere").get("/hello").send().await;

    assert_eq!(
        reply.status, 503,
        "no server listens, and the filter must not wait for one: {reply:?}"
    );
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain"),
        "the answer must be Envoy's: {reply:?}"
    );
    assert_eq!(
        stack.control.state("elsewhere").await,
        "asleep",
        "must not count as use"
    );
}

/// One sleeping target with a host and a cluster, and these routes on its virtual host.
async fn start_with_routes(routes: Value) -> Stack {
    let web = Target::http("web").spec("match.hosts", vec!["web.example.com"]);
    let builder = Stack::builder().target(web);
    builder
        .envoy(|envoy| envoy.hcm("route_config.virtual_hosts.0.routes", routes))
        .start()
        .await
}
