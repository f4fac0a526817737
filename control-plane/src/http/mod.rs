//! The HTTP surface: long polls, reports, what people ask, and the routes of an older interface.
//!
//! Handlers read the view or ask the fleet; none decides anything.

pub mod answers;
pub mod auth;
mod guard;
mod legacy;
mod problem;
pub mod refusals;
mod report;
pub mod server;
mod slow;
mod standby;
mod sync;
mod targets;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use auth::{Keyring, Part};
use fleet_actor::active::ActiveFleetHandle;
use problem::{Error, Kind};
use refusals::Refusals;

/// Largest body taken, in bytes. A report of the most targets with long names fits.
pub const MAX_BODY: usize = 2 << 20;
/// Longest wait of one poll, whatever the proxy asks for.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct App {
    /// Which fleet answers.
    pub handle: ActiveFleetHandle,
    /// What is counted.
    pub metrics: Metrics,
    /// Tokens asked of every call but health and metrics, if there are any.
    pub keys: Keyring,
    /// Callers have shown a certificate before they can call.
    pub knows_callers: bool,
    /// Probes and metrics have a listener of their own, and no place on this one.
    pub probes_apart: bool,
    /// Callers that were turned away.
    pub refusals: Refusals,
    /// Told to the proxies.
    pub heartbeat: Duration,
    /// Told to the proxies.
    pub forget_after: Duration,
    /// With the manual backend there is one route more.
    pub manual: bool,
    /// Answers to polls that are made already.
    pub answers: answers::Answers,
    /// Cancelled when the control plane shuts down: polls are answered.
    pub stop: CancellationToken,
}

impl App {
    /// True if callers must show a token or a certificate.
    fn asks_who(&self) -> bool {
        self.knows_callers || !self.keys.tokens().is_empty()
    }
}

/// All routes; those of [`probes`] only where they have no listener of their own.
pub fn router(app: App) -> Router {
    // Every layer clones it for every request, and the metrics are many.
    let app = Arc::new(app);
    let lock = |part| middleware::from_fn_with_state((app.clone(), part), auth::check);
    let proxies = Router::new()
        .route(protocol::SYNC_PATH, post(sync::sync))
        .route(protocol::REPORT_PATH, post(report::report))
        .route_layer(lock(Part::Proxy));
    let mut people = Router::new()
        .route("/v1/targets", get(targets::all))
        .route("/v1/targets/{namespace}/{name}", get(targets::one))
        .route("/v1/targets/{namespace}/{name}/wake", post(targets::wake))
        .route("/v1/targets/{namespace}/{name}/sleep", post(targets::sleep))
        .route("/v1/proxies", get(targets::proxies))
        .route("/", get(legacy::held_hosts))
        .route("/poke-scale-up", post(legacy::poke));
    if app.manual {
        people = people.route("/set-scaled-to-zero", post(legacy::toggle));
    }
    let guarded = proxies
        .merge(people.route_layer(lock(Part::Operator)))
        .method_not_allowed_fallback(async || Error::from(Kind::MethodNotAllowed))
        .fallback(async || Error::from(Kind::NoRoute))
        .layer(middleware::from_fn(slow::bound))
        .layer(middleware::from_fn_with_state(app.clone(), guard::check))
        .layer(middleware::from_fn_with_state(app.clone(), standby::check));
    let open = if app.probes_apart { Router::new() } else { open() };
    finished(open.merge(guarded)).with_state(app)
}

/// Health, readiness and metrics, which need no token.
pub fn probes(app: App) -> Router {
    finished(open().fallback(async || Error::from(Kind::NoRoute))).with_state(Arc::new(app))
}

fn open() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(async || Error::from(Kind::MethodNotAllowed))
}

/// What holds for every route.
fn finished(router: Router<Arc<App>>) -> Router<Arc<App>> {
    router
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::map_response(problem::always))
}

/// 200 only while this replica answers and knows everything it watches.
async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.stop.is_cancelled() {
        return Error::from(Kind::ShuttingDown).into_response();
    }
    let Some(active) = app.handle.active() else {
        return Error::from(Kind::Standby).into_response();
    };
    if !active.fleet.view().borrow().is_complete() {
        return Error::from(Kind::NotReady).into_response();
    }
    (StatusCode::OK, "ready\n").into_response()
}

/// Always answered: a replica that does not lead has counters all the same.
async fn metrics(State(app): State<Arc<App>>) -> Response {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let counts = app.handle.active().map(|active| active.fleet.counts());
    ([("content-type", TYPE)], app.metrics.render(counts.as_ref())).into_response()
}
