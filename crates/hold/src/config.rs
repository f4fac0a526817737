//! Parses the plugin configuration: one JSON object, the same for the filter and, but for `service`, for the singleton service. Unknown fields are
//! refused, so a misspelt field is an error that names it, and not a default that the operator did not choose.

mod values;

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// What the operator of an Envoy decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the relay finds the control plane.
    pub control_plane: ControlPlane,
    /// What happens to requests before the first snapshot.
    pub startup: Startup,
    /// Bounds over all targets of this Envoy.
    pub limits: Limits,
    /// What Envoy buffers of one request body at most: its charge never exceeds that.
    pub buffers: Buffers,
    /// How often a root context wakes up by itself.
    pub ticks: Ticks,
    /// What clients are told.
    pub answers: Answers,
    /// True in the singleton service's copy: it owns no streams, and takes a vacant lease at once.
    pub service: bool,
}

/// Where the relay finds the control plane.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlPlane {
    /// Name of the Envoy cluster. Requests routed to it through the filter get 404.
    pub cluster: String,
    /// `:authority` of the calls.
    #[serde(default = "ControlPlane::default_authority")]
    pub authority: String,
    /// Environment variable of the VM that holds the bearer token. The token itself has no place in the configuration:
    /// Envoy shows that in `config_dump`.
    #[serde(default)]
    pub token_env: Option<String>,
    /// Of a report, and on top of a poll's own wait.
    #[serde(
        default = "ControlPlane::default_timeout",
        deserialize_with = "values::duration"
    )]
    pub timeout: Duration,
}

impl ControlPlane {
    fn default_authority() -> String {
        "holdfast".to_owned()
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(5)
    }
}

/// What happens to requests before the first snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Startup {
    /// How long requests are held for it, from the VM's start.
    #[serde(deserialize_with = "values::duration")]
    pub wait: Duration,
    /// What happens to them then.
    pub then: StartupThen,
}

impl Default for Startup {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(2),
            then: StartupThen::Pass,
        }
    }
}

/// What happens to requests when the first snapshot does not come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartupThen {
    /// They pass unasked.
    #[default]
    Pass,
    /// They get 503.
    Refuse,
    /// They wait on, until the snapshot comes or Envoy's own timers end them.
    Hold,
}

/// Bounds over all targets of this Envoy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most requests held at once.
    #[serde(deserialize_with = "values::count")]
    pub requests: u32,
    /// Most bytes charged at once.
    #[serde(deserialize_with = "values::size")]
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 20_000,
            bytes: 1 << 30,
        }
    }
}

/// What Envoy buffers of one request body at most, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Alone on its connection (HTTP/1): up to twice `per_connection_buffer_limit_bytes`.
    pub connection: u64,
    /// Beside others (HTTP/2, HTTP/3): twice the initial window of a stream.
    pub stream: u64,
}

impl Buffers {
    fn default_connection() -> u64 {
        1 << 20
    }

    fn default_stream() -> u64 {
        128 << 10
    }
}

/// How often a root context wakes up by itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ticks {
    /// From one tick to the next while something is urgent.
    #[serde(deserialize_with = "values::duration")]
    pub period: Duration,
}

impl Ticks {
    /// From one tick to the next while nothing is urgent, and always from one heartbeat of a lease or status to the next: five periods, half
    /// a second by default. A relay that has missed three heartbeats is replaced.
    pub fn heartbeat_interval(&self) -> Duration {
        self.period * 5
    }
}

impl Default for Ticks {
    fn default() -> Self {
        Self {
            period: Duration::from_millis(100),
        }
    }
}

/// What clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answers {
    /// How much a refusal says.
    pub detail: Detail,
    /// Whether an answer to a request that was held says in `server-timing` for how long.
    pub server_timing: bool,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            detail: Detail::Class,
            server_timing: true,
        }
    }
}

/// How much a refusal says. What it leaves out stays in logs and in `GET /v1/targets`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// What happened, and of a failure one word of a closed set, such as `image` or `crash`: neither names nor words of workloads.
    #[default]
    Class,
    /// The target's name, and why it failed in the workload's or the API server's own words.
    Full,
    /// Status and type.
    None,
}

/// Why a plugin configuration was refused. One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin configuration: {}", self.0)
    }
}

impl Config {
    /// Parses the plugin configuration.
    ///
    /// # Errors
    /// It is empty, no JSON object, has an unknown field, lacks `control_plane.cluster`, or a value is out of range.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        if json.is_empty() {
            return Err(ConfigError(
                "it is empty; `control_plane.cluster` is required".to_owned(),
            ));
        }
        if json.first() != Some(&b'{') {
            return Err(ConfigError(
                "it is no JSON object; put JSON text into a google.protobuf.StringValue (a Struct reaches the module as \
                 protobuf bytes)"
                    .to_owned(),
            ));
        }
        let fields: Fields = protocol::read_json(json).map_err(|error| ConfigError(error.to_string()))?;
        Self::from(fields).check()
    }

    fn check(self) -> Result<Self, ConfigError> {
        let refuse = |field: &str, reason: &str| Err(ConfigError(format!("`{field}` {reason}")));
        if self.control_plane.cluster.is_empty() {
            return refuse("control_plane.cluster", "must not be empty");
        }
        if self.control_plane.authority.is_empty() {
            return refuse("control_plane.authority", "must not be empty");
        }
        if self.control_plane.timeout.is_zero() {
            return refuse("control_plane.timeout", "must be longer than 0");
        }
        if self.limits.requests == 0 {
            return refuse("limits.requests", "must be at least 1");
        }
        if self.ticks.period < Duration::from_millis(10) || self.ticks.period > Duration::from_secs(1) {
            return refuse("ticks.period", "must be between 10ms and 1s");
        }
        Ok(self)
    }
}

/// The JSON object, as it stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    control_plane: ControlPlane,
    #[serde(default)]
    startup: Startup,
    #[serde(default)]
    limits: Limits,
    #[serde(default = "Buffers::default_connection", deserialize_with = "values::size")]
    buffer_limit: u64,
    #[serde(default = "Buffers::default_stream", deserialize_with = "values::size")]
    stream_buffer_limit: u64,
    #[serde(default)]
    ticks: Ticks,
    #[serde(default)]
    answers: Answers,
    #[serde(default)]
    service: bool,
}

impl From<Fields> for Config {
    fn from(fields: Fields) -> Self {
        Self {
            control_plane: fields.control_plane,
            startup: fields.startup,
            limits: fields.limits,
            buffers: Buffers {
                connection: fields.buffer_limit,
                stream: fields.stream_buffer_limit,
            },
            ticks: fields.ticks,
            answers: fields.answers,
            service: fields.service,
        }
    }
}

#[cfg(test)]
mod tests;
