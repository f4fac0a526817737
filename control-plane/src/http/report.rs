//! `POST /v1/report`: takes in what one proxy holds and uses, and answers 204.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use protocol::{INSTANCE_HEADER, Report};
use serde::de::DeserializeOwned;

use super::App;
use super::problem::{Error, Kind};
use super::standby::Answering;
use crate::logs::is_plain;
use fleet::Reported;
use fleet_actor::active::Active;

/// Most targets one report may list: as many as there can be.
pub(super) const MAX_TARGETS: usize = fleet::config::file::MAX_DOCUMENTS;
/// Longest id and incarnation of a proxy, in bytes.
const MAX_NAME: usize = 256;

/// 204, and by whom.
type Taken = (StatusCode, [(&'static str, String); 1]);

/// The wake-up call.
pub(super) async fn report(
    State(app): State<Arc<App>>,
    Answering(active): Answering,
    body: Result<Bytes, BytesRejection>,
) -> Result<Taken, Error> {
    let report: Report = parse(&body.inspect_err(|_| app.metrics.bound_hit("report_bytes"))?)?;
    check_name(&report.proxy.id, report.proxy.incarnation.as_str())?;
    if report.targets.len() > MAX_TARGETS {
        app.metrics.bound_hit("report_targets");
        let detail = format!("lists more than {MAX_TARGETS} targets");
        return Err(Error::new(Kind::TooLarge, detail).in_field("targets"));
    }
    match active.fleet.report(report).await? {
        Reported::Taken => {
            app.metrics.reports.inc();
            Ok(taken(&active))
        }
        // It has been overtaken by a later one, which is what it was for.
        Reported::Stale => Ok(taken(&active)),
        Reported::Misfit(misfit) => Err(misfit.into()),
        Reported::TooMany => {
            app.metrics.bound_hit("proxies");
            Err(Kind::TooManyProxies.into())
        }
    }
}

fn taken(by: &Active) -> Taken {
    let instance = by.fleet.view().borrow().revision().instance;
    (StatusCode::NO_CONTENT, [(INSTANCE_HEADER, instance)])
}

/// Reads a JSON body; its media type is not asked for.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|e| Error::new(Kind::BadRequest, e.to_string()))
}

/// Names go into maps and logs, so they are bounded.
pub(super) fn check_name(id: &str, incarnation: &str) -> Result<(), Error> {
    for (field, name) in [("proxy.id", id), ("proxy.incarnation", incarnation)] {
        if name.is_empty() || name.len() > MAX_NAME {
            let detail = format!("is empty or longer than {MAX_NAME} bytes");
            return Err(Error::new(Kind::BadRequest, detail).in_field(field));
        }
        if !name.chars().all(is_plain) {
            let detail = "holds a character that is not to be shown";
            return Err(Error::new(Kind::BadRequest, detail).in_field(field));
        }
    }
    Ok(())
}
