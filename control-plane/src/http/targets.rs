use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use protocol::TargetId;
use serde::Serialize;

use super::App;
use super::problem::{Error, Kind};
use crate::fleet::{ProxyStatus, TargetStatus};

/// `GET /v1/targets`.
#[derive(Serialize)]
pub(super) struct Targets {
    targets: Vec<TargetStatus>,
}

/// `GET /v1/proxies`.
#[derive(Serialize)]
pub(super) struct Proxies {
    proxies: Vec<ProxyStatus>,
}

pub(super) async fn all(State(app): State<App>) -> Result<Json<Targets>, Error> {
    Ok(Json(Targets {
        targets: app.fleet.status().await?.targets,
    }))
}

pub(super) async fn proxies(State(app): State<App>) -> Result<Json<Proxies>, Error> {
    Ok(Json(Proxies {
        proxies: app.fleet.status().await?.proxies,
    }))
}

pub(super) async fn one(
    State(app): State<App>,
    Path(path): Path<(String, String)>,
) -> Result<Json<TargetStatus>, Error> {
    find(&app, &target_id(path)).await.map(Json)
}

/// Asks for it to be up. 202: it is, or is on its way; the body says which.
pub(super) async fn wake(
    State(app): State<App>,
    Path(path): Path<(String, String)>,
) -> Result<(StatusCode, Json<TargetStatus>), Error> {
    let id = target_id(path);
    app.fleet
        .wake(id.clone())
        .await?
        .map_err(|refusal| Error::refused(refusal, id.clone()))?;
    Ok((StatusCode::ACCEPTED, Json(find(&app, &id).await?)))
}

/// Asks for it to be put to sleep: a drain, which anything held or in flight turns back. 409: not now.
pub(super) async fn sleep(
    State(app): State<App>,
    Path(path): Path<(String, String)>,
) -> Result<(StatusCode, Json<TargetStatus>), Error> {
    let id = target_id(path);
    app.fleet
        .sleep(id.clone())
        .await?
        .map_err(|refusal| Error::refused(refusal, id.clone()))?;
    Ok((StatusCode::ACCEPTED, Json(find(&app, &id).await?)))
}

async fn find(app: &App, id: &TargetId) -> Result<TargetStatus, Error> {
    let status = app.fleet.status().await?;
    let found = status.targets.into_iter().find(|target| target.id == *id);
    found.ok_or_else(|| Error::from(Kind::NoTarget).about(id.clone()))
}

fn target_id((namespace, name): (String, String)) -> TargetId {
    TargetId::new(format!("{namespace}/{name}"))
}
