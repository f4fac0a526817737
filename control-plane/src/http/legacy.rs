//! The routes of an older interface, in its shapes: hosts instead of targets, nothing but a status
//! to tell how it went.

use axum::Json;
use axum::extract::Query;
use axum::http::StatusCode;
use protocol::TargetId;
use serde::Deserialize;

use super::problem::{Error, Kind};
use super::standby::Answering;
use fleet::WishRefusal;
use fleet_actor::Gone;
use fleet_actor::active::Active;

/// The query `?host=H`.
#[derive(Deserialize)]
pub(super) struct Host {
    host: Option<String>,
}

/// `GET /`: the hosts whose requests are held now (their targets are asleep, waking or draining).
pub(super) async fn held_hosts(Answering(active): Answering) -> Json<Vec<String>> {
    Json(active.fleet.view().borrow().held_hosts())
}

/// `POST /poke-scale-up?host=H`: wakes the host's target. With the manual backend it is up at once.
pub(super) async fn poke(
    Answering(active): Answering,
    Query(query): Query<Host>,
) -> Result<StatusCode, Error> {
    let id = find(&active, query)?;
    outcome(active.fleet.wake(id.clone()).await, id)
}

/// `POST /set-scaled-to-zero?host=H`, manual backend only: turns a host that is up off and one that is not on.
pub(super) async fn toggle(
    Answering(active): Answering,
    Query(query): Query<Host>,
) -> Result<StatusCode, Error> {
    let id = find(&active, query)?;
    outcome(active.fleet.toggle(id.clone()).await, id)
}

/// 200, or 500 where the wish cannot be carried out: there was no other status for that.
fn outcome(outcome: Result<Result<(), WishRefusal>, Gone>, id: TargetId) -> Result<StatusCode, Error> {
    match outcome {
        Ok(Ok(())) => Ok(StatusCode::OK),
        Ok(Err(WishRefusal::Unknown)) => Err(Error::from(Kind::NoTarget).about(id)),
        Ok(Err(refusal)) => Err(Error::new(Kind::Internal, refusal.to_string()).about(id)),
        Err(gone) => Err(Error::new(Kind::Internal, gone.to_string()).about(id)),
    }
}

fn find(active: &Active, query: Host) -> Result<TargetId, Error> {
    let host = query.host.filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| Error::new(Kind::BadRequest, "write ?host=H").in_field("host"))?;
    let found = active.fleet.view().borrow().find_host(&host);
    found.ok_or_else(|| Error::new(Kind::NoTarget, format!("no target has the host {host:?}")))
}
