//! The text of a process in a targets file: what is run, and how it is asked, ended and started again.
//!
//! The reference is made from these types too: their comments are for users.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{HumanDuration, PositiveDuration};
use super::words::UrlPath;

/// A process on this machine.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Process {
    /// Program and arguments; the program is looked up in `PATH`.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// Added to the control plane's own environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Working directory; the control plane's own if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// How it says that it is ready.
    pub ready: Ready,
    /// The signal that asks its process group to end.
    #[serde(default)]
    pub stop_signal: StopSignal,
    /// From that signal to SIGKILL.
    #[serde(default = "ten_seconds")]
    pub stop_grace: HumanDuration,
    /// From the start to the first ready; after it the start has failed.
    #[serde(default = "one_minute")]
    pub start_timeout: PositiveDuration,
    /// What happens when it ends by itself after it was ready. `onFailure`: with status 0 and nothing held or in flight it
    /// sleeps until the next request, else it is started again. `always`: it is started again.
    #[serde(default)]
    pub restart: Restart,
    /// Start it as soon as the control plane starts, instead of at the first request.
    #[serde(default)]
    pub autostart: bool,
}

/// When a process that has ended by itself is started again without being asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Restart {
    /// Unless it has ended with status 0 and no request uses it.
    #[default]
    OnFailure,
    /// However it has ended.
    Always,
}

/// A signal that a process can end well by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum StopSignal {
    /// The usual one.
    #[default]
    SigTerm,
    /// As by Ctrl-C.
    SigInt,
    /// As nginx and PHP-FPM have it.
    SigQuit,
    /// As shells have it.
    SigHup,
    /// Its own meaning.
    SigUsr1,
    /// Its own meaning.
    SigUsr2,
}

impl StopSignal {
    /// Its name, such as `SIGTERM`.
    pub fn name(self) -> &'static str {
        match self {
            Self::SigTerm => "SIGTERM",
            Self::SigInt => "SIGINT",
            Self::SigQuit => "SIGQUIT",
            Self::SigHup => "SIGHUP",
            Self::SigUsr1 => "SIGUSR1",
            Self::SigUsr2 => "SIGUSR2",
        }
    }
}

/// Exactly one of them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// Ready when a GET is answered with 2xx or 3xx.
    pub http: Option<HttpReady>,
    /// Ready when a connection is taken.
    pub tcp: Option<TcpReady>,
    /// Ready when `grpc.health.v1.Health/Check` is answered with SERVING.
    pub grpc: Option<GrpcReady>,
}

/// Where to ask over HTTP.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpReady {
    /// IP address; 127.0.0.1 if absent.
    pub address: Option<std::net::IpAddr>,
    /// TCP port.
    pub port: NonZeroU16,
    /// Path and query.
    #[serde(default)]
    pub path: UrlPath,
}

/// Where to connect.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpReady {
    /// IP address; 127.0.0.1 if absent.
    pub address: Option<std::net::IpAddr>,
    /// TCP port.
    pub port: NonZeroU16,
}

/// Where to ask over gRPC, without TLS.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrpcReady {
    /// IP address; 127.0.0.1 if absent.
    pub address: Option<std::net::IpAddr>,
    /// TCP port.
    pub port: NonZeroU16,
    /// Name of the service that is asked for, at most 255 bytes; the server as a whole if absent.
    #[serde(default)]
    #[schemars(length(max = 255))]
    pub service: String,
}

fn ten_seconds() -> HumanDuration {
    HumanDuration::from_secs(10)
}

fn one_minute() -> PositiveDuration {
    PositiveDuration::from_secs(60)
}
