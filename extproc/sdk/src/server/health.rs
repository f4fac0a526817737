//! gRPC health (`grpc.health.v1.Health`), Check and Watch: SERVING only while the server listens and is not told to stop.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health as Service, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::wire::SERVICE;

/// What a server says of its health, under the names `""` and `envoy.service.ext_proc.v3.ExternalProcessor`. Clones are one: keep
/// one to set it from code.
///
/// SERVING needs three things: the server listens, no stop was asked for, and the program has not said otherwise here. Watches end
/// when the server stops, after they have said NOT_SERVING.
#[derive(Clone, Debug)]
pub struct Health {
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    says: Says,
    listens: bool,
    stops: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Serving,
    NotServing,
    Failed,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Serving, as soon as a server with it listens.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            says: Says::Serving,
            listens: false,
            stops: false,
        };
        Self {
            state: Arc::new(watch::Sender::new(state)),
        }
    }

    /// The program is ready. Changes nothing after [`failed`](Self::failed).
    pub fn serving(&self) {
        self.say(Says::Serving);
    }

    /// The program is not ready: at its start (before the server is served), or while something that it needs is away.
    pub fn not_serving(&self) {
        self.say(Says::NotServing);
    }

    /// The program has failed for good: not serving, whatever is said later.
    pub fn failed(&self) {
        self.say(Says::Failed);
    }

    /// What Check answers at present.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.state.borrow().is_serving()
    }

    fn say(&self, says: Says) {
        self.state.send_if_modified(|state| {
            let changes = state.says != Says::Failed && state.says != says;
            if changes {
                state.says = says;
            }
            changes
        });
    }

    pub(super) fn listens(&self, listens: bool) {
        self.state.send_modify(|state| state.listens = listens);
    }

    pub(super) fn stops(&self) {
        self.state.send_modify(|state| state.stops = true);
    }

    pub(super) fn service(&self) -> HealthServer<impl Service> {
        HealthServer::new(Checks(self.state.subscribe()))
    }
}

impl State {
    fn is_serving(self) -> bool {
        self.says == Says::Serving && self.listens && !self.stops
    }

    fn status(self, known: bool) -> ServingStatus {
        match (known, self.is_serving()) {
            (false, _) => ServingStatus::ServiceUnknown,
            (true, true) => ServingStatus::Serving,
            (true, false) => ServingStatus::NotServing,
        }
    }
}

fn is_known(request: &Request<HealthCheckRequest>) -> bool {
    let name = &request.get_ref().service;
    name.is_empty() || name == SERVICE
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

struct Checks(watch::Receiver<State>);

#[tonic::async_trait]
impl Service for Checks {
    type WatchStream = Watch;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !is_known(&request) {
            return Err(Status::not_found("no service of this name"));
        }
        Ok(Response::new(response(self.0.borrow().status(true))))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watch>, Status> {
        Ok(Response::new(Watch {
            state: Some(self.0.clone()),
            known: is_known(&request),
            said: None,
            changed: None,
        }))
    }
}

type Changed = Pin<Box<dyn Future<Output = Option<watch::Receiver<State>>> + Send>>;

/// The statuses of a Watch: the present one, and every change until the server stops.
struct Watch {
    /// None while a change is waited for, and when nothing more comes.
    state: Option<watch::Receiver<State>>,
    known: bool,
    said: Option<ServingStatus>,
    changed: Option<Changed>,
}

impl Stream for Watch {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(mut receiver) = self.state.take() {
                let state = *receiver.borrow_and_update();
                let status = state.status(self.known);
                if !state.stops {
                    self.changed = Some(Box::pin(async move {
                        let changed = receiver.changed().await;
                        changed.ok().map(|()| receiver)
                    }));
                }
                if self.said != Some(status) {
                    self.said = Some(status);
                    return Poll::Ready(Some(Ok(response(status))));
                }
            }
            let Some(changed) = &mut self.changed else {
                return Poll::Ready(None);
            };
            match changed.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(state) => {
                    self.changed = None;
                    self.state = state;
                }
            }
        }
    }
}
