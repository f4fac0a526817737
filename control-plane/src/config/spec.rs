//! The text of a `ScaleTarget` document, field for field. Unknown fields are refused; what the fields mean together
//! is decided in [`super::target`].

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::str::FromStr;

use protocol::LossPolicy;
use serde::{Deserialize, Deserializer};

use super::keys::{ClusterKey, HostKey};
use super::units::{Size, Span, parse_text};

/// One document.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Document {
    /// Always `holdfast.dev/v1alpha1`.
    pub api_version: ApiVersion,
    /// Always `ScaleTarget`.
    pub kind: Kind,
    /// Its name.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: Spec,
}

/// The one version there is.
#[derive(Clone, Copy, Debug, Deserialize)]
pub enum ApiVersion {
    /// `holdfast.dev/v1alpha1`.
    #[serde(rename = "holdfast.dev/v1alpha1")]
    V1Alpha1,
}

/// The one kind there is.
#[derive(Clone, Copy, Debug, Deserialize)]
pub enum Kind {
    /// `ScaleTarget`.
    ScaleTarget,
}

/// Name of a document.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Unique within the namespace.
    pub name: Name,
    /// `default` if absent.
    #[serde(default)]
    pub namespace: Name,
    /// For people and their tools; not read.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// For people and their tools; not read.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A name as Kubernetes has it: up to 253 of `a-z 0-9 - .`, a letter or digit at both ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Name {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let ends = |c: Option<u8>| c.is_some_and(word);
        let inner = text.bytes().all(|c| word(c) || c == b'-' || c == b'.');
        if text.len() > 253 || !inner || !ends(text.bytes().next()) || !ends(text.bytes().last()) {
            return Err(format!(
                "{text:?} is no name: write lower-case letters, digits, '-' and '.'"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_text(deserializer, "a name")
    }
}

/// What is wanted.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// What is scaled.
    #[serde(default)]
    pub workload: Workload,
    /// Whose endpoints say ready (Kubernetes only).
    pub service: Option<Service>,
    /// Names, added to what is derived.
    #[serde(default, rename = "match")]
    pub keys: Match,
    /// How many.
    #[serde(default)]
    pub replicas: Replicas,
    /// When to sleep.
    #[serde(default)]
    pub idle: Idle,
    /// Bounds of the hold.
    #[serde(default)]
    pub hold: Hold,
    /// Pace of the release.
    #[serde(default)]
    pub release: Release,
    /// How a worker makes sure that it reaches the workload.
    #[serde(default)]
    pub confirm: Confirm,
    /// Requests that are not use.
    #[serde(default)]
    pub ignore: Ignore,
    /// Leave the workload alone and let everything pass.
    #[serde(default)]
    pub suspend: bool,
}

/// What is scaled: an object by reference, or in files a process.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    /// Of the object.
    pub api_version: Option<String>,
    /// Of the object.
    pub kind: Option<String>,
    /// Of the object.
    pub name: Option<String>,
    /// Only in files.
    pub process: Option<Process>,
}

/// A process on this machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Process {
    /// Program and arguments; the program is looked up in `PATH`.
    pub command: Vec<String>,
    /// Added to the control plane's own environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Working directory; the control plane's own if absent.
    pub dir: Option<String>,
    /// How it says that it is ready.
    pub ready: Ready,
    /// From SIGTERM to SIGKILL.
    #[serde(default = "ten_seconds")]
    pub stop_grace: Span,
    /// From the start to the first ready.
    #[serde(default = "one_minute")]
    pub start_timeout: Span,
    /// Start it as soon as the control plane starts, instead of at the first request.
    #[serde(default)]
    pub autostart: bool,
}

/// Exactly one of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// Ready when a GET is answered with 2xx or 3xx.
    pub http: Option<HttpReady>,
    /// Ready when a connection is taken.
    pub tcp: Option<TcpReady>,
}

/// Where to ask over HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpReady {
    /// IP address; 127.0.0.1 if absent.
    pub address: Option<std::net::IpAddr>,
    /// TCP port.
    pub port: NonZeroU16,
    /// Path and query; `/` if absent.
    pub path: Option<String>,
}

/// Where to connect.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpReady {
    /// IP address; 127.0.0.1 if absent.
    pub address: Option<std::net::IpAddr>,
    /// TCP port.
    pub port: NonZeroU16,
}

/// A Kubernetes Service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// In the document's namespace.
    pub name: Name,
    /// One of its ports; all of them if absent.
    pub port: Option<NonZeroU16>,
}

/// The user's own match keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Hosts.
    #[serde(default)]
    pub hosts: Vec<HostKey>,
    /// Clusters.
    #[serde(default)]
    pub clusters: Vec<ClusterKey>,
}

/// How many.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replicas {
    /// On waking.
    pub wake: NonZeroU32,
}

impl Default for Replicas {
    fn default() -> Self {
        Self {
            wake: NonZeroU32::MIN,
        }
    }
}

/// When to sleep.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idle {
    /// After this long without use.
    pub after: Span,
}

impl Default for Idle {
    fn default() -> Self {
        Self {
            after: Span::from_secs(300),
        }
    }
}

/// Bounds of the hold, each for one Envoy.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Hold {
    /// Longest time one request waits.
    pub timeout: Span,
    /// Most requests held at once.
    pub max_requests: NonZeroU32,
    /// Most bytes charged at once.
    pub max_bytes: Size,
    /// Charged for a body of unknown length.
    pub unknown_body: Size,
    /// While the control plane is away.
    pub on_control_plane_loss: LossPolicy,
}

impl Default for Hold {
    fn default() -> Self {
        Self {
            timeout: Span::from_secs(60),
            max_requests: NonZeroU32::MIN.saturating_add(999),
            max_bytes: Size::from_bytes(64 << 20),
            unknown_body: Size::from_bytes(64 << 10),
            on_control_plane_loss: LossPolicy::default(),
        }
    }
}

/// Pace of the release.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Release {
    /// Released and unanswered, for each ready endpoint.
    pub concurrency_per_endpoint: NonZeroU32,
}

impl Default for Release {
    fn default() -> Self {
        Self {
            concurrency_per_endpoint: NonZeroU32::MIN.saturating_add(99),
        }
    }
}

/// How a worker makes sure that it reaches the workload.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Confirm {
    /// False: wait `settle` instead. (Not `off`, which YAML 1.1 reads as a boolean.)
    pub enabled: Option<bool>,
    /// Ask grpc.health.v1 instead of a path.
    pub grpc: Option<bool>,
    /// Path and query; `/` if absent.
    pub path: Option<String>,
    /// Of one attempt; 1s if absent.
    pub timeout: Option<Span>,
    /// How long "not there" is believed; 5s if absent.
    pub give_up: Option<Span>,
    /// With `enabled: false`: from ready to the first release.
    pub settle: Option<Span>,
}

/// Requests that are not use.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ignore {
    /// Exact paths, without query.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Prefixes of `user-agent`.
    #[serde(default)]
    pub user_agents: Vec<String>,
}

fn ten_seconds() -> Span {
    Span::from_secs(10)
}

fn one_minute() -> Span {
    Span::from_secs(60)
}
