//! Against an API server made of a few lines, which does what its [`Scenario`] says. What the real one does is tested
//! end to end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::*;
use crate::kubernetes::failure::Kind;
use crate::kubernetes::observe::ReplicasAt;
use crate::time::Clock;

/// What happens to one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    /// Somebody else has set so many since it was read.
    Meanwhile(u32),
    /// It lands, and the answer is lost.
    LandsUnanswered,
    /// It is lost.
    Lost,
    /// There is no answer, and it lands after so many more reads.
    LandsLate(u32),
    /// It is answered with this status, and does not land.
    Answer(u16),
    /// The fence closes while it is read, and opens two seconds later.
    FenceCloses,
}

#[tokio::test(start_paused = true)]
async fn writes_once_with_the_version_read() {
    let server = Server::new(0, []);
    let done = server.carry_out(up(2)).await;
    assert_eq!(done.outcome, Outcome::Written, "must be written");
    assert_eq!(done.scale.replicas, 2, "must have what was wished");
    assert_eq!(
        done.scale.version.as_str(),
        "101",
        "must give the version written"
    );
    assert_eq!(
        done.scale.selector.as_deref(),
        Some("app=web"),
        "must give the selector"
    );
    assert_eq!(
        server.writes(),
        [("100".to_owned(), 2)],
        "must name the version that was read"
    );
    assert_eq!(
        server.carry_out(Order::Down { from: 2 }).await.scale.replicas,
        0,
        "must go down"
    );
    assert_eq!(server.writes().len(), 2, "must write once each");
}

