//! The writer between a fleet and an API server in memory: what makes it write, and that nothing else does.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::service_fn;

use super::super::{Shown, Writer};
use crate::metrics::Metrics;
use crate::watches::WatchEvent;
use fleet::testing::{id, mk_settings, mk_spec};
use fleet::{Condition, Configured};
use fleet_actor::manual::Manual;
use fleet_actor::{Clock, Fence, FleetHandle};

const LEASE: Duration = Duration::from_secs(15);

#[tokio::test(start_paused = true)]
async fn writes_what_changes_and_makes_no_request_while_nothing_does() {
    let play = Play::start(["web", "api"]).await;
    play.passes(1).await;
    assert_eq!(play.take(), 2, "must write what is not there");
    play.passes(3600).await;
    assert_eq!(play.take(), 0, "must ask for nothing");
    play.fleet.wake(id("web")).await.unwrap().unwrap();
    play.passes(1).await;
    assert_eq!(play.state("web"), "Ready", "must be told");
    assert_eq!(play.take(), 1, "must be told at once, and no other");
}

#[tokio::test(start_paused = true)]
async fn a_leadership_begins_with_what_is_not_there_and_writes_nothing_that_is() {
    let play = Play::new();
    play.fill(["web", "api"]).await;
    play.passes(1).await;
    play.lead();
    play.passes(1).await;
    assert_eq!(play.take(), 2, "must write though nothing changes any more");
    play.lead();
    play.passes(60).await;
    assert_eq!(play.take(), 0, "must find all of it there");
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_misses_changes_looks_at_all() {
    let names: Vec<_> = (0..1_500).map(|n| format!("t{n:04}")).collect();
    let play = Play::start(names.iter().map(String::as_str)).await;
    play.passes(60).await;
    assert_eq!(play.states(), [("Asleep".to_owned(), 1_500)].into());
    for name in &names {
        play.fleet.wake(id(name)).await.unwrap().unwrap();
    }
    play.passes(60).await;
    assert_eq!(
        play.states(),
        [("Ready".to_owned(), 1_500)].into(),
        "must have left out none"
    );
}

#[tokio::test(start_paused = true)]
async fn while_the_lease_ends_nothing_is_written_and_all_of_it_once_it_is_renewed() {
    let play = Play::start(["web"]).await;
    play.passes(1).await;
    play.take();
    play.fence.close();
    play.fleet.wake(id("web")).await.unwrap().unwrap();
    play.passes(60).await;
    assert_eq!(play.take(), 0, "must not write what another may lead");
    play.renew();
    play.passes(1).await;
    assert_eq!((play.take(), play.state("web").as_str()), (1, "Ready"));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_fails_is_tried_less_and_less_and_told_what_is_true_then() {
    let play = Play::start(["web"]).await;
    play.passes(1).await;
    play.take();
    play.api.lock().unwrap().fails = true;
    for n in 0..80 {
        play.tells("web", &format!("host {n}")).await;
        play.passes(1).await;
    }
    let tried = play.take();
    assert_eq!(tried, 7, "must wait longer each time, whatever changes meanwhile");
    play.api.lock().unwrap().fails = false;
    play.passes(60).await;
    assert_eq!(play.take(), 1, "must be written in the end");
    let told = play.api.lock().unwrap().objects["web"]["status"]["conditions"].to_string();
    assert!(told.contains("host 79"), "must be the newest: {told}");
}

/// What the API server has, and what it was asked.
#[derive(Default)]
struct Api {
    objects: BTreeMap<String, Value>,
    requests: usize,
    version: u64,
    fails: bool,
}

impl Api {
    /// A write of a status. Anything else is a bug.
    fn answer(&mut self, path: &str, patch: &Value, shown: &Shown) -> Result<Value, u16> {
        self.requests += 1;
        if self.fails {
            return Err(500);
        }
        let rest = path.strip_prefix("/apis/holdfast.dev/v1alpha1/namespaces/default/scaletargets/");
        let (name, _) = rest.and_then(|rest| rest.split_once("/status?")).unwrap();
        self.version += 1;
        let object = self.objects.get_mut(name).unwrap();
        object["status"] = patch["status"].clone();
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        shown.take(&WatchEvent::Apply(
            serde_json::from_value(object.clone()).unwrap(),
        ));
        Ok(object.clone())
    }
}

struct Play {
    api: Arc<Mutex<Api>>,
    shown: Shown,
    fleet: FleetHandle,
    fence: Fence,
    clock: Clock,
}

impl Play {
    /// With a writer that is there before the targets are.
    async fn start(names: impl IntoIterator<Item = &str>) -> Self {
        let play = Self::new();
        play.lead();
        tokio::task::yield_now().await;
        play.fill(names).await;
        play
    }

    fn new() -> Self {
        let clock = Clock::start();
        let (fleet, actor) = fleet_actor::new(
            mk_settings(),
            clock,
            fleet_actor::Metrics::default(),
            |_| Manual::default(),
            CancellationToken::new(),
        );
        tokio::spawn(actor);
        let play = Self {
            api: Arc::default(),
            shown: Shown::default(),
            fleet,
            fence: Fence::new(clock, LEASE),
            clock,
        };
        play.renew();
        play
    }

    /// All at once, so that a writer that is not scheduled before misses some.
    async fn fill(&self, names: impl IntoIterator<Item = &str>) {
        let names: Vec<_> = names.into_iter().collect();
        for name in &names {
            let object = mk_object(name);
            self.shown.take(&WatchEvent::Apply(
                serde_json::from_value(object.clone()).unwrap(),
            ));
            self.api
                .lock()
                .unwrap()
                .objects
                .insert((*name).to_owned(), object);
        }
        let specs = names.iter().map(|name| mk_spec(name, name, "").into());
        self.fleet.configure(specs.collect()).await.unwrap();
    }

    /// Starts a writer.
    fn lead(&self) {
        let (api, seen) = (Arc::clone(&self.api), self.shown.clone());
        let service = service_fn(move |request: Request<Body>| {
            let (api, seen) = (Arc::clone(&api), seen.clone());
            async move {
                let (head, body) = request.into_parts();
                let patch = body.collect().await.unwrap().to_bytes();
                let patch = serde_json::from_slice(&patch).unwrap();
                let answer = api.lock().unwrap().answer(&head.uri.to_string(), &patch, &seen);
                let (status, body) = match answer {
                    Ok(object) => (200, object),
                    Err(status) => (status, json!({"kind": "Status", "code": status})),
                };
                let body = Full::new(Bytes::from(body.to_string()));
                Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        let writer = Writer {
            client: Client::new(service, "default"),
            fence: self.fence.clone(),
            fleet: self.fleet.clone(),
            shown: self.shown.clone(),
            clock: self.clock,
            metrics: Metrics::default(),
        };
        tokio::spawn(writer.run());
    }

    /// Gives the target a condition.
    async fn tells(&self, name: &str, message: &str) {
        let told = Configured {
            conditions: vec![Condition {
                kind: "AmbiguousHost",
                message: message.to_owned().into(),
            }],
            ..mk_spec(name, name, "").into()
        };
        self.fleet.configure(vec![told]).await.unwrap();
    }

    /// Lets seconds pass, while the lease is renewed as often as it must be.
    async fn passes(&self, seconds: u64) {
        let led = self.fence.left().is_some();
        for _ in 0..seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if led {
                self.renew();
            }
        }
    }

    fn renew(&self) {
        self.fence.renew(self.clock.now());
    }

    /// How many requests there were since the last call.
    fn take(&self) -> usize {
        std::mem::take(&mut self.api.lock().unwrap().requests)
    }

    fn state(&self, name: &str) -> String {
        let state = &self.api.lock().unwrap().objects[name]["status"]["state"];
        state.as_str().unwrap().to_owned()
    }

    /// How many are in which state.
    fn states(&self) -> BTreeMap<String, usize> {
        let names: Vec<_> = self.api.lock().unwrap().objects.keys().cloned().collect();
        let mut states = BTreeMap::new();
        for name in names {
            *states.entry(self.state(&name)).or_default() += 1;
        }
        states
    }
}

fn mk_object(name: &str) -> Value {
    json!({
        "apiVersion": "holdfast.dev/v1alpha1",
        "kind": "ScaleTarget",
        "metadata": {"namespace": "default", "name": name, "uid": name, "resourceVersion": "1", "generation": 1},
        "spec": {
            "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "service": {"name": name},
        },
    })
}
