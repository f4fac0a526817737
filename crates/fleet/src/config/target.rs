//! A target as the rest of the program has it: every value is one that can be carried out.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use protocol::TargetId;
use thiserror::Error;

use super::keys::MatchKeys;
use super::spec::{self, Document, Restart, StopSignal};
use super::words::Authority;

/// Longest name of a gRPC service, in bytes.
const MAX_SERVICE: usize = 255;

/// One target, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleTarget {
    /// `namespace/name`.
    pub id: TargetId,
    /// What is scaled.
    pub workload: Workload,
    /// Whose endpoints say ready (Kubernetes only).
    pub service: Option<spec::Service>,
    /// The user's own match keys.
    pub keys: MatchKeys,
    /// Replicas on waking.
    pub wake_replicas: NonZeroU32,
    /// Time without use until it is put to sleep.
    pub idle_after: Duration,
    /// As published.
    pub hold: protocol::Hold,
    /// As published.
    pub release: protocol::Release,
    /// As published.
    pub confirm: protocol::Confirm,
    /// As published.
    pub ignore: protocol::Ignore,
    /// Leave the workload alone and let everything pass.
    pub suspend: bool,
}

impl ScaleTarget {
    /// True if the confirm asks, and the user has not said under which name.
    pub fn lacks_authority(&self) -> bool {
        match &self.confirm {
            protocol::Confirm::Http { authority, .. } | protocol::Confirm::Grpc { authority, .. } => {
                authority.is_none()
            }
            protocol::Confirm::Off { .. } | protocol::Confirm::Unknown => false,
        }
    }

    /// What the confirm says in `:authority`, unless the user has said something else.
    pub fn derive_authority(&mut self, derived: Authority) {
        if let protocol::Confirm::Http { authority, .. } | protocol::Confirm::Grpc { authority, .. } =
            &mut self.confirm
        {
            authority.get_or_insert_with(|| derived.into());
        }
    }
}

/// What is scaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Nothing that the control plane could start: a person does (manual backend).
    Unnamed,
    /// A process on this machine.
    Process(Process),
    /// An object with a scale subresource.
    Object {
        /// Such as `apps/v1`.
        api_version: String,
        /// Such as `Deployment`.
        kind: String,
        /// In the document's namespace.
        name: String,
    },
}

/// A process on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Looked up in `PATH`.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Added to the control plane's own environment.
    pub env: BTreeMap<String, String>,
    /// Working directory.
    pub dir: Option<String>,
    /// How it says that it is ready.
    pub ready: Probe,
    /// Asks its group to end.
    pub stop_signal: StopSignal,
    /// From that signal to SIGKILL.
    pub stop_grace: Duration,
    /// From the start to the first ready.
    pub start_timeout: Duration,
    /// When it is started again without being asked for.
    pub restart: Restart,
    /// Started with the control plane.
    pub autostart: bool,
}

impl Process {
    /// True if what runs of one is what runs of the other: how it is started and ended does not matter once it does.
    pub fn runs_as(&self, other: &Self) -> bool {
        let what = |one: &Self| {
            (
                one.program.clone(),
                one.args.clone(),
                one.env.clone(),
                one.dir.clone(),
            )
        };
        what(self) == what(other) && self.ready.address() == other.ready.address()
    }
}

/// How a process says that it is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It takes a connection.
    Tcp(SocketAddr),
    /// It answers a GET of this path with 2xx or 3xx.
    Http(SocketAddr, String),
    /// Its health service says that this service is serving; empty: the server as a whole.
    Grpc(SocketAddr, String),
}

impl Probe {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Tcp(address) | Self::Http(address, _) | Self::Grpc(address, _) => *address,
        }
    }
}

impl std::fmt::Display for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp {address}"),
            Self::Http(address, path) => write!(f, "http://{address}{path}"),
            Self::Grpc(address, service) if service.is_empty() => write!(f, "grpc {address}"),
            Self::Grpc(address, service) => write!(f, "grpc {address} {service}"),
        }
    }
}

/// A field whose value is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {reason}")]
pub struct Refused {
    /// Path of the field in its document, such as `spec.workload.process`.
    pub field: &'static str,
    /// Why, for people, in one line.
    pub reason: String,
}

impl Refused {
    fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self {
            field,
            reason: reason.into(),
        }
    }
}

impl ScaleTarget {
    /// Reads the meaning of a document. Refused: a workload named twice or by halves, an empty command, a process
    /// without exactly one probe or with several replicas, more replicas than Kubernetes counts, a confirm that is
    /// both off and asked for.
    pub fn try_new(document: Document) -> Result<Self, Refused> {
        let Document {
            api_version: _,
            kind: _,
            metadata,
            spec,
        } = document;
        let id = TargetId::new(format!(
            "{}/{}",
            metadata.namespace.as_str(),
            metadata.name.as_str()
        ));
        let workload = workload(spec.workload)?;
        if matches!(workload, Workload::Process(_)) && spec.replicas.wake > NonZeroU32::MIN {
            return Err(Refused::new(
                "spec.replicas.wake",
                "a process is started once: write 1",
            ));
        }
        if i32::try_from(spec.replicas.wake.get()).is_err() {
            return Err(Refused::new("spec.replicas.wake", "is more than 2147483647"));
        }
        Ok(Self {
            id,
            workload,
            service: spec.service,
            keys: MatchKeys::new(spec.keys.hosts, spec.keys.clusters),
            wake_replicas: spec.replicas.wake,
            idle_after: spec.idle.after.get(),
            hold: protocol::Hold {
                timeout_ms: spec.hold.timeout.as_millis(),
                max_requests: spec.hold.max_requests.get(),
                max_bytes: spec.hold.max_bytes.bytes(),
                unknown_body: spec.hold.unknown_body.bytes(),
                on_control_plane_loss: spec.hold.on_control_plane_loss,
            },
            release: protocol::Release {
                concurrency_per_endpoint: spec.release.concurrency_per_endpoint.get(),
            },
            confirm: confirm(spec.confirm)?,
            ignore: protocol::Ignore {
                paths: spec.ignore.paths.into_iter().map(String::from).collect(),
                user_agents: spec.ignore.user_agents.into_iter().map(String::from).collect(),
            },
            suspend: spec.suspend,
        })
    }
}