#[tokio::test(start_paused = true)]
async fn a_write_says_who_and_for_how_long() {
    let server = Server::new(0, []);
    server.carry_out(up(1)).await;
    let uri = server.state.lock().unwrap().last_uri.clone();
    let path = "/apis/apps/v1/namespaces/shop/deployments/web/scale?";
    assert_eq!(
        uri,
        format!("{path}&fieldManager=holdfast&timeout=10000ms"),
        "must say so"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_there_stands() {
    for (there, order, outcome) in [
        (5, up(1), Outcome::Already),
        (0, Order::Down { from: 3 }, Outcome::Already),
        (5, Order::Down { from: 3 }, Outcome::Abandoned),
    ] {
        let server = Server::new(there, []);
        let done = server.carry_out(order).await;
        assert_eq!(
            (done.outcome, done.scale.replicas),
            (outcome, there),
            "must leave {there} at {order}"
        );
        assert!(server.writes().is_empty(), "must not write");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_conflict_it_is_read_again() {
    for (order, start, meanwhile, outcome, end, writes) in [
        // Only another field has changed.
        (up(1), 0, 0, Outcome::Written, 1, 2),
        (up(1), 0, 5, Outcome::Already, 5, 1),
        (Order::Down { from: 3 }, 3, 3, Outcome::Written, 0, 2),
        (Order::Down { from: 3 }, 3, 5, Outcome::Abandoned, 5, 1),
        (Order::Down { from: 3 }, 3, 0, Outcome::Already, 0, 1),
    ] {
        let server = Server::new(start, [Scenario::Meanwhile(meanwhile)]);
        let done = server.carry_out(order).await;
        assert_eq!(
            (done.outcome, done.scale.replicas),
            (outcome, end),
            "must end so: {order}, {meanwhile}"
        );
        assert_eq!(
            server.writes().len(),
            writes,
            "must try no more: {order}, {meanwhile}"
        );
        assert_eq!(server.replicas(), end, "must leave so many: {order}, {meanwhile}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_landed_unanswered_is_not_repeated() {
    for (order, start) in [(up(2), 0), (Order::Down { from: 2 }, 2)] {
        let server = Server::new(start, [Scenario::LandsUnanswered]);
        let done = server.carry_out(order).await;
        assert_eq!(done.outcome, Outcome::Written, "must know it for ours");
        assert_eq!(server.writes().len(), 1, "must not write again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_lost_is_repeated_after_a_read() {
    for scenario in [
        Scenario::Lost,
        Scenario::Answer(500),
        Scenario::Answer(503),
        Scenario::Answer(429),
    ] {
        let server = Server::new(0, [scenario]);
        let done = server.carry_out(up(2)).await;
        assert_eq!(
            done.outcome,
            Outcome::Written,
            "must be written in the end: {scenario:?}"
        );
        let log = server.state.lock().unwrap().log.clone();
        assert_eq!(
            log,
            ["GET", "PUT", "GET", "PUT"],
            "must read before it writes again: {scenario:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_lands_late_is_not_repeated_in_vain() {
    let server = Server::new(0, [Scenario::LandsLate(1)]);
    let done = server.carry_out(up(2)).await;
    assert_eq!(done.scale.replicas, 2, "must end with what was wished");
    assert_eq!(server.landed(), 1, "must not land twice");
}

#[tokio::test(start_paused = true)]
async fn an_order_that_undoes_one_in_doubt_waits_for_it() {
    // Down to zero is sent and forgotten; before it lands, it is to be up again.
    let server = Server::new(3, [Scenario::LandsLate(3)]);
    let mut scaler = server.scaler();
    let down = scaler.carry_out(Order::Down { from: 3 }, |_| {});
    assert!(
        timeout(Duration::from_secs(1), down).await.is_err(),
        "must be under way"
    );
    let done = scaler.carry_out(up(1), |_| {}).await;
    assert_eq!(
        done.scale.replicas, 1,
        "must not take the 3 for final that are about to go"
    );
    assert_eq!(server.replicas(), 1, "must be up in the end");
}

#[tokio::test(start_paused = true)]
async fn a_doubt_ends_when_the_write_can_land_no_more() {
    let server = Server::new(3, [Scenario::Lost]);
    let mut scaler = server.scaler();
    let down = scaler.carry_out(Order::Down { from: 3 }, |_| {});
    assert!(
        timeout(Duration::from_secs(1), down).await.is_err(),
        "must be under way"
    );
    let begun = Instant::now();
    let done = scaler.carry_out(up(1), |_| {}).await;
    assert_eq!(
        (done.outcome, done.scale.replicas),
        (Outcome::Already, 3),
        "must stand"
    );
    let took = begun.elapsed();
    assert!(
        took > Duration::from_secs(9),
        "must not be sure before, took {took:?}"
    );
    assert!(
        took < Duration::from_secs(12),
        "must not wait for ever, took {took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_and_tried_again() {
    for (status, kind) in [
        (403, Kind::Refused),
        (404, Kind::WorkloadNotFound),
        (405, Kind::KindNotScalable),
        (422, Kind::Refused),
    ] {
        let server = Server::new(0, [Scenario::Answer(status); 2]);
        let told = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&told);
        let begun = Instant::now();
        let mut scaler = server.scaler();
        scaler
            .carry_out(up(1), |failure| {
                ear.lock().unwrap().push(failure.map(|failure| failure.kind))
            })
            .await;
        let told = told.lock().unwrap().clone();
        assert_eq!(
            told,
            [Some(kind), None],
            "must tell once that it cannot, and that it can: {status}"
        );
        assert!(
            begun.elapsed() >= Duration::from_secs(8),
            "must try again slowly: {status}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_now_and_then_is_not_told() {
    let server = Server::new(
        0,
        [
            Scenario::Answer(503),
            Scenario::Lost,
            Scenario::Answer(504),
            Scenario::Lost,
        ],
    );
    let mut scaler = server.scaler();
    scaler
        .carry_out(up(1), |failure| panic!("must not tell {failure:?}"))
        .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_behind_a_closed_fence() {
    let server = Server::new(0, [Scenario::FenceCloses]);
    let begun = Instant::now();
    let done = server.carry_out(up(1)).await;
    assert_eq!(done.outcome, Outcome::Written, "must be written when it opens");
    assert!(
        begun.elapsed() >= Duration::from_secs(2),
        "must not be written before"
    );
    assert_eq!(server.writes().len(), 1, "must be written once");
}

#[tokio::test(start_paused = true)]
async fn a_write_ends_before_the_lease_does() {
    let mut server = Server::new(0, [Scenario::Lost; 100]);
    server.fence = Fence::new(server.clock, LEASE);
    server.fence.renew(server.clock.now());
    let end = server.clock.now() + LEASE;
    let mut scaler = server.scaler();
    let order = scaler.carry_out(up(1), |_| {});
    assert!(timeout(LEASE, order).await.is_err(), "must go on trying");
    let state = server.state.lock().unwrap();
    assert!(!state.given_up.is_empty(), "must have tried");
    for at in &state.given_up {
        assert!(
            *at < server.clock.instant(end),
            "must have given up before the lease ended"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn reads_without_writing() {
    let server = Server::new(0, []);
    let scale = server.scaler().read().await.unwrap();
    assert_eq!(scale.replicas, 0, "must take what is left out for zero");
    assert_eq!(scale.version.as_str(), "100", "must give the version");
}

const LEASE: Duration = Duration::from_secs(15);

fn up(want: u32) -> Order {
    Order::Up(NonZeroU32::new(want).unwrap())
}

/// One Deployment behind a client.
struct Server {
    state: Arc<Mutex<State>>,
    clock: Clock,
    fence: Fence,
}

struct State {
    version: u64,
    replicas: u32,
    /// For each write to come; those after the last land.
    plan: VecDeque<Scenario>,
    /// Lands after so many more reads.
    under_way: Option<(u32, String, u32)>,
    log: Vec<&'static str>,
    writes: Vec<(String, u32)>,
    landed: usize,
    last_uri: String,
    given_up: Vec<Instant>,
}

impl Server {
    fn new(replicas: u32, plan: impl IntoIterator<Item = Scenario>) -> Self {
        let clock = Clock::start();
        let fence = Fence::new(clock, LEASE * 10);
        fence.renew(clock.now());
        let state = State {
            version: 100,
            replicas,
            plan: plan.into_iter().collect(),
            under_way: None,
            log: Vec::new(),
            writes: Vec::new(),
            landed: 0,
            last_uri: String::new(),
            given_up: Vec::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            clock,
            fence,
        }
    }

    fn scaler(&self) -> Scaler {
        let (state, fence, clock) = (Arc::clone(&self.state), self.fence.clone(), self.clock);
        let service = service_fn(move |request: Request<Body>| {
            let (state, fence) = (Arc::clone(&state), fence.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let answer = match head.method {
                    Method::GET => state.lock().unwrap().read(&fence, clock),
                    Method::PUT => state.lock().unwrap().write(&head.uri.to_string(), &body),
                    other => panic!("must not {other}"),
                };
                let Some((status, body)) = answer else {
                    let _dropped = OnDrop(state);
                    return std::future::pending().await;
                };
                let body = Full::new(Bytes::from(body.to_string()));
                Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        let resource = kube::core::ApiResource {
            group: "apps".into(),
            version: "v1".into(),
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            plural: "deployments".into(),
        };
        let kind = Scalable {
            resource,
            replicas_at: ReplicasAt::Spec,
        };
        let client = Client::new(service, "default");
        Scaler::new(client, &kind, "shop", "web", self.fence.clone(), Metrics::new())
    }

    async fn carry_out(&self, order: Order) -> Done {
        self.scaler().carry_out(order, |_| {}).await
    }

    fn writes(&self) -> Vec<(String, u32)> {
        self.state.lock().unwrap().writes.clone()
    }

    fn replicas(&self) -> u32 {
        self.state.lock().unwrap().replicas
    }

    fn landed(&self) -> usize {
        self.state.lock().unwrap().landed
    }
}

/// Notes when the caller gives up.
struct OnDrop(Arc<Mutex<State>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.lock().unwrap().given_up.push(Instant::now());
    }
}

type Answer = Option<(u16, Value)>;

impl State {
    fn read(&mut self, fence: &Fence, clock: Clock) -> Answer {
        self.log.push("GET");
        if self.plan.front() == Some(&Scenario::FenceCloses) {
            self.plan.pop_front();
            fence.close();
            let fence = fence.clone();
            tokio::spawn(async move {
                sleep(Duration::from_secs(2)).await;
                fence.renew(clock.now());
            });
        }
        match self.under_way.take() {
            Some((0, version, replicas)) => drop(self.land(&version, replicas)),
            Some((reads, version, replicas)) => self.under_way = Some((reads - 1, version, replicas)),
            None => {}
        }
        Some((200, self.scale()))
    }

    fn write(&mut self, uri: &str, body: &Bytes) -> Answer {
        let body: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(
            body["metadata"]["uid"], "u1",
            "must write to the object that was read"
        );
        let version = body["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let replicas = u32::try_from(body["spec"]["replicas"].as_u64().unwrap()).unwrap();
        self.log.push("PUT");
        self.last_uri = uri.to_owned();
        self.writes.push((version.clone(), replicas));
        match self.plan.pop_front() {
            None | Some(Scenario::FenceCloses) => self.land(&version, replicas),
            Some(Scenario::Meanwhile(others)) => {
                self.version += 1;
                self.replicas = others;
                self.land(&version, replicas)
            }
            Some(Scenario::LandsUnanswered) => {
                self.land(&version, replicas);
                None
            }
            Some(Scenario::Lost) => None,
            Some(Scenario::LandsLate(reads)) => {
                self.under_way = Some((reads, version, replicas));
                None
            }
            Some(Scenario::Answer(code)) => Some(status(code)),
        }
    }

    fn land(&mut self, version: &str, replicas: u32) -> Answer {
        if version != self.version.to_string() {
            return Some(status(409));
        }
        self.version += 1;
        self.replicas = replicas;
        self.landed += 1;
        Some((200, self.scale()))
    }

    fn scale(&self) -> Value {
        let spec = match self.replicas {
            0 => json!({}),
            n => json!({ "replicas": n }),
        };
        json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "resourceVersion": self.version.to_string()},
            "spec": spec, "status": {"replicas": 0, "selector": "app=web"},
        })
    }
}

fn status(code: u16) -> (u16, Value) {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "message": "no", "reason": "No",
        "details": {"name": "web", "kind": "deployments"},
    });
    (code, status)
}
