//! What a replica answers that does not lead, or leads no longer.

use std::time::Duration;

use axum::http::{Request, Version};
use tokio::time::advance;

use super::*;
use fleet_actor::Fence;

const LEASE: Duration = Duration::from_secs(15);
const STANDBY: &str = "urn:holdfast:standby";

#[tokio::test]
async fn a_replica_that_does_not_lead_turns_everybody_away() {
    let server = Server::start().await;
    server.active.leave();
    for path in ["/v1/targets", "/v1/proxies", "/", "/nowhere", "/v1/sync"] {
        check_turned_away(server.get(path).await).await;
    }
    let body = r#"{"proxy":{"id":"a","incarnation":"1"},"wait_ms":60000}"#;
    check_turned_away(server.post("/v1/sync", body).await).await;
    check_turned_away(server.post("/v1/report", "{}").await).await;
}

#[tokio::test]
async fn a_replica_that_does_not_lead_lives_and_counts_but_is_not_ready() {
    let server = Server::start().await;
    assert_eq!(
        server.get("/readyz").await.status(),
        200,
        "must be ready while it leads"
    );
    server.active.leave();
    assert_eq!(server.get("/healthz").await.status(), 200, "must be alive");
    check_problem(server.get("/readyz").await, 503, STANDBY).await;
    let response = server.get("/metrics").await;
    assert_eq!(response.status(), 200, "must always be answered");
    let metrics = body(response).await;
    assert!(
        !metrics.contains("holdfast_targets{") && metrics.contains("holdfast_syncs_total"),
        "must have counters, but no gauges of targets: {metrics}"
    );
}

#[tokio::test]
async fn the_instance_that_takes_a_report_says_whose_revisions_count() {
    let server = Server::start().await;
    let revision = server.sync(None, 0).await.revision;
    let report = r#"{"proxy":{"id":"a","incarnation":"1","term":1,"seq":1}}"#;
    let response = server.post("/v1/report", report).await;
    assert_eq!(response.status(), 204, "must be taken");
    assert_eq!(
        response.headers()[protocol::INSTANCE_HEADER],
        revision.instance,
        "a poll at another instance waits in vain, and its proxy must get to know"
    );
}

#[tokio::test(start_paused = true)]
async fn open_polls_are_turned_away_when_leadership_is_lost() {
    let server = Server::start().await;
    let since = server.sync(None, 0).await.revision;
    let poll = tokio::spawn({
        let server = server.clone();
        let asked = json!({"proxy": {"id": "b", "incarnation": "1"}, "since": since, "wait_ms": 60_000});
        async move { server.post("/v1/sync", &asked.to_string()).await }
    });
    server.until_polls(1).await;
    let begun = tokio::time::Instant::now();
    server.active.leave();
    check_turned_away(poll.await.unwrap()).await;
    assert_eq!(begun.elapsed(), Duration::ZERO, "must not be left hanging");
}

/// As after SIGSTOP and SIGCONT: the clock has gone on, and the fleet has not been told yet to answer no more.
#[tokio::test(start_paused = true)]
async fn nothing_is_answered_once_the_lease_is_over() {
    let (server, fence, clock) = leading().await;
    let since = server.sync(None, 0).await.revision;
    advance(LEASE - Duration::from_millis(1)).await;
    assert_eq!(
        server.get("/v1/targets").await.status(),
        200,
        "must be answered within it"
    );
    advance(Duration::from_millis(1)).await;
    check_turned_away(server.get("/v1/targets").await).await;
    check_problem(server.get("/readyz").await, 503, STANDBY).await;
    fence.renew(clock.now());
    assert_eq!(
        server.sync(Some(since), 0).await.targets.len(),
        0,
        "must be answered again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_the_lease_ends_under_tells_nothing() {
    let (server, ..) = leading().await;
    let since = server.sync(None, 0).await.revision;
    let asked = json!({"proxy": {"id": "b", "incarnation": "1"}, "since": since, "wait_ms": 20_000});
    // It waits beyond the lease; then it would say that nothing is new.
    check_turned_away(server.post("/v1/sync", &asked.to_string()).await).await;
}

#[tokio::test]
async fn a_new_leadership_is_answered_from_its_own_fleet() {
    let server = Server::start().await;
    server.active.leave();
    check_turned_away(server.get("/v1/targets").await).await;
    server.active.take(server.fleet.clone(), None);
    assert_eq!(server.get("/v1/targets").await.status(), 200, "must be answered");
}

#[tokio::test]
async fn http2_knows_no_connection_header() {
    let server = Server::start().await;
    server.active.leave();
    let request = Request::get("/v1/targets").version(Version::HTTP_2);
    let response = server.call(request.body(Body::empty()).unwrap()).await;
    assert!(
        !response.headers().contains_key("connection"),
        "must not have one"
    );
    check_problem(response, 503, STANDBY).await;
}

async fn leading() -> (Server, Fence, Clock) {
    let server = Server::start().await;
    let clock = Clock::start();
    let fence = Fence::new(clock, LEASE);
    fence.renew(clock.now());
    server.active.take(server.fleet.clone(), Some(fence.clone()));
    (server, fence, clock)
}

async fn check_turned_away(response: Response) {
    assert_eq!(
        response.headers()["connection"],
        "close",
        "must end the connection"
    );
    assert_eq!(
        response.headers()["retry-after"],
        "1",
        "must say when to come back"
    );
    check_problem(response, 503, STANDBY).await;
}
