use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt;
use protocol::{Problem, Revision, State, SyncResponse};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::backend::manual::Manual;
use crate::fleet::proxies::Limits;
use crate::fleet::{Settings, actor, world};
use crate::life::Policy;
use crate::time::Clock;
use crate::view::View;

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

#[tokio::test(start_paused = true)]
async fn a_newer_poll_ends_the_older_with_nothing_new() {
    let server = Server::start().await;
    let since = server.sync(None, 0).await.revision;
    let older = {
        let (server, since) = (server.clone(), since.clone());
        tokio::spawn(async move { server.sync_as("a", 1, Some(since), 60_000).await })
    };
    server.until_polls(1).await;
    let newer = {
        let (server, since) = (server.clone(), since.clone());
        tokio::spawn(async move { server.sync_as("a", 2, Some(since), 60_000).await })
    };
    let begun = tokio::time::Instant::now();
    assert_eq!(
        older.await.unwrap().revision,
        since,
        "must be answered with what it had"
    );
    assert_eq!(begun.elapsed(), Duration::ZERO, "must be answered at once");
    server.until_polls(1).await;
    let late = server.sync_as("a", 1, Some(since.clone()), 60_000).await;
    assert_eq!(
        (late.revision, late.full),
        (since, false),
        "must not take the place of a later relay"
    );
    assert!(!newer.is_finished(), "must leave the later relay's poll open");
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

/// The whole control plane with the manual backend, but for its sockets.
#[derive(Clone)]
struct Server {
    app: App,
}

impl Server {
    async fn start() -> Self {
        Self::new(None).await
    }

    async fn with_token(token: &str) -> Self {
        Self::new(Some(Token::try_new(token).unwrap())).await
    }

    async fn new(token: Option<Token>) -> Self {
        let (heartbeat, forget_after) = (Duration::from_secs(5), Duration::from_secs(600));
        let clock = Clock::start();
        let metrics = Metrics::new();
        let settings = Settings {
            instance: "me".to_owned(),
            started: clock.now(),
            lease: Duration::from_secs(15),
            policy: Policy::default(),
            limits: Limits {
                heartbeat,
                forget_after,
                max: 16,
            },
            sleeps_when_idle: false,
            arrival_jitter: Duration::from_millis(100),
            seed: 1,
        };
        let end = CancellationToken::new();
        let (fleet, actor) = actor::new(settings, clock, metrics.clone(), |_| Manual::default(), end);
        tokio::spawn(actor);
        let specs = ["api", "web"].map(|name| world::mk_spec(name, &format!("{name}.example.com"), ""));
        fleet.configure(specs.into()).await.unwrap();
        fleet.view().wait_for(View::is_complete).await.unwrap();
        let stop = CancellationToken::new();
        Self {
            app: App {
                fleet,
                metrics,
                token,
                heartbeat,
                forget_after,
                manual: true,
                stop,
            },
        }
    }

    async fn call(&self, request: Request<Body>) -> Response {
        router(self.app.clone()).oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.call(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, body: &str) -> Response {
        let request = Request::builder().method(Method::POST).uri(path);
        self.call(request.body(Body::from(body.to_owned())).unwrap())
            .await
    }

    async fn sync(&self, since: Option<Revision>, wait_ms: u64) -> SyncResponse {
        self.sync_as("a", 1, since, wait_ms).await
    }

    async fn sync_as(&self, name: &str, term: u64, since: Option<Revision>, wait_ms: u64) -> SyncResponse {
        let proxy = json!({"id": name, "incarnation": "1", "term": term});
        let asked = json!({"proxy": proxy, "since": since, "wait_ms": wait_ms}).to_string();
        let response = self.post("/v1/sync", &asked).await;
        assert_eq!(response.status(), StatusCode::OK, "must be answered");
        serde_json::from_str(&body(response).await).unwrap()
    }

    async fn report(&self, seq: u64, targets: Value) -> StatusCode {
        let proxy = json!({"id": "reporter", "incarnation": "1", "term": 1, "seq": seq});
        self.post(
            "/v1/report",
            &json!({"proxy": proxy, "targets": targets}).to_string(),
        )
        .await
        .status()
    }

    async fn state(&self, name: &str) -> String {
        let target: Value =
            serde_json::from_str(&body(self.get(&format!("/v1/targets/default/{name}")).await).await)
                .unwrap();
        target["state"].as_str().unwrap().to_owned()
    }

    /// Waits until `count` polls are open, without letting time pass.
    async fn until_polls(&self, count: usize) {
        for _ in 0..1_000 {
            let status = self.app.fleet.status().await.unwrap();
            if status.proxies.iter().filter(|proxy| proxy.polling).count() == count {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("there must be {count} open polls");
    }
}

async fn body(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn check_problem(response: Response, status: u16, kind: &str) -> Problem {
    assert_eq!(response.status().as_u16(), status, "must have its status");
    assert_eq!(
        response.headers()["content-type"],
        Problem::CONTENT_TYPE,
        "must be a problem"
    );
    let problem: Problem = serde_json::from_str(&body(response).await).unwrap();
    assert_eq!(
        (problem.status, problem.kind.as_str()),
        (status, kind),
        "must say what it is"
    );
    problem
}
