//! The HTTP surface: long polls, reports, what people ask, and the routes kept from the system before this one.
//!
//! Handlers read the view or ask the fleet; none decides anything.

pub mod active;
pub mod answers;
pub mod auth;
mod legacy;
mod problem;
mod report;
pub mod server;
mod standby;
mod sync;
mod targets;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use active::Sight;
use auth::Token;
use problem::{Error, Kind};

/// Largest body taken, in bytes. A report of the most targets with long names fits.
pub const MAX_BODY: usize = 2 << 20;
/// Longest wait of one poll, whatever the proxy asks for.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct App {
    /// Which fleet answers.
    pub sight: Sight,
    /// What is counted.
    pub metrics: Metrics,
    /// Asked of every call but health and metrics, if there is one.
    pub token: Option<Token>,
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

/// All routes.
pub fn router(app: App) -> Router {
    // Every layer clones it for every request, and the metrics are many.
    let app = Arc::new(app);
    let mut guarded = Router::new()
        .route(protocol::SYNC_PATH, post(sync::sync))
        .route(protocol::REPORT_PATH, post(report::report))
        .route("/v1/targets", get(targets::all))
        .route("/v1/targets/{namespace}/{name}", get(targets::one))
        .route("/v1/targets/{namespace}/{name}/wake", post(targets::wake))
        .route("/v1/targets/{namespace}/{name}/sleep", post(targets::sleep))
        .route("/v1/proxies", get(targets::proxies))
        .route("/", get(legacy::held_hosts))
        .route("/poke-scale-up", post(legacy::poke));
    if app.manual {
        guarded = guarded.route("/set-scaled-to-zero", post(legacy::toggle));
    }
    let guarded = guarded
        .route_layer(middleware::from_fn_with_state(app.clone(), auth::check))
        .method_not_allowed_fallback(async || Error::from(Kind::MethodNotAllowed))
        .fallback(async || Error::from(Kind::NoRoute))
        .layer(middleware::from_fn_with_state(app.clone(), standby::check));
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(async || Error::from(Kind::MethodNotAllowed))
        .merge(guarded)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(app)
}

/// 200 only while this replica answers and knows everything it watches.
async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.stop.is_cancelled() {
        return Error::from(Kind::ShuttingDown).into_response();
    }
    let Some(active) = app.sight.active() else {
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
    let status = match app.sight.active() {
        Some(active) => active.fleet.status().await.ok(),
        None => None,
    };
    ([("content-type", TYPE)], app.metrics.render(status.as_ref())).into_response()
}
