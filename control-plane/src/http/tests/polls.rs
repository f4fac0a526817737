use std::time::Duration;

use axum::http::StatusCode;
use protocol::State;
use serde_json::json;

use super::super::*;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_first_sync_is_answered_with_everything() {
    let server = Server::start().await;
    let answer = server.sync(None, 1_000).await;
    assert!(answer.full, "must be a full snapshot");
    let ids: Vec<_> = answer
        .targets
        .iter()
        .map(|target| target.id.to_string())
        .collect();
    assert_eq!(ids, ["default/api", "default/web"], "must hold every target");
    assert_eq!(
        (answer.heartbeat_ms, answer.forget_after_ms),
        (5_000, 600_000),
        "must tell its times"
    );
}

#[tokio::test(start_paused = true)]
async fn a_poll_waits_and_then_has_nothing_new() {
    let server = Server::start().await;
    let since = server.sync(None, 0).await.revision;
    let begun = tokio::time::Instant::now();
    let answer = server.sync(Some(since.clone()), 30_000).await;
    assert_eq!(
        begun.elapsed(),
        Duration::from_secs(30),
        "must wait as long as it was asked to"
    );
    assert_eq!(
        (answer.revision, answer.full, answer.targets.len()),
        (since, false, 0),
        "must have nothing new"
    );
}

#[tokio::test(start_paused = true)]
async fn a_poll_waits_for_a_minute_at_most() {
    let server = Server::start().await;
    let since = server.sync(None, 0).await.revision;
    let begun = tokio::time::Instant::now();
    server.sync(Some(since), u64::MAX).await;
    assert_eq!(begun.elapsed(), MAX_WAIT, "must be bounded");
}

#[tokio::test(start_paused = true)]
async fn a_report_of_demand_answers_every_poll_at_once() {
    let server = Server::start().await;
    let since = server.sync(None, 0).await.revision;
    let polls = ["a", "b"].map(|name| {
        let server = server.clone();
        let since = since.clone();
        tokio::spawn(async move { server.sync_as(name, 1, Some(since), 60_000).await })
    });
    server.until_polls(2).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(
        server
            .report(1, json!({"default/web": {"held": 1, "idle_ms": 0}}))
            .await,
        StatusCode::NO_CONTENT
    );
    for poll in polls {
        let answer = poll.await.unwrap();
        assert_eq!(answer.targets.len(), 1, "must be told what changed, no more");
        assert_eq!(
            answer.targets[0].state,
            State::Waking,
            "must be told that it wakes"
        );
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "must not wait for any timer");
}

/// With nothing new two who poll in one name would end each other's polls without a pause, as fast as the network allows.
#[tokio::test(start_paused = true)]
async fn a_newer_poll_turns_the_older_away_and_a_lower_term_is_superseded() {
    let server = Server::start().await;
    let since = server.sync(None, 0).await.revision;
    let poll = |term: u64| {
        let (server, since) = (server.clone(), since.clone());
        tokio::spawn(async move { server.try_sync("a", term, Some(since), 60_000).await })
    };
    let older = poll(2);
    server.until_polls(1).await;
    let begun = tokio::time::Instant::now();
    let newer = poll(2);
    check_problem(older.await.unwrap(), 409, "urn:holdfast:superseded").await;
    server.until_polls(1).await;
    check_problem(poll(1).await.unwrap(), 409, "urn:holdfast:superseded").await;
    let jump = check_problem(poll(1_000).await.unwrap(), 409, "urn:holdfast:term-jump").await;
    assert_eq!(
        jump.field.as_deref(),
        Some("proxy.term"),
        "must say what is wrong"
    );
    let report = json!({"proxy": {"id": "a", "incarnation": "1", "term": 1, "seq": 1}, "targets": {}});
    let refused = server.post("/v1/report", &report.to_string()).await;
    check_problem(refused, 409, "urn:holdfast:superseded").await;
    assert_eq!(begun.elapsed(), Duration::ZERO, "must be answered at once");
    assert!(!newer.is_finished(), "must leave the later poll open");
}

/// Each poll keeps a place for its end. Those who wait for a place must not keep those who have one from going on.
#[tokio::test(start_paused = true)]
async fn thousands_of_polls_at_once_freeze_nobody() {
    let server = Server::start().await;
    let since = server.sync(None, 0).await.revision;
    let begun = tokio::time::Instant::now();
    let polls: Vec<_> = (0..5_000)
        .map(|n| {
            let (server, since) = (server.clone(), since.clone());
            let name = format!("envoy-{}", n % 12);
            tokio::spawn(async move { server.try_sync(&name, 1, Some(since), 60_000).await.status() })
        })
        .collect();
    tokio::task::yield_now().await;
    let report = server.report(1, json!({"default/web": {"held": 1, "idle_ms": 0}}));
    let report = tokio::time::timeout(Duration::from_secs(1), report).await;
    assert_eq!(report, Ok(StatusCode::NO_CONTENT), "must take a report at once");
    for poll in polls {
        let status = tokio::time::timeout(Duration::from_secs(1), poll).await;
        let status = status.expect("must be answered").unwrap().as_u16();
        assert!(
            [200, 409, 503].contains(&status),
            "must be answered or turned away: {status}"
        );
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "must not wait for any timer");
    server.until_polls(0).await;
    assert_eq!(
        server.sync(None, 0).await.targets.len(),
        2,
        "must go on answering"
    );
}

#[tokio::test(start_paused = true)]
async fn a_poll_whose_client_leaves_is_closed() {
    let server = Server::start().await;
    let since = server.sync(None, 0).await.revision;
    let poll = tokio::spawn({
        let server = server.clone();
        async move { server.sync_as("a", 1, Some(since), 60_000).await }
    });
    server.until_polls(1).await;
    poll.abort();
    server.until_polls(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_answers_the_polls() {
    let server = Server::start().await;
    let since = server.sync(None, 0).await.revision;
    let poll = tokio::spawn({
        let (server, since) = (server.clone(), since.clone());
        async move { server.sync_as("a", 1, Some(since), 60_000).await }
    });
    server.until_polls(1).await;
    let begun = tokio::time::Instant::now();
    server.app.stop.cancel();
    assert_eq!(
        poll.await.unwrap().revision,
        since,
        "must be answered with nothing new"
    );
    assert_eq!(begun.elapsed(), Duration::ZERO, "must be answered at once");
    check_problem(server.get("/readyz").await, 503, "urn:holdfast:shutting-down").await;
}

#[tokio::test]
async fn metrics_tell_states_proxies_and_polls() {
    let server = Server::start().await;
    server.sync(None, 0).await;
    let metrics = body(server.get("/metrics").await).await;
    for line in [
        "holdfast_targets{state=\"asleep\"} 2",
        "holdfast_proxies{state=\"live\"} 1",
        "holdfast_open_polls 0",
        "holdfast_syncs_total 1",
        "holdfast_history_truncations_total 0",
    ] {
        assert!(metrics.contains(line), "must have {line:?} in:\n{metrics}");
    }
}
