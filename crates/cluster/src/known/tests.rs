//! Against an API server of a few lines, which holds one ConfigMap.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use kube::client::Body;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::service_fn;

use super::*;
use fleet::testing;
use fleet_actor::Clock;
use fleet_actor::manual::Manual;

#[tokio::test(start_paused = true)]
async fn what_is_written_is_read_by_the_next() {
    let server = Server::default();
    let first = server.leader();
    assert_eq!(
        first.store.read().await,
        Ok(None),
        "must know that nothing was written"
    );
    for text in ["one", "two"] {
        assert_eq!(
            first.store.write(text.to_owned()).await,
            Ok(()),
            "must be written"
        );
    }
    let second = server.leader();
    assert_eq!(
        second.store.read().await,
        Ok(Some("two".to_owned())),
        "must be read"
    );
    assert_eq!(
        second.store.write("three".to_owned()).await,
        Ok(()),
        "must be replaced"
    );
    assert_eq!(
        server.log(),
        ["GET", "POST", "PUT 1", "GET", "PUT 2"],
        "must name what it replaces"
    );
}

#[tokio::test(start_paused = true)]
async fn whom_a_former_leader_wrote_down_late_is_waited_for() {
    let server = Server::default();
    let (former, next) = (server.leader(), server.leader());
    former.store.write(record("edge-1")).await.unwrap();
    next.store.read().await.unwrap();
    former.store.write(record("edge-2")).await.unwrap();
    next.store
        .write(record("edge-1"))
        .await
        .expect_err("must not overwrite what it has not seen");
    let known = next.fleet.known().await.unwrap();
    assert!(
        known.proxies.iter().any(|key| key.id == "edge-2"),
        "must wait for it: {known:?}"
    );
    assert_eq!(
        next.store.write(known.encode(1 << 20)).await,
        Ok(()),
        "must write then"
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_that_landed_unanswered_is_written() {
    let server = Server::default();
    let leader = server.leader();
    leader.store.read().await.unwrap();
    server.lock().loses_answer = true;
    assert_eq!(
        leader.store.write(record("edge-1")).await,
        Ok(()),
        "must see that it is there"
    );
    server.lock().fails = 500;
    leader
        .store
        .write(record("edge-2"))
        .await
        .expect_err("must say that it failed");
    server.lock().fails = 0;
    assert_eq!(
        leader.store.write(record("edge-2")).await,
        Ok(()),
        "must be written then"
    );
    let known = leader.fleet.known().await.unwrap();
    assert_eq!(
        known,
        Known::default(),
        "must not take its own word for another leader's"
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_was_deleted_by_hand_is_made_anew() {
    let server = Server::default();
    let leader = server.leader();
    leader.store.write("one".to_owned()).await.unwrap();
    server.lock().stored = None;
    leader
        .store
        .write("two".to_owned())
        .await
        .expect_err("must find out");
    assert_eq!(
        leader.store.write("two".to_owned()).await,
        Ok(()),
        "must be made anew"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_behind_a_closed_fence() {
    let server = Server::default();
    let leader = server.leader();
    leader.fence.close();
    leader
        .store
        .write("one".to_owned())
        .await
        .expect_err("must not write");
    assert!(server.log().is_empty(), "must not ask");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_says_why() {
    let server = Server::default();
    let leader = server.leader();
    server.lock().fails = 403;
    let why = leader.store.read().await.unwrap_err();
    assert!(
        why.contains("it takes get, create and update on configmaps"),
        "must say what it takes: {why}"
    );
    assert_eq!(server.log(), ["GET"], "must not ask again what is refused");
    server.lock().fails = 500;
    leader.store.read().await.expect_err("must say that it cannot");
    assert_eq!(server.log().len(), 1 + 3, "must ask again, and not for ever");
    server.lock().fails = 0;
    server.lock().stored = Some((1, json!({"other": "x"})));
    let why = leader.store.read().await.unwrap_err();
    assert!(why.contains("no key"), "must say what is missing: {why}");
}

fn record(proxy: &str) -> String {
    json!({"format": 1, "proxies": [[proxy, "a1"]], "others": 0}).to_string()
}

/// A replica that leads, or believes to.
struct Leader {
    store: KnownProxies,
    fleet: FleetHandle,
    fence: Fence,
}

/// The API server.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Version and data.
    stored: Option<(u64, Value)>,
    log: Vec<String>,
    /// Answers with this status, if it is not 0.
    fails: u16,
    /// Does what it is asked to, once, and answers with 500.
    loses_answer: bool,
}

impl Server {
    fn leader(&self) -> Leader {
        let clock = Clock::start();
        let fence = Fence::new(clock, Duration::from_secs(600));
        fence.renew(clock.now());
        let (fleet, actor) = fleet_actor::new(
            testing::mk_settings(),
            clock,
            fleet_actor::Metrics::default(),
            |_| Manual::default(),
            CancellationToken::new(),
        );
        tokio::spawn(actor);
        let server = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let (status, body) = server.lock().answer(&head.method, &body);
                let body = Full::new(Bytes::from(body.to_string()));
                Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        let lease = ("holdfast-system".to_owned(), "lease".to_owned());
        let client = Client::new(service, "default");
        Leader {
            store: KnownProxies::new(client, lease, fence.clone(), fleet.clone()),
            fleet,
            fence,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn log(&self) -> Vec<String> {
        self.lock().log.clone()
    }
}

impl State {
    fn answer(&mut self, method: &Method, body: &Bytes) -> (u16, Value) {
        let named: Value = serde_json::from_slice(body).unwrap_or_default();
        let version = named["metadata"]["resourceVersion"]
            .as_str()
            .map(|text| text.parse::<u64>().unwrap());
        self.log.push(match version {
            Some(version) => format!("{method} {version}"),
            None => method.to_string(),
        });
        if self.fails != 0 {
            return status(self.fails);
        }
        let is_there = self.stored.as_ref().map(|(version, _)| *version);
        match (method, is_there) {
            (&Method::GET, None) | (&Method::PUT, None) => return status(404),
            (&Method::POST, Some(_)) => return status(409),
            (&Method::PUT, there) if there != version => return status(409),
            (&Method::POST | &Method::PUT, _) => {
                self.stored = Some((is_there.unwrap_or(0) + 1, named["data"].clone()));
                if std::mem::take(&mut self.loses_answer) {
                    return status(500);
                }
            }
            _ => {}
        }
        let (version, data) = self.stored.as_ref().unwrap();
        let metadata = json!({"name": "lease-proxies", "namespace": "holdfast-system", "resourceVersion": version.to_string()});
        (
            200,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}),
        )
    }
}

fn status(code: u16) -> (u16, Value) {
    let reason = if code == 404 { "NotFound" } else { "No" };
    let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "message": "no", "reason": reason});
    (code, status)
}
