//! The traps, each with its name, what happens, and what to set. Seen on Envoy 1.40 unless it is said otherwise.

use std::time::Duration;

use serde_norway::Value;

use super::lint::{FoundCluster, FoundFilter, Warning, at, text};

const FULL_DUPLEX: &str = "FULL_DUPLEX_STREAMED";
/// Envoy's own where nothing is said.
const IDLE: Duration = Duration::from_secs(300);
const BUFFER: u64 = 1 << 20;
/// The largest message that a [`Server`](crate::Server) takes where nothing else is said.
const MAX_MESSAGE: u64 = 16 << 20;
/// More than this of one body in Envoy is worth a warning.
const WINDOW: u64 = 1 << 20;
/// A cluster of calls that are open as long as their requests wants more than this.
const REQUESTS: u64 = 1_024;
const RETRIES: u64 = 3;

/// The traps of one filter, or of one route's override.
pub(super) fn filter(found: &FoundFilter, warnings: &mut Vec<Warning>) {
    let mut warn = |lint, text: String| {
        warnings.push(Warning {
            lint,
            at: found.name.clone(),
            text,
        });
    };
    let config = &found.config;
    let mode = |field: &str| {
        at(config, &["processing_mode", field])
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (request, response) = (mode("request_body_mode"), mode("response_body_mode"));
    for (direction, body) in [("request", request), ("response", response)] {
        let trailers = format!("{direction}_trailer_mode");
        if body == FULL_DUPLEX && mode(&trailers) != "SEND" {
            warn(
                "full-duplex-trailers",
                format!("Envoy refuses {direction}_body_mode {FULL_DUPLEX} unless {trailers} is SEND"),
            );
        }
    }
    let is_full_duplex = request == FULL_DUPLEX || response == FULL_DUPLEX;
    let fails_open = is_true(config.get("failure_mode_allow"));
    if is_full_duplex && fails_open {
        warn(
            "full-duplex-fail-open",
            format!(
                "with {FULL_DUPLEX} a request goes on without its processor only before the first chunk, and answers 500 after it: set failure_mode_allow: false, so that it is always the same"
            ),
        );
    }
    if is_full_duplex && is_true(config.get("allow_mode_override")) {
        warn(
            "full-duplex-override",
            format!(
                "Envoy ignores mode overrides where a body mode of the filter is {FULL_DUPLEX}: let the filter say NONE, and the processor ask for {FULL_DUPLEX}"
            ),
        );
    }
    for attributes in ["request_attributes", "response_attributes"] {
        let listed = config.get(attributes).and_then(Value::as_sequence);
        if listed.is_some_and(|listed| listed.iter().any(|name| name.as_str() == Some("xds.node"))) {
            warn(
                "xds-node",
                format!(
                    "{attributes} has xds.node: the whole node as text, some 90 KB for each request; ask for xds.node.id"
                ),
            );
        }
    }
    grpc_service(config, &mut warn);
    if !found.is_override {
        times(found, &mut warn);
    }
    if [request, response].contains(&"BUFFERED") {
        let limit = found
            .listener
            .as_ref()
            .and_then(|listener| number(listener.get("per_connection_buffer_limit_bytes")));
        if limit.unwrap_or(BUFFER) >= MAX_MESSAGE {
            warn("buffer-above-message", "a buffered body may be larger than the 16 MiB that the processor takes in one message, and its request then fails: lower per_connection_buffer_limit_bytes, or raise Server::max_message".to_owned());
        }
    }
}

fn grpc_service(config: &Value, warn: &mut impl FnMut(&'static str, String)) {
    let Some(service) = config.get("grpc_service") else {
        return;
    };
    if at(service, &["envoy_grpc", "retry_policy"]).is_some() {
        warn("retry-place", "Envoy does nothing with envoy_grpc.retry_policy: put retry_policy beside envoy_grpc, into grpc_service".to_owned());
    }
    if service.get("timeout").is_some() {
        warn("grpc-timeout", "Envoy does not heed grpc_service.timeout for external processors: message_timeout is what bounds them".to_owned());
    }
}

fn times(found: &FoundFilter, warn: &mut impl FnMut(&'static str, String)) {
    let config = &found.config;
    let Some(timeout) = duration(config.get("message_timeout")) else {
        warn("message-timeout", "without message_timeout Envoy gives each message 200 ms, then answers 504 (or goes on unprocessed with failure_mode_allow): set it above the processor's deadlines".to_owned());
        return;
    };
    if timeout > Duration::from_secs(3600) {
        warn(
            "message-timeout-bound",
            "message_timeout is at most 3600s: Envoy refuses more".to_owned(),
        );
    }
    let most = duration(config.get("max_message_timeout")).filter(|most| !most.is_zero());
    if most.is_some_and(|most| most < timeout) {
        warn("max-message-timeout", "max_message_timeout is less than message_timeout: Envoy ignores a processor that asks for as much time as it has already; set it to the most that one may ask for".to_owned());
    }
    let Some(manager) = &found.manager else {
        return;
    };
    let longest = most.map_or(timeout, |most| most.max(timeout));
    let idle = duration(manager.get("stream_idle_timeout")).unwrap_or(IDLE);
    if !idle.is_zero() && idle <= longest {
        warn(
            "stream-idle-timeout",
            format!(
                "stream_idle_timeout ({idle:?}) ends requests that wait for the processor with 504 before message_timeout does ({longest:?}): set it above"
            ),
        );
    }
    for (field, why) in [
        (
            "request_timeout",
            "answers 504, or 408 with an unfinished body, while the processor still has time",
        ),
        (
            "max_stream_duration",
            "answers 504 while the processor still has time",
        ),
    ] {
        let limit = duration(manager.get(field))
            .or_else(|| duration(at(manager, &["common_http_protocol_options", field])));
        if limit.is_some_and(|limit| !limit.is_zero() && limit <= longest) {
            warn(
                "request-timeout",
                format!(
                    "{field} is not above message_timeout ({longest:?}) and {why}: set it above, or leave it out"
                ),
            );
        }
    }
}

/// The traps of the cluster of a filter.
pub(super) fn cluster(cluster: &FoundCluster, filter: &FoundFilter, warnings: &mut Vec<Warning>) {
    let mut warn = |lint, text: String| {
        warnings.push(Warning {
            lint,
            at: cluster.name.clone(),
            text,
        });
    };
    let config = &cluster.config;
    let options = at(
        config,
        &[
            "typed_extension_protocol_options",
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        ],
    );
    let http2 = options
        .and_then(|options| at(options, &["explicit_http_config", "http2_protocol_options"]))
        .or_else(|| config.get("http2_protocol_options"));
    let Some(http2) = http2 else {
        warn("not-http2", "gRPC needs HTTP/2, and without http2_protocol_options Envoy speaks HTTP/1 to the processor: set explicit_http_config.http2_protocol_options".to_owned());
        return;
    };
    if number(http2.get("initial_stream_window_size")).is_none_or(|window| window > WINDOW) {
        warn("stream-window", "Envoy keeps up to initial_stream_window_size of each body's answers: 16 MiB by default since 1.36, 256 MiB before; set 65536".to_owned());
    }
    let thresholds = at(config, &["circuit_breakers", "thresholds"]).and_then(Value::as_sequence);
    let breaker = |field: &str| {
        let all = thresholds.into_iter().flatten();
        all.filter(|one| text(one, "priority").is_none_or(|priority| priority == "DEFAULT"))
            .find_map(|one| number(one.get(field)))
    };
    for field in ["max_requests", "max_pending_requests", "max_connections"] {
        if breaker(field).unwrap_or(REQUESTS) <= REQUESTS {
            warn(
                "circuit-breakers",
                format!(
                    "{field} of the circuit breakers is {REQUESTS} where nothing more is said: with more requests at once the rest gets 500, or goes on unprocessed; set 100000"
                ),
            );
        }
    }
    if at(&filter.config, &["grpc_service", "retry_policy"]).is_some()
        && breaker("max_retries").unwrap_or(RETRIES) <= RETRIES
    {
        warn("retries-at-once", "the circuit breakers allow 3 retries at once: when a replica dies, most of its requests fail in spite of retry_policy; set max_retries: 100000".to_owned());
    }
    let ages = [Some(config), options].into_iter().flatten();
    let aged = ages
        .filter_map(|from| at(from, &["common_http_protocol_options", "max_connection_duration"]))
        .count();
    if aged > 0 {
        warn("connection-age", "max_connection_duration closes connections under the calls of requests that are on their way: leave it out".to_owned());
    }
}

fn is_true(value: Option<&Value>) -> bool {
    value.and_then(Value::as_bool).unwrap_or_default()
}

/// A number, also of those that YAML has as text.
fn number(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// A duration as protobuf writes it: `0.2s`.
fn duration(value: Option<&Value>) -> Option<Duration> {
    let seconds: f64 = value?.as_str()?.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}
