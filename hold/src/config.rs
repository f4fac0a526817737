//! The plugin configuration: one JSON object, the same for the filter and, but for `service`, for the singleton service. Unknown fields are
//! refused, so a slip of the pen is an error that names the field and not a default that nobody asked for.

use std::fmt;
use std::time::Duration;

use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer};

use crate::units;

/// What the operator of an Envoy decides.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the relay finds the control plane.
    pub control_plane: ControlPlane,
    /// What happens to requests before the first snapshot.
    #[serde(default)]
    pub startup: Startup,
    /// Bounds over all targets of this Envoy.
    #[serde(default)]
    pub limits: Limits,
    /// What Envoy buffers of one request body at most: the charge of a held request never exceeds it.
    #[serde(default = "default_buffer_limit", deserialize_with = "size")]
    pub buffer_limit: u64,
    /// Beats of lease and rows.
    #[serde(default)]
    pub ticks: Ticks,
    /// True in the singleton service's copy: it owns no streams, and takes a vacant lease at once.
    #[serde(default)]
    pub service: bool,
}

/// Where the relay finds the control plane.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlPlane {
    /// Name of the Envoy cluster. Requests routed to it through the filter get 404.
    pub cluster: String,
    /// `:authority` of the calls.
    #[serde(default = "default_authority")]
    pub authority: String,
    /// Environment variable of the VM that holds the bearer token. The token itself has no place in the configuration:
    /// Envoy shows that in `config_dump`.
    #[serde(default)]
    pub token_env: Option<String>,
    /// Of a report, and on top of a poll's own wait.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
}

/// What happens to requests before the first snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Startup {
    /// How long requests are held for it, from the VM's start.
    #[serde(deserialize_with = "duration")]
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
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most requests held at once.
    pub requests: u32,
    /// Most bytes charged at once.
    #[serde(deserialize_with = "size")]
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

/// Beats of lease and rows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ticks {
    /// From one beat to the next. A lease is lost after five without one.
    #[serde(deserialize_with = "duration")]
    pub period: Duration,
}

impl Default for Ticks {
    fn default() -> Self {
        Self {
            period: Duration::from_millis(100),
        }
    }
}

/// Why a plugin configuration was refused. One line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(String);

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
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let config: Self = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let (path, reason) = (error.path().to_string(), error.into_inner());
            // At the top there is no path: `.`.
            ConfigError(match path.as_str() {
                "." => reason.to_string(),
                path => format!("`{path}`: {reason}"),
            })
        })?;
        deserializer
            .end()
            .map_err(|error| ConfigError(error.to_string()))?;
        config.check()
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

fn default_authority() -> String {
    "holdfast".to_owned()
}

fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

fn default_buffer_limit() -> u64 {
    1 << 20
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    units::duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// A number of bytes, or text with a unit. Envoy's `Struct` has only doubles, so `1048576.0` is taken too.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Size {
        Whole(u64),
        Double(f64),
        Text(String),
    }
    match Size::deserialize(deserializer)? {
        Size::Whole(bytes) => Ok(bytes),
        Size::Double(bytes) if bytes >= 0.0 && bytes.fract() == 0.0 && bytes < 9e15 => Ok(bytes as u64),
        Size::Double(bytes) => Err(D::Error::invalid_value(
            Unexpected::Float(bytes),
            &"a whole number of bytes",
        )),
        Size::Text(text) => units::bytes(&text).map_err(D::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn refused(json: &str) -> String {
        Config::parse(json.as_bytes())
            .expect_err("must be refused")
            .to_string()
    }

    #[test]
    fn only_the_cluster_is_required() {
        let config = Config::parse(br#"{"control_plane":{"cluster":"holdfast"}}"#).unwrap();
        assert_eq!(
            config.startup,
            Startup {
                wait: Duration::from_secs(2),
                then: StartupThen::Pass
            }
        );
        assert_eq!(config.buffer_limit, 1 << 20);
        assert_eq!(config.limits.requests, 20_000);
    }

    #[test]
    fn errors_name_the_field() {
        assert!(refused("").contains("control_plane.cluster"));
        assert!(refused("{}").contains("control_plane"));
        assert!(refused("\n\u{f}").contains("StringValue"));
        assert!(refused(r#"{"control_plane":{"cluster":""}}"#).contains("control_plane.cluster"));
        assert!(refused(r#"{"control_plane":{"cluster":"a"},"limit":{}}"#).contains("limit"));
        assert!(
            refused(r#"{"control_plane":{"cluster":"a"},"startup":{"wait":"2"}}"#)
                .contains("`startup.wait`: `2` is not a duration")
        );
        assert!(
            refused(r#"{"control_plane":{"cluster":"a"},"limits":{"requests":0}}"#)
                .contains("limits.requests")
        );
        assert!(
            refused(r#"{"control_plane":{"cluster":"a"},"ticks":{"period":"1ms"}}"#).contains("ticks.period")
        );
    }

    #[test]
    fn sizes_are_numbers_or_text() {
        let parse = |limit: &str| {
            Config::parse(
                format!(r#"{{"control_plane":{{"cluster":"a"}},"buffer_limit":{limit}}}"#).as_bytes(),
            )
            .map(|config| config.buffer_limit)
        };
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("4096.0"), Ok(4096));
        assert_eq!(parse(r#""64Ki""#), Ok(65_536));
        assert!(parse("0.5").is_err(), "half a byte must be refused");
    }
}
