//! `/v1/targets` and `/v1/proxies`: what operators read, and wake and sleep by hand.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use protocol::TargetId;
use serde::Serialize;

use super::problem::{Error, Kind};
use super::standby::Answering;
use fleet::{ProxyStatus, TargetStatus};
use fleet_actor::active::Active;

/// `GET /v1/targets`.
#[derive(Serialize)]
pub(super) struct Targets {
    targets: Vec<TargetStatus>,
}

/// `GET /v1/proxies`.
#[derive(Serialize)]
pub(super) struct Proxies {
    proxies: Vec<ProxyStatus>,
    /// Proxies that had to make room and are not forgotten.
    others: u64,
}

pub(super) async fn all(Answering(active): Answering) -> Result<Json<Targets>, Error> {
    Ok(Json(Targets {
        targets: active.fleet.status().await?.targets,
    }))
}

pub(super) async fn proxies(Answering(active): Answering) -> Result<Json<Proxies>, Error> {
    Ok(Json(Proxies {
        proxies: active.fleet.proxies().await?,
        others: active.fleet.counts().others,
    }))
}

pub(super) async fn one(
    Answering(active): Answering,
    Path(path): Path<(String, String)>,
) -> Result<Json<TargetStatus>, Error> {
    find(&active, &target_id(path)).await.map(Json)
}

/// Asks for it to be up. 202: it is, or is on its way; the body says which.
pub(super) async fn wake(
    Answering(active): Answering,
    Path(path): Path<(String, String)>,
) -> Result<(StatusCode, Json<TargetStatus>), Error> {
    let id = target_id(path);
    active
        .fleet
        .wake(id.clone())
        .await?
        .map_err(|refusal| Error::refused(refusal, id.clone()))?;
    Ok((StatusCode::ACCEPTED, Json(find(&active, &id).await?)))
}

/// Asks for it to be put to sleep: a drain, which anything held or in flight turns back. 409: not now.
pub(super) async fn sleep(
    Answering(active): Answering,
    Path(path): Path<(String, String)>,
) -> Result<(StatusCode, Json<TargetStatus>), Error> {
    let id = target_id(path);
    active
        .fleet
        .sleep(id.clone())
        .await?
        .map_err(|refusal| Error::refused(refusal, id.clone()))?;
    Ok((StatusCode::ACCEPTED, Json(find(&active, &id).await?)))
}

async fn find(active: &Active, id: &TargetId) -> Result<TargetStatus, Error> {
    let found = active.fleet.target(id.clone()).await?;
    found.ok_or_else(|| Error::from(Kind::NoTarget).about(id.clone()))
}

fn target_id((namespace, name): (String, String)) -> TargetId {
    TargetId::new(format!("{namespace}/{name}"))
}