fn workload(text: spec::Workload) -> Result<Workload, Refused> {
    const FIELD: &str = "spec.workload";
    match (text.process, text.api_version, text.kind, text.name) {
        (Some(process), None, None, None) => Ok(Workload::Process(self::process(process)?)),
        (Some(_), ..) => Err(Refused::new(
            FIELD,
            "names both a process and an object: write one of them",
        )),
        (None, Some(api_version), Some(kind), Some(name)) => Ok(Workload::Object {
            api_version: api_version.into(),
            kind: kind.into(),
            name: name.into(),
        }),
        (None, None, None, None) => Ok(Workload::Unnamed),
        (None, ..) => Err(Refused::new(FIELD, "an object needs apiVersion, kind and name")),
    }
}

fn process(text: spec::Process) -> Result<Process, Refused> {
    refuse_nul(&text)?;
    let mut words = text.command.into_iter();
    let program = words
        .next()
        .filter(|program| !program.is_empty())
        .ok_or_else(|| {
            Refused::new(
                "spec.workload.process.command",
                "is empty: write the program and its arguments",
            )
        })?;
    Ok(Process {
        program,
        args: words.collect(),
        env: text.env,
        dir: text.dir,
        ready: probe(text.ready)?,
        stop_signal: text.stop_signal,
        stop_grace: text.stop_grace.get(),
        start_timeout: text.start_timeout.get(),
        restart: text.restart,
        autostart: text.autostart,
    })
}

/// The operating system ends each of these texts at its first NUL.
fn refuse_nul(text: &spec::Process) -> Result<(), Refused> {
    let has_nul = |text: &String| text.contains('\0');
    let refuse = |field, what: &str| Err(Refused::new(field, format!("{what} holds a NUL character")));
    if text.command.iter().any(has_nul) {
        return refuse("spec.workload.process.command", "a word of it");
    }
    if text.dir.as_ref().is_some_and(has_nul) {
        return refuse("spec.workload.process.dir", "it");
    }
    let field = "spec.workload.process.env";
    for (name, value) in &text.env {
        if has_nul(name) || has_nul(value) {
            return refuse(field, "a name or a value");
        }
        if name.is_empty() || name.contains('=') {
            let reason = format!("{name:?} is no name of a variable: it is not empty and holds no '='");
            return Err(Refused::new(field, reason));
        }
    }
    Ok(())
}

fn probe(text: spec::Ready) -> Result<Probe, Refused> {
    let at = |address: Option<IpAddr>, port: NonZeroU16| {
        SocketAddr::new(address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), port.get())
    };
    match (text.http, text.tcp, text.grpc) {
        (Some(http), None, None) => Ok(Probe::Http(at(http.address, http.port), http.path.into())),
        (None, Some(tcp), None) => Ok(Probe::Tcp(at(tcp.address, tcp.port))),
        (None, None, Some(grpc)) if grpc.service.len() > MAX_SERVICE => Err(Refused::new(
            "spec.workload.process.ready.grpc.service",
            format!("is longer than {MAX_SERVICE} bytes"),
        )),
        (None, None, Some(grpc)) => Ok(Probe::Grpc(at(grpc.address, grpc.port), grpc.service)),
        _ => Err(Refused::new(
            "spec.workload.process.ready",
            "write exactly one of http, tcp and grpc",
        )),
    }
}

fn confirm(text: spec::Confirm) -> Result<protocol::Confirm, Refused> {
    let default = spec::Confirm::default();
    if !text.enabled {
        let only_settle = spec::Confirm {
            enabled: false,
            settle: text.settle,
            ..default
        };
        if text != only_settle {
            return Err(Refused::new(
                "spec.confirm",
                "enabled: false leaves only settle to be set",
            ));
        }
        return Ok(protocol::Confirm::Off {
            settle_ms: text.settle.as_millis(),
        });
    }
    if text.settle != default.settle {
        return Err(Refused::new(
            "spec.confirm.settle",
            "has a meaning only with enabled: false",
        ));
    }
    let (timeout_ms, give_up_ms) = (text.timeout.as_millis(), text.give_up.as_millis());
    let authority = text.authority.map(String::from);
    if !text.grpc {
        return Ok(protocol::Confirm::Http {
            path: text.path.into(),
            authority,
            timeout_ms,
            give_up_ms,
        });
    }
    if text.path != default.path {
        return Err(Refused::new(
            "spec.confirm.path",
            "has no meaning with grpc: true",
        ));
    }
    Ok(protocol::Confirm::Grpc {
        authority,
        timeout_ms,
        give_up_ms,
    })
}
