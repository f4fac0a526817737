use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use protocol::{Revision, SyncRequest, Target, TargetId};
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::active::Active;
use super::problem::{Error, Kind};
use super::report::{check_name, parse};
use super::{App, MAX_WAIT};
use crate::fleet::PollRefusal;
use crate::time::millis;
use crate::view::Delta;

/// [`protocol::SyncResponse`] without copies of the targets.
#[derive(Serialize)]
struct Answer<'a> {
    revision: Revision,
    full: bool,
    targets: Vec<&'a Target>,
    removed: Vec<TargetId>,
    heartbeat_ms: u64,
    forget_after_ms: u64,
}

/// The long poll. Answered as soon as something after `since` is published; with nothing new when the wait is over,
/// a newer poll of the same proxy has come, or the control plane shuts down; turned away when it leads no more.
pub(super) async fn sync(
    State(app): State<App>,
    active: Active,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Error> {
    let SyncRequest {
        proxy,
        since,
        wait_ms,
    } = parse(&body?)?;
    check_name(&proxy.id, proxy.incarnation.as_str())?;
    let until = Instant::now() + Duration::from_millis(wait_ms).min(MAX_WAIT);
    let guard = match active.fleet.open_poll(proxy).await? {
        Ok(guard) => guard,
        Err(PollRefusal::Superseded) => return Ok(answer(&app, nothing(&active, since))),
        Err(PollRefusal::TooMany) => {
            app.metrics.bound_hit("proxies");
            return Err(Kind::TooManyProxies.into());
        }
    };
    let mut view = active.fleet.view();
    loop {
        {
            let view = view.borrow_and_update();
            if view.is_complete()
                && let Some(delta) = view.since(since.as_ref())
            {
                return Ok(answer(&app, delta));
            }
        }
        tokio::select! {
            changed = view.changed() => changed.map_err(|_| Kind::ShuttingDown)?,
            () = guard.ended() => break,
            () = active.ended() => return Err(Kind::Standby.into()),
            () = app.stop.cancelled() => break,
            () = sleep_until(until) => break,
        }
    }
    if !active.fleet.view().borrow().is_complete() {
        return Err(Kind::NotReady.into());
    }
    Ok(answer(&app, nothing(&active, since)))
}

/// Nothing new, from where the proxy is: it must not take itself to know what it was not told.
fn nothing(active: &Active, since: Option<Revision>) -> Delta {
    let beginning = || Revision {
        n: 0,
        ..active.fleet.view().borrow().revision()
    };
    Delta {
        revision: since.unwrap_or_else(beginning),
        full: false,
        changed: Vec::new(),
        removed: Vec::new(),
    }
}

fn answer(app: &App, delta: Delta) -> Response {
    app.metrics.syncs.inc();
    let Delta {
        revision,
        full,
        changed,
        removed,
    } = delta;
    Json(Answer {
        revision,
        full,
        targets: changed.iter().map(Arc::as_ref).collect(),
        removed,
        heartbeat_ms: millis(app.heartbeat),
        forget_after_ms: millis(app.forget_after),
    })
    .into_response()
}
