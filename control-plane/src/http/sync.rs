use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use protocol::{Revision, SyncRequest, Target, TargetId};
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::active::Active;
use super::answers;
use super::problem::{Error, Kind};
use super::report::{check_name, parse};
use super::{App, MAX_WAIT};
use crate::fleet::PollRefusal;
use crate::time::millis;
use crate::view::{Delta, View};

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

/// The long poll. Answered as soon as something after `since` is published; with nothing new when the wait is over, or the
/// control plane shuts down; turned away when it leads no more, and when another poll or relay speaks for the proxy: 409,
/// which the one who asks does not take for a reason to ask again at once.
pub(super) async fn sync(
    State(app): State<Arc<App>>,
    active: Active,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Error> {
    let SyncRequest {
        proxy,
        since,
        wait_ms,
        module: _,
    } = parse(&body?)?;
    check_name(&proxy.id, proxy.incarnation.as_str())?;
    let until = Instant::now() + Duration::from_millis(wait_ms).min(MAX_WAIT);
    let guard = match active.fleet.open_poll(proxy).await? {
        Ok(guard) => guard,
        Err(PollRefusal::Misfit(misfit)) => return Err(misfit.into()),
        Err(PollRefusal::TooMany) => {
            app.metrics.bound_hit("proxies");
            return Err(Kind::TooManyProxies.into());
        }
        Err(PollRefusal::TooManyPolls) => {
            app.metrics.bound_hit("polls");
            return Err(Kind::TooManyPolls.into());
        }
    };
    let mut view = active.fleet.view();
    loop {
        if let Some(known) = find(&app, &view.borrow_and_update(), since.as_ref()) {
            return Ok(match known {
                Known::Made(bytes) => respond(&app, bytes),
                Known::New(place, delta) => respond(&app, place.get_or_init(|| encode(&app, delta)).clone()),
            });
        }
        tokio::select! {
            changed = view.changed() => changed.map_err(|_| Kind::ShuttingDown)?,
            // Not with nothing new: two who poll in one proxy's name would end each other's polls without a pause.
            () = guard.ended() => return Err(Error::new(Kind::Superseded, "a later poll of this proxy has come")),
            () = active.ended() => return Err(Kind::Standby.into()),
            () = app.stop.cancelled() => break,
            () = sleep_until(until) => break,
        }
    }
    if !active.fleet.view().borrow().is_complete() {
        return Err(Kind::NotReady.into());
    }
    Ok(respond(&app, encode(&app, nothing(&active, since))))
}

/// What there is to tell.
enum Known {
    /// Another proxy has been told the same.
    Made(Bytes),
    /// To be written, where nobody has to wait for the view meanwhile.
    New(answers::Answer, Delta),
}

fn find(app: &App, view: &View, since: Option<&Revision>) -> Option<Known> {
    let question = view.question(since).filter(|_| view.is_complete())?;
    let place = app.answers.place(view.revision(), question);
    Some(match place.get() {
        Some(bytes) => Known::Made(bytes.clone()),
        None => {
            let delta = view.answer(question);
            Known::New(place, delta)
        }
    })
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

fn encode(app: &App, delta: Delta) -> Bytes {
    let Delta {
        revision,
        full,
        changed,
        removed,
    } = delta;
    let answer = Answer {
        revision,
        full,
        targets: changed.iter().map(Arc::as_ref).collect(),
        removed,
        heartbeat_ms: millis(app.heartbeat),
        forget_after_ms: millis(app.forget_after),
    };
    // Texts and numbers: there is nothing in it that could not be written.
    serde_json::to_vec(&answer).unwrap_or_default().into()
}

fn respond(app: &App, body: Bytes) -> Response {
    app.metrics.syncs.inc();
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}
