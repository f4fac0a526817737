//! One watch for each kind, kept open for as long as the control plane runs. Tells its listener what it sees, and
//! outlives every failure of the API server.
//!
//! A watch is begun anew after a minute, so that a connection which has died unnoticed is found out; that, and a
//! listing after an error, are all the requests that are made.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt;
use kube::core::Status;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tracing::{debug, info, warn};

use fleet::backoff::Backoff;

/// Longest life of one watch call, in seconds.
const RENEW_S: u32 = 60;
/// Once the back-off has reached this, a 4xx is believed. A starting API server answers 403 until it has read its roles.
const NO_AFTER: Duration = Duration::from_millis(800);
/// Longest wait between two attempts: an API server that is back is found within it.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Waits between attempts after errors.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), RETRY_MAX);
/// As often a kind that was there may be answered with 404 before it counts as gone, three seconds: a proxy, or one of
/// several API servers that does not serve it yet, may say so in passing.
const MISSES: u32 = 5;
/// Between two looks for a kind that is not installed.
const ABSENT: Duration = Duration::from_secs(30);

/// What a watch tells.
#[derive(Debug)]
pub enum WatchEvent<K> {
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
    /// The API server answers, but will not let it be read: why, for people. Told after some attempts, and with each
    /// further one.
    Refused(String),
}

/// What to watch of one kind.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only objects with these labels.
    pub labels: Option<String>,
}

/// Watches until the future is dropped. `what` names the kind in the log.
pub async fn watch<K>(what: &str, api: Api<K>, scope: Scope, mut tell: impl FnMut(WatchEvent<K>))
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut config = watcher::Config::default().timeout(RENEW_S);
    config.label_selector = scope.labels;
    // It resumes from where it was, whatever the API server answers: after some answers it must be made anew.
    let anew = || watcher(api.clone(), config.clone()).boxed();
    let mut events = anew();
    let mut trouble = None;
    let (mut listed, mut misses, mut failures) = (false, 0, 0_u32);
    while let Some(event) = events.next().await {
        let error = match event {
            Ok(event) => {
                // A listing that only begins may still fail.
                if !matches!(event, Event::Init) {
                    (failures, misses) = (0, 0);
                    listed |= matches!(event, Event::InitDone);
                    if trouble.take().is_some() {
                        info!(event = "watching", what, "{what}: the watch is back");
                    }
                }
                tell(event.into());
                continue;
            }
            Err(error) => error,
        };
        let again = RETRY.wait(failures);
        failures = failures.saturating_add(1);
        let pause = match status(&error).map(|status| status.code) {
            Some(404) if listed && misses < MISSES => {
                misses += 1;
                events = anew();
                again
            }
            Some(404) => {
                events = anew();
                listed = false;
                if trouble.replace(404) != Some(404) {
                    info!(
                        event = "kind_absent",
                        what, "{what}: not installed in this cluster; looked for again every 30 s"
                    );
                }
                tell(WatchEvent::Absent);
                ABSENT
            }
            // The history was cut off behind us: it is listed anew.
            Some(410) => {
                debug!("{what}: {error}");
                events = anew();
                again
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
                let is_no = (402..500).contains(&code) && code != 408 && code != 429;
                if (is_no && again >= NO_AFTER) || (code >= 500 && again == RETRY_MAX) {
                    let why = status(&error).map_or_else(|| in_full(&error), |status| status.message.clone());
                    tell(WatchEvent::Refused(why));
                }
                again
            }
        };
        tokio::time::sleep(pause).await;
    }
}

impl<K> From<Event<K>> for WatchEvent<K> {
    fn from(event: Event<K>) -> Self {
        match event {
            Event::Init => Self::Begin,
            Event::InitApply(object) | Event::Apply(object) => Self::Apply(object),
            Event::InitDone => Self::End,
            Event::Delete(object) => Self::Delete(object),
        }
    }
}

/// What the API server answered, if it did.
fn status(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use k8s_openapi::api::core::v1::Service;
    use kube::client::Body;
    use kube::{Client, ResourceExt};
    use serde_json::{Value, json};
    use tokio::time::{Instant, timeout};
    use tower::service_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_404_in_passing_takes_nothing_away_and_it_is_listed_anew() {
        let script = [mk_list(&["a", "b"]), (404, Value::Null), mk_list(&["a"])];
        let (told, _) = play(script).await;
        let wanted = ["begin", "a", "b", "end", "begin", "a", "end"];
        assert_eq!(told, wanted, "must see what happened meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn what_stays_away_is_gone_and_is_listed_when_it_is_back() {
        let mut script = vec![mk_list(&["a"])];
        script.extend((0..=MISSES).map(|_| (404, Value::Null)));
        script.push(mk_list(&["a"]));
        let (told, absent_at) = play(script).await;
        let mut wanted = vec!["begin", "a", "end"];
        wanted.extend((0..MISSES).map(|_| "begin"));
        wanted.extend(["absent", "begin", "a", "end"]);
        assert_eq!(told, wanted, "must say that it is gone, once");
        assert!(
            absent_at.is_some_and(|after| after > Duration::from_secs(3)),
            "must ask more than once"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_never_there_is_absent_at_once() {
        let (told, absent_at) = play([(404, Value::Null)]).await;
        assert_eq!(told[..2], ["begin", "absent"], "must say so");
        assert_eq!(absent_at, Some(Duration::ZERO), "must keep no reader waiting");
    }

    #[tokio::test(start_paused = true)]
    async fn a_history_that_is_cut_off_is_listed_anew() {
        let script = [mk_list(&["a"]), (410, Value::Null), mk_list(&["b"])];
        let (told, _) = play(script).await;
        let wanted = ["begin", "a", "end", "begin", "b", "end"];
        assert_eq!(told, wanted, "must list anew");
    }

    /// What is told while the API server answers one request after the other like this, and then no more.
    async fn play(script: impl IntoIterator<Item = (u16, Value)>) -> (Vec<String>, Option<Duration>) {
        let script = Arc::new(Mutex::new(script.into_iter().collect::<Vec<_>>().into_iter()));
        let service = service_fn(move |_: Request<Body>| {
            let next = script.lock().unwrap().next();
            async move {
                let Some((code, body)) = next else {
                    return std::future::pending().await;
                };
                let body = Full::new(Bytes::from(body.to_string()));
                Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
            }
        });
        let api = Api::<Service>::all(Client::new(service, "default"));
        let begun = Instant::now();
        let (mut told, mut absent_at) = (Vec::new(), None);
        let following = watch("services", api, Scope::default(), |seen| {
            told.push(match seen {
                WatchEvent::Begin => "begin".to_owned(),
                WatchEvent::Apply(one) | WatchEvent::Delete(one) => one.name_any(),
                WatchEvent::End => "end".to_owned(),
                WatchEvent::Absent => {
                    absent_at = Some(begun.elapsed());
                    "absent".to_owned()
                }
                WatchEvent::Refused(why) => why,
            });
        });
        let _ = timeout(Duration::from_secs(300), following).await;
        (told, absent_at)
    }

    fn mk_list(names: &[&str]) -> (u16, Value) {
        let items: Vec<_> = names
            .iter()
            .map(|name| json!({"metadata": {"name": name, "namespace": "shop", "resourceVersion": "1"}}))
            .collect();
        (
            200,
            json!({"metadata": {"resourceVersion": "10"}, "items": items}),
        )
    }
}
