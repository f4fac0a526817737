//! Long polls, reports, and what they cost.

use std::time::Duration;

use axum::http::StatusCode;
use protocol::State;
use serde_json::json;

use super::super::answers::MAX_DELTA_BYTES;
use super::super::*;
use fleet::testing::looked_at;

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
async fn thousands_of_polls_at_once_freeze_no_caller() {
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
    server.until_counted(|counts| counts.polling == 0).await;
    let metrics = body(server.get("/metrics").await).await;
    for line in [
        "holdfast_targets{state=\"asleep\"} 2",
        "holdfast_proxies{state=\"live\"} 1",
        "holdfast_proxies{state=\"evicted\"} 0",
        "holdfast_proxies_by_module{module=\"unknown\"} 1",
        "holdfast_proxies_by_module{module=\"same\"} 0",
        "holdfast_open_polls 0",
        "holdfast_syncs_total 1",
        "holdfast_history_truncations_total 0",
    ] {
        assert!(metrics.contains(line), "must have {line:?} in:\n{metrics}");
    }
}

/// Anyone may ask for metrics, and a person who asks for one target is not to hold the fleet up for all of them.
#[tokio::test]
async fn what_is_asked_of_one_target_looks_at_one() {
    let server = Server::start().await;
    let specs = (0..300).map(|n| testing::mk_spec(&format!("t{n}"), &format!("t{n}.example.com"), "").into());
    server.fleet.configure(specs.collect()).await.unwrap();
    for (method, path, most) in [
        (Method::GET, "/metrics", 0),
        (Method::GET, "/v1/proxies", 0),
        (Method::GET, "/readyz", 0),
        (Method::GET, "/v1/targets/default/t7", 1),
        (Method::POST, "/v1/targets/default/t7/wake", 1),
        (Method::POST, "/v1/targets/default/t7/sleep", 1),
        (Method::GET, "/v1/targets/default/none", 0),
        (Method::GET, "/v1/targets", 300),
    ] {
        let before = looked_at();
        let request = Request::builder().method(method).uri(path);
        server.call(request.body(Body::empty()).unwrap()).await;
        assert!(
            looked_at() - before <= most,
            "{path} must look at {most} targets at most"
        );
    }
}

#[tokio::test]
async fn modules_are_counted_and_shown() {
    let server = Server::start().await;
    for (name, module) in [
        ("a", json!(env!("CARGO_PKG_VERSION"))),
        ("b", json!("0.0.1")),
        ("c", json!("99.0.0")),
        ("d", json!("\nforged")),
    ] {
        let proxy = json!({"id": name, "incarnation": "1", "term": 1});
        let asked = json!({"proxy": proxy, "wait_ms": 0, "module": module}).to_string();
        assert_eq!(
            server.post("/v1/sync", &asked).await.status(),
            StatusCode::OK,
            "{module} must be answered"
        );
    }
    let metrics = body(server.get("/metrics").await).await;
    for word in ["same", "older", "newer", "unknown"] {
        let line = format!("holdfast_proxies_by_module{{module=\"{word}\"}} 1");
        assert!(metrics.contains(&line), "must have {line:?} in:\n{metrics}");
    }
    let proxies: Value = serde_json::from_str(&body(server.get("/v1/proxies").await).await).unwrap();
    let shown: Vec<_> = proxies["proxies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|proxy| &proxy["module"])
        .collect();
    assert_eq!(
        shown,
        [env!("CARGO_PKG_VERSION"), "0.0.1", "99.0.0", "unknown"],
        "must be shown"
    );
}

/// One client that asks from ever other revisions: each answer was kept, 31 of them with 496 MB.
#[tokio::test]
async fn what_is_kept_of_answers_is_bounded_in_bytes() {
    const ASKED: u64 = 31;
    let server = Server::start().await;
    let configure = async |rest: &str, first: u64| {
        let specs = (0..400u64).map(|n| {
            let more = if n == 0 { first } else { 0 };
            let hosts: Vec<_> = (0..40)
                .map(|host| format!("h{host}.t{n}.v{more}.example.com"))
                .collect();
            testing::mk_spec(&format!("t{n}"), &hosts.join(", "), rest).into()
        });
        server.fleet.configure(specs.collect()).await.unwrap();
    };
    configure("", 0).await;
    let begun = server.sync(None, 0).await.revision;
    for n in 1..=ASKED {
        configure("", n).await;
    }
    configure("hold: {timeout: 7s}", ASKED).await;
    let snapshot = server.sync(None, 0).await;
    let size = server.app.answers.bytes();
    assert!(
        ASKED as usize * size > 2 * MAX_DELTA_BYTES,
        "must be more than is kept: {size} each"
    );
    let mut anew = 0;
    for n in 0..ASKED {
        let since = Revision {
            n: begun.n + n,
            ..begun.clone()
        };
        let answer = server.sync(Some(since), 0).await;
        assert_eq!(answer.revision, snapshot.revision, "must lead to the newest");
        assert_eq!(answer.targets.len(), 400, "must tell of all that changed");
        anew += u64::from(answer.full);
    }
    assert!((1..ASKED).contains(&anew), "some must be told everything: {anew}");
    let kept = server.app.answers.bytes();
    assert!(kept <= size + MAX_DELTA_BYTES, "must be bounded: {kept} bytes");
    let since = Revision {
        n: snapshot.revision.n - 1,
        ..begun
    };
    let answer = server.sync(Some(since), 0).await;
    assert_eq!(
        (answer.full, answer.targets.len()),
        (false, 1),
        "few changes must be told as such"
    );
}
