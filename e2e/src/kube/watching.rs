//! One watch of the API server, which survives that the API server goes away and comes back.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::Stream;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// Lists once, then watches. After an error it tries again every 100 ms.
pub(super) fn watching<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, config).backoff(Steady)
}

/// The harness is the API server's only other client: it need not be gentle.
struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(100))
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}
