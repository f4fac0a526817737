//! Keeps which proxies a fleet knows, for the control plane after it: [`recall`] tells a fleet which ones the one before it
//! knew, before any proxy is answered; [`keep`] writes them down whenever they change. Where it is written is a [`Store`]'s business.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{FleetHandle, Gone, Metrics};
use fleet::Known;
use fleet::backoff::Backoff;

/// Writes are at least this far apart: a thousand Envoys that start at once change the set a thousand times.
const APART: Duration = Duration::from_secs(1);

/// Waits after writes that failed.
const RETRY: Backoff = Backoff::new(APART, Duration::from_secs(60));

/// Longest time that the last write may take when the control plane ends.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// Where the known proxies are written down.
pub trait Store: Send + Sync {
    /// Where that is, for people.
    fn place(&self) -> String;

    /// Most bytes that it takes.
    fn max_bytes(&self) -> usize;

    /// What was written last; `None` if nothing ever was.
    ///
    /// # Errors
    /// One sentence for people.
    fn read(&self) -> impl Future<Output = Result<Option<String>, String>> + Send;

    /// Replaces it as a whole, or not at all.
    ///
    /// # Errors
    /// One sentence for people.
    fn write(&self, text: String) -> impl Future<Output = Result<(), String>> + Send;
}

/// Tells `fleet` which proxies the control plane before it knew. They are silent, so nothing is put to sleep until they are heard or
/// forgotten. To be called before any proxy is answered.
///
/// # Errors
/// The fleet has ended.
pub async fn recall(store: &impl Store, fleet: &FleetHandle) -> Result<(), Gone> {
    let known = match store.read().await {
        Ok(None) => Ok(Known::default()),
        Ok(Some(text)) => Known::decode(&text),
        Err(why) => Err(why),
    };
    let place = store.place();
    let known = match known {
        Ok(known) => {
            let (proxies, others) = (known.proxies.len(), known.others);
            info!(
                event = "proxies_recalled",
                proxies, others, "{proxies} proxies are known from before ({place})"
            );
            known
        }
        Err(why) => {
            warn!(
                event = "proxies_not_recalled",
                "it cannot be read which proxies were known before, so nothing is put to sleep for --proxy-forget-after: {place}: {why}"
            );
            Known::unreadable()
        }
    };
    fleet.remember(known).await
}

/// Writes down which proxies `fleet` knows whenever that changes, until the fleet or `end` ends; then once more if need be.
pub async fn keep(store: impl Store, fleet: FleetHandle, metrics: Metrics, end: CancellationToken) {
    let mut changes = fleet.known_changes();
    // What stands there is not compared with: it may be unreadable.
    changes.mark_changed();
    let mut writer = Writer {
        written: None,
        failures: 0,
        metrics,
        store,
    };
    loop {
        tokio::select! {
            // What has changed is written, even at the end.
            biased;
            changed = changes.changed() => if changed.is_err() { return },
            () = end.cancelled() => return,
        }
        loop {
            let Ok(known) = fleet.known().await else { return };
            let ok = writer.write(&known).await;
            let wait = writer.wait();
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = end.cancelled() => {
                    let last = async {
                        if let Ok(known) = fleet.known().await {
                            writer.write(&known).await;
                        }
                    };
                    // The next control plane knows what was written before.
                    let _ = tokio::time::timeout(LAST_WRITE, last).await;
                    return;
                }
            }
            if ok {
                break;
            }
        }
    }
}

struct Writer<S> {
    store: S,
    written: Option<String>,
    failures: u32,
    metrics: Metrics,
}

impl<S: Store> Writer<S> {
    /// True if it is written down.
    async fn write(&mut self, known: &Known) -> bool {
        let text = known.encode(self.store.max_bytes());
        if self.written.as_ref() == Some(&text) {
            return true;
        }
        let outcome = self.store.write(text.clone()).await;
        self.metrics.known_written(outcome.is_ok());
        match outcome {
            Ok(()) => {
                self.written = Some(text);
                self.failures = 0;
                true
            }
            Err(why) => {
                if self.failures == 0 {
                    let place = self.store.place();
                    warn!(
                        event = "proxies_not_kept",
                        "it cannot be written down which proxies are known, so another control plane would not wait for them: {place}: {why}"
                    );
                }
                self.failures = self.failures.saturating_add(1);
                false
            }
        }
    }

    fn wait(&self) -> Duration {
        RETRY.wait(self.failures.saturating_sub(1))
    }
}
