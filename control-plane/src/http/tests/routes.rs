//! Each route with good and bad input.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use super::super::*;

use super::*;

#[tokio::test]
async fn unknown_fields_are_ignored_on_the_wire() {
    let server = Server::start().await;
    let body = json!({"proxy": {"id": "a", "incarnation": "1", "zone": "x"}, "wait_ms": 0, "later": true});
    let response = server.post("/v1/sync", &body.to_string()).await;
    assert_eq!(response.status(), StatusCode::OK, "must be ignored");
}

#[tokio::test]
async fn bad_bodies_are_problems() {
    let server = Server::start().await;
    check_problem(
        server.post("/v1/report", "{").await,
        400,
        "urn:holdfast:bad-request",
    )
    .await;
    check_problem(
        server.post("/v1/sync", "[]").await,
        400,
        "urn:holdfast:bad-request",
    )
    .await;
    let nameless = json!({"proxy": {"id": "", "incarnation": "1", "term": 1, "seq": 1}});
    let problem = check_problem(
        server.post("/v1/report", &nameless.to_string()).await,
        400,
        "urn:holdfast:bad-request",
    );
    assert_eq!(
        problem.await.field.as_deref(),
        Some("proxy.id"),
        "must name the field"
    );
    let large = " ".repeat(MAX_BODY + 1);
    check_problem(
        server.post("/v1/report", &large).await,
        413,
        "urn:holdfast:too-large",
    )
    .await;
    check_problem(
        server.get("/v1/report").await,
        405,
        "urn:holdfast:method-not-allowed",
    )
    .await;
    check_problem(server.get("/nowhere").await, 404, "urn:holdfast:no-route").await;
}

#[tokio::test]
async fn a_report_with_too_many_targets_is_refused_and_counted() {
    let server = Server::start().await;
    let targets: serde_json::Map<_, _> = (0..=10_000).map(|n| (n.to_string(), json!({}))).collect();
    assert_eq!(
        server.report(1, Value::Object(targets)).await,
        StatusCode::PAYLOAD_TOO_LARGE,
        "must be refused"
    );
    let metrics = body(server.get("/metrics").await).await;
    let line = "holdfast_bounds_hit_total{bound=\"report_targets\"} 1";
    assert!(metrics.contains(line), "must be counted: {metrics}");
}

#[tokio::test]
async fn a_token_is_asked_for() {
    let server = Server::with_token("secret").await;
    for path in ["/v1/targets", "/v1/proxies", "/"] {
        check_problem(server.get(path).await, 401, "urn:holdfast:unauthorized").await;
    }
    check_problem(
        server.post("/v1/report", "{}").await,
        401,
        "urn:holdfast:unauthorized",
    )
    .await;
    let given = Request::get("/v1/targets")
        .header("authorization", "Bearer secret")
        .body(Body::empty())
        .unwrap();
    assert_eq!(server.call(given).await.status(), StatusCode::OK, "must be taken");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(
            server.get(path).await.status(),
            StatusCode::OK,
            "{path} must be open"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_may_wake_and_send_to_sleep() {
    let server = Server::start().await;
    let woken = server.post("/v1/targets/default/web/wake", "").await;
    assert_eq!(woken.status(), StatusCode::ACCEPTED, "must be taken");
    assert_eq!(server.state("web").await, "ready", "must be up: a person said so");
    let problem = check_problem(
        server.post("/v1/targets/default/web/sleep", "").await,
        409,
        "urn:holdfast:conflict",
    );
    assert!(
        problem.await.detail.unwrap().contains("no proxy is live"),
        "must say why not"
    );
    server.report(1, json!({"default/web": {"in_flight": 3}})).await;
    tokio::time::advance(Duration::from_secs(3_600)).await;
    server.report(2, json!({"default/web": {"in_flight": 3}})).await;
    let problem = check_problem(
        server.post("/v1/targets/default/web/sleep", "").await,
        409,
        "urn:holdfast:conflict",
    );
    let detail = problem.await.detail.unwrap();
    assert_eq!(
        detail, "it is in use: 0 held, 3 in flight",
        "must say that it is in use"
    );
    server.report(3, json!({})).await;
    assert_eq!(
        server.post("/v1/targets/default/web/sleep", "").await.status(),
        StatusCode::ACCEPTED
    );
    assert_eq!(server.state("web").await, "draining", "must drain first");
    check_problem(
        server.post("/v1/targets/default/no/wake", "").await,
        404,
        "urn:holdfast:no-target",
    )
    .await;
    check_problem(
        server.get("/v1/targets/default/no").await,
        404,
        "urn:holdfast:no-target",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_old_routes_have_their_old_shapes() {
    let server = Server::start().await;
    assert_eq!(
        body(server.get("/").await).await,
        r#"["api.example.com","web.example.com"]"#,
        "must list what is held"
    );
    let poke = |query: &'static str| server.post(query, "");
    assert_eq!(
        poke("/poke-scale-up?host=web.example.com:9000").await.status(),
        StatusCode::OK
    );
    assert_eq!(
        body(server.get("/").await).await,
        r#"["api.example.com"]"#,
        "must no longer be held"
    );
    assert_eq!(
        poke("/set-scaled-to-zero?host=web.example.com").await.status(),
        StatusCode::OK
    );
    assert_eq!(server.state("web").await, "asleep", "must be turned off");
    assert_eq!(
        poke("/set-scaled-to-zero?host=web.example.com").await.status(),
        StatusCode::OK
    );
    assert_eq!(server.state("web").await, "ready", "must be turned on again");
    for path in ["/poke-scale-up", "/set-scaled-to-zero"] {
        assert_eq!(
            server.post(path, "").await.status(),
            StatusCode::BAD_REQUEST,
            "must ask for a host"
        );
        let unknown = format!("{path}?host=no.example.com");
        assert_eq!(
            server.post(&unknown, "").await.status(),
            StatusCode::NOT_FOUND,
            "must know its hosts"
        );
        assert_eq!(
            server.get(&unknown).await.status(),
            StatusCode::METHOD_NOT_ALLOWED,
            "must be POST"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn demand_alone_does_not_wake_with_the_manual_backend() {
    let server = Server::start().await;
    server
        .report(1, json!({"default/web": {"held": 5, "idle_ms": 0}}))
        .await;
    assert_eq!(server.state("web").await, "waking", "must wait for a person");
    assert!(
        body(server.get("/").await).await.contains("web.example.com"),
        "must be held"
    );
    server.post("/poke-scale-up?host=web.example.com", "").await;
    assert_eq!(server.state("web").await, "ready", "must be up when poked");
}
