//! An API server in memory that scales, refuses, fails and loses answers as told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::super::*;
use crate::observe::ReplicasAt;
use fleet_actor::Clock;

pub(super) const LEASE: Duration = Duration::from_secs(15);

/// What happens to one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenario {
    /// Another manager has set so many since it was read.
    Meanwhile(u32),
    /// It lands, and the answer is lost.
    LandsUnanswered,
    /// It is lost.
    Lost,
    /// There is no answer, and it lands after so many more reads.
    LandsLate(u32),
    /// It is answered with 500, and lands after so many more reads.
    FailsAndLands(u32),
    /// It is answered with 500, and lands after this.
    FailsAndLandsAfter(Duration),
    /// It is answered with this status, and does not land.
    Answer(u16),
    /// The fence closes while it is read, and opens two seconds later.
    FenceCloses,
}

/// One Deployment behind a client.
pub(super) struct Server {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) clock: Clock,
    pub(super) fence: Fence,
}

pub(super) struct State {
    version: u64,
    replicas: u32,
    /// For each write to come; those after the last land.
    plan: VecDeque<Scenario>,
    /// Lands after so many more reads.
    under_way: Option<(u32, String, u32)>,
    /// Lands then.
    lands_at: Option<(Instant, String, u32)>,
    /// What reads take to be answered, after they have been looked up.
    pub(super) reads_take: Duration,
    /// So many more reads are answered with 403.
    pub(super) refused_reads: u32,
    pub(super) log: Vec<&'static str>,
    writes: Vec<(String, u32)>,
    landed: usize,
    pub(super) last_uri: String,
    pub(super) given_up: Vec<Instant>,
}

impl Server {
    pub(super) fn new(replicas: u32, plan: impl IntoIterator<Item = Scenario>) -> Self {
        let clock = Clock::start();
        let fence = Fence::new(clock, LEASE * 10);
        fence.renew(clock.now());
        let state = State {
            version: 100,
            replicas,
            plan: plan.into_iter().collect(),
            under_way: None,
            lands_at: None,
            reads_take: Duration::ZERO,
            refused_reads: 0,
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

    pub(super) fn scaler(&self) -> Scaler {
        let (state, fence, clock) = (Arc::clone(&self.state), self.fence.clone(), self.clock);
        let service = service_fn(move |request: Request<Body>| {
            let (state, fence) = (Arc::clone(&state), fence.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let answer = match head.method {
                    Method::GET => {
                        let (answer, takes) = {
                            let mut state = state.lock().unwrap();
                            (state.read(&fence, clock), state.reads_take)
                        };
                        sleep(takes).await;
                        answer
                    }
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
        Scaler::new(
            client,
            &kind,
            "shop",
            "web",
            self.fence.clone(),
            Metrics::default(),
        )
    }

    pub(super) async fn carry_out(&self, order: Order) -> Done {
        self.scaler().carry_out(order, |_| {}).await
    }

    pub(super) fn writes(&self) -> Vec<(String, u32)> {
        self.state.lock().unwrap().writes.clone()
    }

    pub(super) fn replicas(&self) -> u32 {
        let mut state = self.state.lock().unwrap();
        state.land_what_is_due();
        state.replicas
    }

    /// True if a write may land that has not.
    pub(super) fn is_under_way(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        state.land_what_is_due();
        state.under_way.is_some() || state.lands_at.is_some()
    }

    pub(super) fn landed(&self) -> usize {
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
        if let Some(left) = self.refused_reads.checked_sub(1) {
            self.refused_reads = left;
            return Some(status(403));
        }
        if self.plan.front() == Some(&Scenario::FenceCloses) {
            self.plan.pop_front();
            fence.close();
            let fence = fence.clone();
            tokio::spawn(async move {
                sleep(Duration::from_secs(2)).await;
                fence.renew(clock.now());
            });
        }
        self.land_what_is_due();
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
            Some(Scenario::FailsAndLands(reads)) => {
                self.under_way = Some((reads, version, replicas));
                Some(status(500))
            }
            Some(Scenario::FailsAndLandsAfter(wait)) => {
                self.lands_at = Some((Instant::now() + wait, version, replicas));
                Some(status(500))
            }
            Some(Scenario::Answer(code)) => Some(status(code)),
        }
    }

    fn land_what_is_due(&mut self) {
        if let Some((at, version, replicas)) = self.lands_at.take() {
            if Instant::now() >= at {
                self.land(&version, replicas);
            } else {
                self.lands_at = Some((at, version, replicas));
            }
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
