//! A control plane with the manual backend and many targets, and the person that says which of them sleep.

use std::path::Path;

use anyhow::ensure;
use harness::{Control, ControlBuilder};
use http_body_util::BodyExt as _;

use crate::fleet_file;
use crate::line::Line;

/// Starts one that knows so many targets.
pub(crate) async fn start(dir: &Path, targets: usize) -> Control {
    let control = ControlBuilder::new().backend("manual");
    control.start(dir, &fleet_file::documents(targets - 1)).await
}

/// Turns targets on and off, one after the other.
pub(crate) struct Person(Line);

impl Person {
    pub(crate) async fn of(control: &Control) -> anyhow::Result<Self> {
        Ok(Self(Line::connect(control.port()).await?))
    }

    /// `POST /set-scaled-to-zero`: a target that is up is off, and one that is not is up, when this returns. No drain is
    /// asked for, so what the proxies are told of it is one thing, in one answer.
    pub(crate) async fn toggle(&mut self, target: usize) -> anyhow::Result<()> {
        let path = format!("/set-scaled-to-zero?host={}.example.com", name(target));
        let answer = self.0.post(&path, "").await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(
            status == 200,
            "{path}: {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(())
    }
}

/// Name of one of the targets that no request uses.
pub(crate) fn name(target: usize) -> String {
    format!("t-{target}")
}

/// The target that has this id.
pub(crate) fn number(id: &str) -> Option<usize> {
    id.strip_prefix("default/t-")?.parse().ok()
}
