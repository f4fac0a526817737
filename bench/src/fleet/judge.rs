//! When each change had been told to every proxy.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::proxy::{Running, Told};
use crate::manual;

/// Far beyond anything that is not broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// Listens to all proxies.
pub(super) struct Judge {
    told: mpsc::UnboundedReceiver<Told>,
    proxies: Vec<Running>,
    /// Changes that not every proxy has been told of: when the change was asked for, which proxies know it, and when the last of them learnt it.
    open: BTreeMap<usize, Change>,
    /// From the request to the last proxy told, in ms.
    lags: Vec<f64>,
    /// Answers that told something.
    answers: usize,
}

struct Change {
    asked: Instant,
    knows: Vec<bool>,
    last: Instant,
}

/// What a load of changes brought about.
pub(super) struct Verdict {
    /// Of each change, from the request to the last proxy told, in ms.
    pub(super) lags: Vec<f64>,
    /// Answers that told something, over all proxies.
    pub(super) answers: usize,
}

impl Judge {
    pub(super) fn new(told: mpsc::UnboundedReceiver<Told>, proxies: Vec<Running>) -> Self {
        Self {
            told,
            proxies,
            open: BTreeMap::new(),
            lags: Vec::new(),
            answers: 0,
        }
    }

    /// A change is asked for now.
    pub(super) fn expect(&mut self, target: usize, asked: Instant) {
        let change = Change {
            asked,
            knows: vec![false; self.proxies.len()],
            last: asked,
        };
        self.open.insert(target, change);
    }

    /// Takes in what has been told so far.
    pub(super) fn take_in(&mut self) -> anyhow::Result<()> {
        while let Ok(told) = self.told.try_recv() {
            self.hear(told)?;
        }
        Ok(())
    }

    /// Waits until every proxy has been told of every change.
    pub(super) async fn settle(&mut self) -> anyhow::Result<Verdict> {
        while !self.open.is_empty() {
            let told = timeout(PATIENCE, self.told.recv()).await;
            match told {
                Ok(told) => self.hear(told.context("all proxies have ended")?)?,
                Err(_) => {
                    for proxy in &mut self.proxies {
                        proxy.check().await?;
                    }
                    bail!("{} changes are not known to all proxies", self.open.len());
                }
            }
        }
        Ok(Verdict {
            lags: std::mem::take(&mut self.lags),
            answers: std::mem::take(&mut self.answers),
        })
    }

    fn hear(&mut self, told: Told) -> anyhow::Result<()> {
        self.answers += 1;
        for (id, state) in told.targets {
            let target = manual::number(id.as_str()).context("a target that was not turned on")?;
            ensure!(
                state == protocol::State::Ready,
                "{id} was turned on, and is {state:?}"
            );
            let change = self
                .open
                .get_mut(&target)
                .with_context(|| format!("{id} was told twice, or not turned on"))?;
            ensure!(
                !std::mem::replace(&mut change.knows[told.proxy], true),
                "{id} must be told once"
            );
            change.last = change.last.max(told.at);
            if change.knows.iter().all(|knows| *knows) {
                let lag = change.last.duration_since(change.asked);
                self.lags.push(lag.as_secs_f64() * 1e3);
                self.open.remove(&target);
            }
        }
        Ok(())
    }
}
