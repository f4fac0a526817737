//! The routes, without sockets and with a paused clock.

mod connections;
mod polls;
mod routes;
mod standby;
mod strangers;
mod web;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt;
use protocol::{Problem, Revision, SyncResponse};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::answers::Answers;
use super::auth::{Token, Tokens};
use super::*;
use fleet::lifecycle::Policy;
use fleet::proxies::Limits;
use fleet::view::View;
use fleet::{Counts, Settings, testing};
use fleet_actor::active::ActiveFleet;
use fleet_actor::manual::Manual;
use fleet_actor::{Clock, FleetHandle};

/// The whole control plane with the manual backend, but for its sockets.
#[derive(Clone)]
struct Server {
    app: App,
    fleet: FleetHandle,
    active: Arc<ActiveFleet>,
}

impl Server {
    async fn start() -> Self {
        Self::new(Tokens::default()).await
    }

    async fn with_token(token: &str) -> Self {
        Self::new(Tokens {
            all: vec![Token::try_new(token).unwrap()],
            ..Tokens::default()
        })
        .await
    }

    async fn new(tokens: Tokens) -> Self {
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
            workloads_end_with_us: true,
        };
        let end = CancellationToken::new();
        let (fleet, actor) =
            fleet_actor::new(settings, clock, metrics.fleet.clone(), |_| Manual::default(), end);
        tokio::spawn(actor);
        let specs =
            ["api", "web"].map(|name| testing::mk_spec(name, &format!("{name}.example.com"), "").into());
        fleet.configure(specs.into()).await.unwrap();
        fleet.view().wait_for(View::is_complete).await.unwrap();
        let stop = CancellationToken::new();
        let (active, handle) = ActiveFleet::new();
        active.take(fleet.clone(), None);
        Self {
            active: Arc::new(active),
            fleet,
            app: App {
                handle,
                metrics,
                keys: Keyring::new(tokens),
                knows_callers: false,
                probes_apart: false,
                refusals: Refusals::default(),
                heartbeat,
                forget_after,
                manual: true,
                answers: Answers::default(),
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
        let request = request.header("content-type", "application/json");
        self.call(request.body(Body::from(body.to_owned())).unwrap())
            .await
    }

    async fn sync(&self, since: Option<Revision>, wait_ms: u64) -> SyncResponse {
        self.sync_as("a", 1, since, wait_ms).await
    }

    async fn sync_as(&self, name: &str, term: u64, since: Option<Revision>, wait_ms: u64) -> SyncResponse {
        let response = self.try_sync(name, term, since, wait_ms).await;
        assert_eq!(response.status(), StatusCode::OK, "must be answered");
        serde_json::from_str(&body(response).await).unwrap()
    }

    async fn try_sync(&self, name: &str, term: u64, since: Option<Revision>, wait_ms: u64) -> Response {
        let proxy = json!({"id": name, "incarnation": "1", "term": term});
        let asked = json!({"proxy": proxy, "since": since, "wait_ms": wait_ms}).to_string();
        self.post("/v1/sync", &asked).await
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

    /// Waits until that is counted, without letting time pass.
    async fn until_counted(&self, holds: impl Fn(&Counts) -> bool) {
        for _ in 0..1_000 {
            if holds(&self.fleet.counts()) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("must be counted: {:?}", self.fleet.counts());
    }

    /// Polls that are open.
    async fn polling(&self) -> usize {
        let status = self.fleet.status().await.unwrap();
        status.proxies.iter().filter(|proxy| proxy.polling).count()
    }

    /// Waits until `count` polls are open, without letting time pass.
    async fn until_polls(&self, count: usize) {
        for _ in 0..1_000 {
            if self.polling().await == count {
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
