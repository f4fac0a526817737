//! `POST /v1/sync`: the long poll by which a proxy learns of changes.

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

use super::problem::{Error, Kind};
use super::report::{check_name, parse};
use super::standby::Answering;
use super::{App, MAX_WAIT};
use fleet::PollRefusal;
use fleet::time::millis;
use fleet::view::{Delta, Question, View};
use fleet_actor::active::Active;

/// [`protocol::SyncResponse`] without copies of the targets.
#[derive(Serialize)]
struct Answer<'a> {
    revision: &'a Revision,
    full: bool,
    targets: Vec<&'a Target>,
    removed: &'a [TargetId],
    heartbeat_ms: u64,
    forget_after_ms: u64,
}

impl<'a> Answer<'a> {
    fn new(app: &App, delta: &'a Delta) -> Self {
        Self {
            revision: &delta.revision,
            full: delta.full,
            targets: delta.changed.iter().map(Arc::as_ref).collect(),
            removed: &delta.removed,
            heartbeat_ms: millis(app.heartbeat),
            forget_after_ms: millis(app.forget_after),
        }
    }
}

/// The long poll. Answered as soon as something after `since` is published; with nothing new when the wait is over, or the
/// control plane shuts down; turned away when it leads no more, and when another poll or relay speaks for the proxy: 409,
/// which the relay does not take for a reason to ask again at once.
pub(super) async fn sync(
    State(app): State<Arc<App>>,
    Answering(active): Answering,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Error> {
    let SyncRequest {
        proxy,
        since,
        wait_ms,
        module,
    } = parse(&body?)?;
    check_name(&proxy.id, proxy.incarnation.as_str())?;
    let until = Instant::now() + Duration::from_millis(wait_ms).min(MAX_WAIT);
    let guard = match active.fleet.open_poll(proxy, module).await? {
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
        // The look at the view ends before anything is written.
        let known = find(&app, &view.borrow_and_update(), since.as_ref());
        match known {
            Some(Known::Made(bytes)) => return Ok(respond(&app, bytes)),
            Some(Known::New(question, delta)) => {
                let bytes = write(&app, question, &delta).unwrap_or_else(|| everything(&app, &active));
                return Ok(respond(&app, bytes));
            }
            None => {}
        }
        tokio::select! {
            changed = view.changed() => changed.map_err(|_| Kind::ShuttingDown)?,
            // Not with nothing new: two relays that poll in one proxy's name would end each other's polls without a pause.
            () = guard.ended() => return Err(Error::new(Kind::Superseded, "a later poll of this proxy has come")),
            () = active.ended() => return Err(Kind::Standby.into()),
            () = app.stop.cancelled() => break,
            () = sleep_until(until) => break,
        }
    }
    if !active.fleet.view().borrow().is_complete() {
        return Err(Kind::NotReady.into());
    }
    Ok(respond(&app, encode(&app, &nothing(&active, since))))
}

/// Changes of at most so many bytes are written anew for a poll that finds no room for them. A poll that is further behind is
/// answered with everything, which is written once for all.
const FEW_BYTES: usize = 64 << 10;

/// What there is to tell.
enum Known {
    /// Another proxy has been told the same.
    Made(Bytes),
    /// To be written, where no other task has to wait for the view meanwhile.
    New(Question, Delta),
}

fn find(app: &App, view: &View, since: Option<&Revision>) -> Option<Known> {
    let question = view.question(since).filter(|_| view.is_complete())?;
    let made = app.answers.find(&view.revision(), question);
    Some(made.map_or_else(|| Known::New(question, view.answer(question)), Known::Made))
}

/// The answer, written once for all polls that ask the same. `None`: there is no room for so much, so everything has to be told.
fn write(app: &App, question: Question, delta: &Delta) -> Option<Bytes> {
    let size = match question {
        Question::Everything => 0,
        Question::After(_) => size(app, delta),
    };
    match app.answers.place(&delta.revision, question, size) {
        Some(place) => Some(place.get_or_init(|| encode(app, delta)).clone()),
        None if size <= FEW_BYTES => Some(encode(app, delta)),
        None => None,
    }
}

fn everything(app: &App, active: &Active) -> Bytes {
    let delta = active.fleet.view().borrow().answer(Question::Everything);
    let made = app.answers.find(&delta.revision, Question::Everything);
    let written = made.or_else(|| write(app, Question::Everything, &delta));
    // Of everything there is always something to tell.
    written.unwrap_or_default()
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

fn encode(app: &App, delta: &Delta) -> Bytes {
    // Texts and numbers: there is nothing in it that could not be written.
    serde_json::to_vec(&Answer::new(app, delta))
        .unwrap_or_default()
        .into()
}

/// Bytes that [`encode`] makes of it, without making them.
fn size(app: &App, delta: &Delta) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting cannot fail.
    let _ = serde_json::to_writer(&mut count, &Answer::new(app, delta));
    count.0
}

fn respond(app: &App, body: Bytes) -> Response {
    app.metrics.syncs.inc();
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}
