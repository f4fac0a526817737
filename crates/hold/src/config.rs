//! The plugin configuration: one JSON object, the same for the filter and, but for `service`, for the singleton service. Unknown fields are
//! refused, so a slip of the pen is an error that names the field and not a default that nobody asked for.

use std::fmt;
use std::time::Duration;

use crate::json::{Error, Reader, missing};
use crate::units;

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
    /// Beats of lease and rows.
    pub ticks: Ticks,
    /// What clients are told.
    pub answers: Answers,
    /// True in the singleton service's copy: it owns no streams, and takes a vacant lease at once.
    pub service: bool,
}

/// Where the relay finds the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlane {
    /// Name of the Envoy cluster. Requests routed to it through the filter get 404.
    pub cluster: String,
    /// `:authority` of the calls.
    pub authority: String,
    /// Environment variable of the VM that holds the bearer token. The token itself has no place in the configuration:
    /// Envoy shows that in `config_dump`.
    pub token_env: Option<String>,
    /// Of a report, and on top of a poll's own wait.
    pub timeout: Duration,
}

/// What happens to requests before the first snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startup {
    /// How long requests are held for it, from the VM's start.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most requests held at once.
    pub requests: u32,
    /// Most bytes charged at once.
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

impl Default for Buffers {
    fn default() -> Self {
        Self {
            connection: 1 << 20,
            stream: 128 << 10,
        }
    }
}

/// Beats of lease and rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticks {
    /// From one beat to the next while anything happens. A lease is lost after five without one, or more while its
    /// owner rests.
    pub period: Duration,
}

impl Default for Ticks {
    fn default() -> Self {
        Self {
            period: Duration::from_millis(100),
        }
    }
}

/// What clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
        let read = || {
            let mut reader = Reader::new(json)?;
            let config = config(&mut reader)?;
            reader.end()?;
            Ok(config)
        };
        read()
            .map_err(|error: Error| ConfigError(error.to_string()))?
            .check()
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

/// Reads an object whose fields are all known; one that comes twice is refused.
fn fields(
    reader: &mut Reader<'_>,
    known: &[&str],
    field: &mut dyn FnMut(&mut Reader<'_>, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut seen = Vec::new();
    reader.object(&mut |reader, name| {
        if !known.contains(&name) {
            return Err(unknown("field", name, known));
        }
        if seen.iter().any(|other| other == name) {
            return Err(Error::new("it is there twice"));
        }
        seen.push(name.to_owned());
        field(reader, name)
    })
}

fn unknown(what: &str, found: &str, known: &[&str]) -> Error {
    let known = known.join("`, `");
    Error::new(format!("unknown {what} `{found}`, expected one of `{known}`"))
}

fn config(reader: &mut Reader<'_>) -> Result<Config, Error> {
    let mut to = None;
    let mut startup = Startup::default();
    let mut limits = Limits::default();
    let mut buffers = Buffers::default();
    let mut ticks = Ticks::default();
    let mut answers = Answers::default();
    let mut service = false;
    fields(
        reader,
        &[
            "control_plane",
            "startup",
            "limits",
            "buffer_limit",
            "stream_buffer_limit",
            "ticks",
            "answers",
            "service",
        ],
        &mut |reader, name| {
            match name {
                "control_plane" => to = Some(control_plane(reader)?),
                "startup" => startup = self::startup(reader)?,
                "limits" => limits = self::limits(reader)?,
                "buffer_limit" => buffers.connection = size(reader)?,
                "stream_buffer_limit" => buffers.stream = size(reader)?,
                "ticks" => ticks = self::ticks(reader)?,
                "answers" => answers = self::answers(reader)?,
                "service" => service = reader.bool()?,
                _ => {}
            }
            Ok(())
        },
    )?;
    Ok(Config {
        control_plane: to.ok_or_else(|| missing("control_plane"))?,
        startup,
        limits,
        buffers,
        ticks,
        answers,
        service,
    })
}

fn control_plane(reader: &mut Reader<'_>) -> Result<ControlPlane, Error> {
    let mut cluster = None;
    let mut authority = "holdfast".to_owned();
    let mut token_env = None;
    let mut timeout = Duration::from_secs(5);
    fields(
        reader,
        &["cluster", "authority", "token_env", "timeout"],
        &mut |reader, name| {
            match name {
                "cluster" => cluster = Some(reader.string()?),
                "authority" => authority = reader.string()?,
                "token_env" => {
                    token_env = if reader.null() {
                        None
                    } else {
                        Some(reader.string()?)
                    }
                }
                "timeout" => timeout = duration(reader)?,
                _ => {}
            }
            Ok(())
        },
    )?;
    Ok(ControlPlane {
        cluster: cluster.ok_or_else(|| missing("cluster"))?,
        authority,
        token_env,
        timeout,
    })
}

fn startup(reader: &mut Reader<'_>) -> Result<Startup, Error> {
    let mut startup = Startup::default();
    fields(reader, &["wait", "then"], &mut |reader, name| {
        match name {
            "wait" => startup.wait = duration(reader)?,
            "then" => {
                startup.then = match reader.string()?.as_str() {
                    "pass" => StartupThen::Pass,
                    "refuse" => StartupThen::Refuse,
                    "hold" => StartupThen::Hold,
                    other => return Err(unknown("variant", other, &["pass", "refuse", "hold"])),
                };
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(startup)
}

fn limits(reader: &mut Reader<'_>) -> Result<Limits, Error> {
    let mut limits = Limits::default();
    fields(reader, &["requests", "bytes"], &mut |reader, name| {
        match name {
            "requests" => limits.requests = reader.u32()?,
            "bytes" => limits.bytes = size(reader)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(limits)
}

fn ticks(reader: &mut Reader<'_>) -> Result<Ticks, Error> {
    let mut ticks = Ticks::default();
    fields(reader, &["period"], &mut |reader, _| {
        ticks.period = duration(reader)?;
        Ok(())
    })?;
    Ok(ticks)
}

fn answers(reader: &mut Reader<'_>) -> Result<Answers, Error> {
    let mut answers = Answers::default();
    fields(reader, &["detail", "server_timing"], &mut |reader, name| {
        match name {
            "detail" => {
                answers.detail = match reader.string()?.as_str() {
                    "class" => Detail::Class,
                    "full" => Detail::Full,
                    "none" => Detail::None,
                    other => return Err(unknown("variant", other, &["class", "full", "none"])),
                };
            }
            "server_timing" => answers.server_timing = reader.bool()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(answers)
}

fn duration(reader: &mut Reader<'_>) -> Result<Duration, Error> {
    units::duration(&reader.string()?).map_err(Error::new)
}

/// A number of bytes, or text with a unit.
fn size(reader: &mut Reader<'_>) -> Result<u64, Error> {
    if reader.is_string() {
        units::bytes(&reader.string()?).map_err(Error::new)
    } else {
        reader.u64()
    }
}

#[cfg(test)]
mod tests;
