//! One watch for each kind, kept open for as long as the control plane runs. Tells its listener what it sees, and
//! outlives every failure of the API server.
//!
//! A watch is begun anew after a minute, so that a connection which has died unnoticed is found out; that, and a
//! listing after an error, are all the requests that are made.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tracing::{debug, info, warn};

/// Longest life of one watch call, in seconds.
const RENEW_S: u32 = 60;
/// Before the first attempt after an error, doubled after each.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest wait between two attempts: an API server that is back is found within it.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Between two looks for a kind that is not installed.
const ABSENT: Duration = Duration::from_secs(30);

/// What a watch tells.
#[derive(Debug)]
pub enum Seen<K> {
    /// A listing begins.
    Begin,
    /// An object is there, or has changed.
    Apply(K),
    /// An object is gone.
    Delete(K),
    /// The listing has ended.
    End,
    /// There is no such kind in this cluster.
    Absent,
    /// The API server answers, but will not let it be read: why, for people. Told once we may not, or after some
    /// attempts.
    Refused(String),
}

/// What to watch of one kind.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only objects with these labels.
    pub labels: Option<String>,
}

/// Watches until the future is dropped. `what` names the kind in the log.
pub async fn follow<K>(what: &str, api: Api<K>, scope: Scope, mut tell: impl FnMut(Seen<K>))
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut config = watcher::Config::default().timeout(RENEW_S);
    config.label_selector = scope.labels;
    let mut events = watcher(api, config).boxed();
    let mut wait = RETRY_FIRST;
    let mut trouble = None;
    while let Some(event) = events.next().await {
        let error = match event {
            Ok(event) => {
                // A listing that only begins may still fail.
                if !matches!(event, Event::Init) {
                    wait = RETRY_FIRST;
                    if trouble.take().is_some() {
                        info!(event = "watching", what, "{what}: the watch is back");
                    }
                }
                tell(event.into());
                continue;
            }
            Err(error) => error,
        };
        let pause = match refusal(&error) {
            Some(404) => {
                if trouble.replace(404) != Some(404) {
                    info!(
                        event = "kind_absent",
                        what, "{what}: not installed in this cluster; looked for again every 30 s"
                    );
                }
                tell(Seen::Absent);
                ABSENT
            }
            // The history was cut off behind us: it is listed anew at once.
            Some(410) => {
                debug!("{what}: {error}");
                Duration::ZERO
            }
            code => {
                let code = code.unwrap_or(0);
                if trouble.replace(code) != Some(code) {
                    warn!(
                        event = "watch_failed",
                        what,
                        "{what} cannot be watched, what is known stands: {}",
                        in_full(&error)
                    );
                }
                // 401: our token is being renewed.
                let is_final = (402..500).contains(&code) && code != 408 && code != 429;
                if is_final || (code >= 500 && wait == RETRY_MAX) {
                    tell(Seen::Refused(in_full(&error)));
                }
                let pause = wait;
                wait = (wait * 2).min(RETRY_MAX);
                pause
            }
        };
        tokio::time::sleep(pause).await;
    }
}

impl<K> From<Event<K>> for Seen<K> {
    fn from(event: Event<K>) -> Self {
        match event {
            Event::Init => Self::Begin,
            Event::InitApply(object) | Event::Apply(object) => Self::Apply(object),
            Event::InitDone => Self::End,
            Event::Delete(object) => Self::Delete(object),
        }
    }
}

/// The code of an answer, if there was one.
fn refusal(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => Some(status.code),
        watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

/// An error with its causes, in one line.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}
