//! The configuration of Envoy, and of gateways on it, for a processor: written by [`print()`], checked for known traps by [`lint()`].

mod lint;
mod print;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use lint::{NotYaml, Warning, lint};
pub use print::print;

use crate::modes::BodyMode;
use crate::needs::{Accepts, Needs};

/// Whose configuration is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Gateway {
    /// Envoy's own: an HTTP filter and a cluster.
    #[default]
    Envoy,
    /// Envoy Gateway: an `EnvoyExtensionPolicy`, with what its API does not have left out and said.
    EnvoyGateway,
    /// kgateway: a `GatewayExtension` and the `TrafficPolicy` that uses it.
    Kgateway,
    /// Istio: an `EnvoyFilter` with the filter and the cluster.
    Istio,
}

impl Gateway {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Envoy, Self::EnvoyGateway, Self::Kgateway, Self::Istio];

    /// The name on command lines: `envoy`, `envoy-gateway`, `kgateway`, `istio`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::EnvoyGateway => "envoy-gateway",
            Self::Kgateway => "kgateway",
            Self::Istio => "istio",
        }
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no gateway of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of envoy, envoy-gateway, kgateway, istio")]
pub struct UnknownGateway(String);

impl FromStr for Gateway {
    type Err = UnknownGateway;

    fn from_str(name: &str) -> Result<Self, UnknownGateway> {
        let known = Self::ALL.into_iter().find(|gateway| gateway.name() == name);
        known.ok_or_else(|| UnknownGateway(name.to_owned()))
    }
}

/// What is printed: the filter of one processor, and how Envoy reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The name of the filter and of its cluster; for gateways that of the objects, so lower case with `-`.
    pub name: String,
    /// The host of the processor: an address, or a name that Envoy resolves. `127.0.0.1`.
    pub host: String,
    /// The port of the processor. 50051.
    pub port: u16,
    /// `request_header_mode`. True.
    pub request_headers: bool,
    /// `response_header_mode`. True.
    pub response_headers: bool,
    /// `request_body_mode`.
    pub request_body: BodyMode,
    /// `response_body_mode`.
    pub response_body: BodyMode,
    /// `request_trailer_mode`; always sent with FULL_DUPLEX_STREAMED, without which Envoy refuses the configuration. False.
    pub request_trailers: bool,
    /// `response_trailer_mode`, as the one before. False.
    pub response_trailers: bool,
    /// `message_timeout`: longer than the processor's own deadlines, which then say what happens. At most an hour.
    pub message_timeout: Duration,
    /// `max_message_timeout`: up to where [`more_time`](crate::Exchange::more_time) may ask. Zero leaves it out.
    pub max_message_timeout: Duration,
    /// `allow_mode_override`.
    pub mode_override: bool,
    /// `failure_mode_allow`: the request goes on without the processor where this is away or fails. False.
    pub fail_open: bool,
    /// `request_attributes`, such as `xds.cluster_name`.
    pub attributes: Vec<String>,
    /// Whether Envoy tries another replica where one dies, or hands over, before it has answered. The handlers of headers may then
    /// run twice for one request. True.
    pub retries: bool,
}

impl Filter {
    /// The filter of a processor with these needs. Where a handler of bodies works in every mode, bodies are not sent (NONE): set
    /// [`request_body`](Self::request_body) and [`response_body`](Self::response_body). Where it works in some, the first is taken;
    /// where the processor asks for modes itself, `allow_mode_override` is set.
    #[must_use]
    pub fn new(name: impl Into<String>, needs: &Needs) -> Self {
        let first = |accepts: Accepts| match accepts {
            Accepts::Any => BodyMode::None,
            Accepts::Only(modes) => modes.first().copied().unwrap_or_default(),
        };
        let asks = needs.ask.is_some();
        let deadlines = &needs.deadlines;
        let own = deadlines
            .headers
            .max(deadlines.trailers)
            .max(deadlines.body_progress);
        Self {
            name: name.into(),
            host: "127.0.0.1".to_owned(),
            port: 50051,
            request_headers: true,
            response_headers: true,
            request_body: if asks {
                BodyMode::None
            } else {
                first(needs.request)
            },
            response_body: if asks {
                BodyMode::None
            } else {
                first(needs.response)
            },
            request_trailers: false,
            response_trailers: false,
            message_timeout: deadlines
                .prolong
                .map_or(own + Duration::from_secs(1), |prolong| prolong.message_timeout)
                .min(Duration::from_secs(3600)),
            max_message_timeout: deadlines.prolong.map(|prolong| prolong.to).unwrap_or_default(),
            mode_override: asks,
            fail_open: false,
            attributes: Vec::new(),
            retries: true,
        }
    }
}
