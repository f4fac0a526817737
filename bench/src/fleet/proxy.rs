//! A proxy as the control plane sees it: a long poll on one connection, reports on another, when and as the relay of
//! `holdfast.wasm` sends them for an Envoy without traffic whose gates apply at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use protocol::{
    Incarnation, Proxy as Identity, REPORT_PATH, Report, Reporter, Revision, SYNC_PATH, State, SyncRequest,
    SyncResponse, TargetId,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::line::Line;

/// As the relay has it.
const WAIT: Duration = Duration::from_secs(25);
/// As the relay has it: what has been applied is reported at most so often.
const REPORT_GAP: Duration = Duration::from_secs(1);

/// What a proxy has just been told.
pub(super) struct Told {
    /// By its number.
    pub(super) proxy: usize,
    /// When the answer's last byte was there.
    pub(super) at: Instant,
    /// What has changed.
    pub(super) targets: Vec<(TargetId, State)>,
}

/// A proxy that has not synced yet.
pub(super) struct Proxy {
    number: usize,
    polls: Line,
    reports: Line,
}

/// A proxy that has the first snapshot.
pub(super) struct Synced {
    proxy: Proxy,
    revision: Revision,
    heartbeat: Duration,
}

/// A proxy that polls and reports until this is dropped.
pub(super) struct Running(JoinHandle<anyhow::Result<()>>);

impl Proxy {
    pub(super) async fn connect(port: u16, number: usize) -> anyhow::Result<Self> {
        Ok(Self {
            number,
            polls: Line::connect(port).await?,
            reports: Line::connect(port).await?,
        })
    }

    /// The first sync, of the first proxy: the whole snapshot, read.
    pub(super) async fn sync_first(mut self) -> anyhow::Result<(Synced, Bytes, SyncResponse)> {
        let body = ask(&mut self.polls, self.number, None).await?;
        let bytes = body.collect().await?.to_bytes();
        let response: SyncResponse = serde_json::from_slice(&bytes)?;
        ensure!(response.full, "the first answer must be a full snapshot");
        let synced = self.synced(&response);
        Ok((synced, bytes, response))
    }

    /// The first sync of another: must be what the first one got, byte by byte.
    pub(super) async fn sync_like(
        mut self,
        first: &Bytes,
        response: &SyncResponse,
    ) -> anyhow::Result<Synced> {
        let mut body = ask(&mut self.polls, self.number, None).await?;
        let mut rest = &first[..];
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            rest = rest
                .strip_prefix(&data[..])
                .context("every proxy must get the same snapshot")?;
        }
        ensure!(rest.is_empty(), "a snapshot must be whole");
        Ok(self.synced(response))
    }

    fn synced(self, response: &SyncResponse) -> Synced {
        Synced {
            proxy: self,
            revision: response.revision.clone(),
            heartbeat: Duration::from_millis(response.heartbeat_ms),
        }
    }
}

impl Synced {
    pub(super) fn run(self, told: mpsc::UnboundedSender<Told>) -> Running {
        let Self {
            proxy:
                Proxy {
                    number,
                    polls,
                    reports,
                },
            revision,
            heartbeat,
        } = self;
        Running(tokio::spawn(async move {
            let (applied, seen) = watch::channel(revision);
            tokio::select! {
                ended = poll(polls, number, applied, told) => ended,
                ended = report(reports, number, seen, heartbeat) => ended,
            }
        }))
    }
}

impl Running {
    /// Fails if it has ended, which is never well.
    pub(super) async fn check(&mut self) -> anyhow::Result<()> {
        if self.0.is_finished() {
            (&mut self.0).await??;
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn poll(
    mut line: Line,
    number: usize,
    applied: watch::Sender<Revision>,
    told: mpsc::UnboundedSender<Told>,
) -> anyhow::Result<()> {
    loop {
        let since = applied.borrow().clone();
        let body = ask(&mut line, number, Some(since.clone())).await?;
        let bytes = whole(body).await?;
        let at = Instant::now();
        let answer: SyncResponse = serde_json::from_slice(&bytes)?;
        ensure!(!answer.full, "a proxy that keeps up must be told what changed");
        ensure!(
            answer.revision.n >= since.n && answer.revision.instance == since.instance,
            "must go forwards"
        );
        if answer.revision.n > since.n {
            applied.send_replace(answer.revision);
            let targets = answer.targets.into_iter().map(|target| (target.id, target.state));
            let targets = targets.collect();
            // The judge may have gone home.
            let _ = told.send(Told {
                proxy: number,
                at,
                targets,
            });
        }
    }
}

/// At once, then once a second while there is something new, else as a heartbeat.
async fn report(
    mut line: Line,
    number: usize,
    mut seen: watch::Receiver<Revision>,
    heartbeat: Duration,
) -> anyhow::Result<()> {
    for seq in 1.. {
        let applied = seen.borrow_and_update().clone();
        let report = Report {
            proxy: Reporter {
                id: node(number),
                incarnation: incarnation(number),
                term: 1,
                seq,
            },
            applied: Some(applied),
            targets: BTreeMap::new(),
            unreached: Vec::new(),
            leaving: false,
        };
        let answer = line.post(REPORT_PATH, serde_json::to_vec(&report)?).await?;
        ensure!(answer.status() == 204, "a report: {}", answer.status());
        whole(answer.into_body()).await?;
        let sent = tokio::time::Instant::now();
        tokio::select! {
            () = tokio::time::sleep_until(sent + heartbeat) => {}
            changed = seen.changed() => {
                changed?;
                tokio::time::sleep_until(sent + REPORT_GAP.min(heartbeat)).await;
            }
        }
    }
    Ok(())
}

async fn ask(line: &mut Line, number: usize, since: Option<Revision>) -> anyhow::Result<Incoming> {
    let request = SyncRequest {
        proxy: Identity {
            id: node(number),
            incarnation: incarnation(number),
            term: 1,
        },
        since,
        wait_ms: WAIT.as_millis().try_into()?,
        module: None,
    };
    let answer = line.post(SYNC_PATH, serde_json::to_vec(&request)?).await?;
    ensure!(answer.status() == 200, "a sync: {}", answer.status());
    Ok(answer.into_body())
}

async fn whole(mut body: Incoming) -> anyhow::Result<BytesMut> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

fn node(number: usize) -> String {
    format!("envoy-{number}")
}

fn incarnation(number: usize) -> Incarnation {
    Incarnation::from_random(number as u64)
}
