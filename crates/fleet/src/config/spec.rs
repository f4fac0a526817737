//! The text of a `ScaleTarget` document, field for field. Unknown fields are refused; what the fields mean together
//! is decided in [`super::target`].
//!
//! The custom resource's schema and the reference are made from these types too: their comments are for users.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};

use protocol::LossPolicy;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::keys::{ClusterKey, HostKey};
pub use super::process::{GrpcReady, HttpReady, Process, Ready, Restart, StopSignal, TcpReady};
use super::units::{HumanDuration, PositiveDuration, Size};
use super::words::{AgentPrefix, Authority, GroupVersion, Name, ObjectKind, UrlPath};

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

/// What is wanted.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// What is scaled.
    #[serde(default)]
    pub workload: Workload,
    /// The Service whose endpoints say that the workload is ready. Hosts and clusters are derived from it and its
    /// routes.
    pub service: Option<Service>,
    /// Names of your own, added to what is derived.
    #[serde(default, rename = "match")]
    pub keys: Match,
    /// How many to start.
    #[serde(default)]
    pub replicas: Replicas,
    /// When it is put to sleep.
    #[serde(default)]
    pub idle: Idle,
    /// How requests are held. The bounds count for each Envoy.
    #[serde(default)]
    pub hold: Hold,
    /// How fast held requests are let go once it is ready.
    #[serde(default)]
    pub release: Release,
    /// How an Envoy makes sure that it reaches the workload before it lets requests go.
    #[serde(default)]
    pub confirm: Confirm,
    /// Requests that are no use: passed when it is ready, else refused with 503. They neither wake it nor keep it
    /// awake.
    #[serde(default)]
    pub ignore: Ignore,
    /// Leave the workload alone and let every request pass.
    #[serde(default)]
    pub suspend: bool,
}

/// What is scaled: an object by reference, or in files a process.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    /// API of the object, such as `apps/v1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<GroupVersion>,
    /// Kind of the object: any kind with a scale subresource, such as `Deployment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ObjectKind>,
    /// Name of the object, in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// A process on this machine. Only in the targets file of the local backend, never in a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
}

/// A Kubernetes Service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Name of the Service, in the same namespace.
    pub name: Name,
    /// One of its ports; all of them if absent.
    pub port: Option<NonZeroU16>,
}

/// The user's own match keys.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// Hosts without port: `web.example.com`, or `*.example.com` for all below.
    pub hosts: Vec<HostKey>,
    /// Names of Envoy clusters. A cluster wins over a host.
    pub clusters: Vec<ClusterKey>,
}

/// How many.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Replicas {
    /// Replicas that are set to wake it. What others set after that stands.
    #[schemars(range(max = 2_147_483_647))]
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
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Idle {
    /// It is put to sleep after this long without a request held or in flight.
    pub after: PositiveDuration,
}

impl Default for Idle {
    fn default() -> Self {
        Self {
            after: PositiveDuration::from_secs(300),
        }
    }
}

/// Bounds of the hold, each for one Envoy.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Hold {
    /// Longest time that one request waits; then it gets 504. A shorter `grpc-timeout` of the request wins.
    pub timeout: PositiveDuration,
    /// Most requests held at once; further ones get 503.
    pub max_requests: NonZeroU32,
    /// Most bytes charged at once, about what Envoy keeps: 24Ki for each request, three times its headers, and its body up to
    /// what Envoy buffers; further requests get 503.
    pub max_bytes: Size,
    /// Most bytes charged for a body whose length is not known; never more than Envoy buffers. Lower it only where such bodies
    /// are known to be small.
    pub unknown_body: Size,
    /// What happens to requests for a workload that is not ready while the control plane is away: `hold` them until
    /// their deadline, let them `pass`, or `refuse` them.
    #[schemars(schema_with = "loss_policy")]
    #[serde(deserialize_with = "known_policy")]
    pub on_control_plane_loss: LossPolicy,
}

impl Default for Hold {
    fn default() -> Self {
        Self {
            timeout: PositiveDuration::from_secs(60),
            max_requests: NonZeroU32::MIN.saturating_add(999),
            max_bytes: Size::from_bytes(256 << 20),
            unknown_body: Size::from_bytes(1 << 20),
            on_control_plane_loss: LossPolicy::default(),
        }
    }
}

/// Pace of the release.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Release {
    /// A pace and no bound: so many held requests are let go at once for each ready endpoint, by each Envoy, and one more for each
    /// that is answered. If none is for a second, as many again. A worker that holds lets one go at least.
    pub concurrency_per_endpoint: NonZeroU32,
}

impl Default for Release {
    fn default() -> Self {
        Self {
            concurrency_per_endpoint: NonZeroU32::MIN.saturating_add(99),
        }
    }
}

/// How a worker makes sure that it reaches the workload. What has no meaning must be left at its default: of them all
/// only `settle` has one with `enabled: false`, and `path` has none with `grpc: true`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Confirm {
    /// `false`: ask nothing and wait `settle` instead, for clusters that cannot be asked.
    // Not `off`, which YAML 1.1 reads as a boolean.
    pub enabled: bool,
    /// Ask `grpc.health.v1` instead of a path. NOT_SERVING is not a yes.
    pub grpc: bool,
    /// Path and query to ask, by HEAD, and by GET where that has failed.
    pub path: UrlPath,
    /// What the question says in `:authority`, for a workload that does not answer to the hosts of its clients because
    /// its route rewrites them. If absent, and in a cluster: the `hostname` of the `URLRewrite` filters on the way to
    /// its Service, if they have one; else that of the first held request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<Authority>,
    /// After which a question counts as not answered. It goes on: a late answer is a yes.
    pub timeout: PositiveDuration,
    /// How long 502, 503, 504, UNAVAILABLE, NOT_SERVING, no answer, or a closed connection is believed to mean that the
    /// workload is not there yet. No endpoint and a refused connection are believed for as long as they last.
    pub give_up: HumanDuration,
    /// With `enabled: false`: time from ready to the first release.
    pub settle: HumanDuration,
}

impl Default for Confirm {
    fn default() -> Self {
        Self {
            enabled: true,
            grpc: false,
            path: UrlPath::default(),
            authority: None,
            timeout: PositiveDuration::from_secs(1),
            give_up: HumanDuration::from_secs(5),
            settle: HumanDuration::from_secs(2),
        }
    }
}

/// Requests that are not use.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Ignore {
    /// Exact paths, without query.
    pub paths: Vec<UrlPath>,
    /// Beginnings of `user-agent`.
    pub user_agents: Vec<AgentPrefix>,
}

/// On the wire a word of a later version is held for; in a configuration it is a slip of the pen.
fn known_policy<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<LossPolicy, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Known {
        Hold,
        Pass,
        Refuse,
    }
    Ok(match Known::deserialize(deserializer)? {
        Known::Hold => LossPolicy::Hold,
        Known::Pass => LossPolicy::Pass,
        Known::Refuse => LossPolicy::Refuse,
    })
}

/// The wire type knows no schemas; a table test holds the two together.
fn loss_policy(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": [LossPolicy::Hold, LossPolicy::Pass, LossPolicy::Refuse]})
}
