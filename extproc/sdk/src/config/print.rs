//! The texts: a filter and a cluster for Envoy, and the objects of gateways around them.

use std::net::IpAddr;
use std::time::Duration;

use super::{Filter, Gateway};
use crate::modes::BodyMode;

/// The configuration of `filter` for `gateway`, as YAML. What [`lint`](super::lint()) knows as a trap is not in it.
#[must_use]
pub fn print(filter: &Filter, gateway: Gateway) -> String {
    match gateway {
        Gateway::Envoy => envoy(filter),
        Gateway::EnvoyGateway => envoy_gateway(filter),
        Gateway::Kgateway => kgateway(filter),
        Gateway::Istio => istio(filter),
    }
}

fn envoy(filter: &Filter) -> String {
    format!(
        "# Into the http_filters of a listener, before the router:\nhttp_filters:\n{}\n# Into the clusters:\nclusters:\n{}",
        item(&http_filter(filter), 2),
        item(&cluster(filter), 2),
    )
}

/// The filter of Envoy.
fn http_filter(filter: &Filter) -> String {
    let name = &filter.name;
    let mut text = format!(
        "name: {name}\ntyped_config:\n  \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor\n  grpc_service:\n    envoy_grpc: {{cluster_name: {name}}}\n"
    );
    if filter.retries {
        text.push_str(
            "    # A replica that dies, or hands over, before it has answered: Envoy tries another one.\n    retry_policy:\n      retry_on: connect-failure,refused-stream,reset,unavailable\n      num_retries: 3\n      retry_back_off: {base_interval: 0.025s, max_interval: 0.25s}\n      retry_host_predicate:\n        - name: envoy.retry_host_predicates.previous_hosts\n          typed_config: {\"@type\": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}\n      host_selection_retry_max_attempts: 5\n",
        );
    }
    text.push_str(&format!("  failure_mode_allow: {}\n", filter.fail_open));
    text.push_str("  # For each message. Longer than the processor's own deadlines.\n");
    text.push_str(&format!(
        "  message_timeout: {}\n",
        seconds(filter.message_timeout)
    ));
    if !filter.max_message_timeout.is_zero() {
        text.push_str(&format!(
            "  max_message_timeout: {}\n",
            seconds(filter.max_message_timeout)
        ));
    }
    if overrides(filter) {
        text.push_str("  allow_mode_override: true\n");
    }
    if !filter.attributes.is_empty() {
        text.push_str(&format!(
            "  request_attributes: [{}]\n",
            filter.attributes.join(", ")
        ));
    }
    let (request, response) = trailers(filter);
    text.push_str(&format!(
        "  processing_mode:\n    request_header_mode: {}\n    response_header_mode: {}\n    request_body_mode: {}\n    response_body_mode: {}\n    request_trailer_mode: {}\n    response_trailer_mode: {}\n",
        send(filter.request_headers),
        send(filter.response_headers),
        filter.request_body.name(),
        filter.response_body.name(),
        send(request),
        send(response),
    ));
    text
}

/// The cluster of Envoy: small windows, so that Envoy keeps little of a body, and circuit breakers out of the way: a call is open
/// as long as its request.
fn cluster(filter: &Filter) -> String {
    let Filter { name, host, port, .. } = filter;
    let kind = if host.parse::<IpAddr>().is_ok() {
        "STATIC"
    } else {
        "STRICT_DNS"
    };
    format!(
        "name: {name}
type: {kind}
connect_timeout: 1s
# A call is open as long as its request: the defaults (1,024 requests, 3 retries) would refuse them.
circuit_breakers: {{thresholds: [{{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000, max_retries: 100000}}]}}
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config:
      http2_protocol_options:
        # What Envoy keeps of one body's answers; its default is 16 MiB since 1.36, and was 256 MiB before.
        initial_stream_window_size: 65536
        # 1,000 calls x 64 KiB: answers that a slow client does not take never stop those of other calls.
        max_concurrent_streams: 1000
        initial_connection_window_size: 65536000
        connection_keepalive: {{interval: 10s, timeout: 5s}}
load_assignment:
  cluster_name: {name}
  endpoints:
    - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: {host}, port_value: {port}}}}}}}
"
    )
}

fn istio(filter: &Filter) -> String {
    let name = &filter.name;
    format!(
        "# Add a workloadSelector, or targetRefs, for the gateway that it is for.
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata:
  name: {name}
spec:
  configPatches:
    - applyTo: HTTP_FILTER
      match:
        context: GATEWAY
        listener: {{filterChain: {{filter: {{name: envoy.filters.network.http_connection_manager, subFilter: {{name: envoy.filters.http.router}}}}}}}}
      patch:
        operation: INSERT_BEFORE
        value:
{}    - applyTo: CLUSTER
      match: {{context: GATEWAY}}
      patch:
        operation: ADD
        value:
{}",
        indented(&http_filter(filter), 10),
        indented(&cluster(filter), 10),
    )
}

fn envoy_gateway(filter: &Filter) -> String {
    let Filter { name, port, .. } = filter;
    let timeout = seconds(filter.message_timeout);
    let body = |mode: BodyMode| match mode {
        BodyMode::None => "",
        BodyMode::Streamed => "body: Streamed",
        BodyMode::Buffered => "body: Buffered",
        BodyMode::BufferedPartial => "body: BufferedPartial",
        BodyMode::FullDuplex => "body: FullDuplexStreamed",
    };
    let side = |word: &str, shown: bool, mode: BodyMode| match (shown, body(mode)) {
        (false, "") => String::new(),
        (_, body) => format!("        {word}: {{{body}}}\n"),
    };
    let mut modes = side("request", filter.request_headers, filter.request_body);
    modes.push_str(&side("response", filter.response_headers, filter.response_body));
    if overrides(filter) {
        modes.push_str("        allowModeOverride: true\n");
    }
    let attributes = if filter.attributes.is_empty() {
        String::new()
    } else {
        format!(
            "      # attributes of the request\n      requestAttributes: [{}]\n",
            filter.attributes.join(", ")
        )
    };
    format!(
        "# Trailers and windows of the processor's cluster are not in this API: an EnvoyPatchPolicy sets initial_stream_window_size.
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata:
  name: {name}
spec:
  targetRefs:
    - {{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {name}}}
  extProc:
    - backendRefs:
        - {{name: {name}, port: {port}}}
      backendSettings:
        circuitBreaker: {{maxConnections: 100000, maxPendingRequests: 100000, maxParallelRequests: 100000, maxParallelRetries: 100000}}
      failOpen: {}
      messageTimeout: {timeout}
{attributes}      processingMode:
{modes}",
        filter.fail_open
    )
}

fn kgateway(filter: &Filter) -> String {
    let Filter { name, port, .. } = filter;
    let (request, response) = trailers(filter);
    let body = |mode: BodyMode| match mode {
        BodyMode::None => "None",
        BodyMode::Streamed => "Streamed",
        BodyMode::Buffered => "Buffered",
        BodyMode::BufferedPartial => "BufferedPartial",
        BodyMode::FullDuplex => "FullDuplexStreamed",
    };
    let word = |shown: bool| if shown { "Send" } else { "Skip" };
    let mut more = String::new();
    if !filter.max_message_timeout.is_zero() {
        more.push_str(&format!(
            "    maxMessageTimeout: {}\n",
            seconds(filter.max_message_timeout)
        ));
    }
    if overrides(filter) {
        more.push_str("    allowProcessingModeOverride: true\n");
    }
    if filter.retries {
        more.push_str(
            "    # Retries are of the gRPC service: see `grpcService.retry` of the version in use.\n",
        );
    }
    format!(
        "apiVersion: gateway.kgateway.dev/v1alpha1
kind: GatewayExtension
metadata:
  name: {name}
spec:
  type: ExtProc
  extProc:
    grpcService:
      backendRef: {{name: {name}, port: {port}}}
    # Said, because its default is true: a request would go on unprocessed.
    failOpen: {}
    messageTimeout: {}
{more}    processingMode:
      requestHeaderMode: {}
      responseHeaderMode: {}
      requestBodyMode: {}
      responseBodyMode: {}
      requestTrailerMode: {}
      responseTrailerMode: {}
---
apiVersion: gateway.kgateway.dev/v1alpha1
kind: TrafficPolicy
metadata:
  name: {name}
spec:
  targetRefs:
    - {{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {name}}}
  extProc:
    extensionRef: {{name: {name}}}
",
        filter.fail_open,
        seconds(filter.message_timeout),
        word(filter.request_headers),
        word(filter.response_headers),
        body(filter.request_body),
        body(filter.response_body),
        word(request),
        word(response),
    )
}

/// Whether overrides are to be allowed: Envoy ignores them where a body mode of the filter is FULL_DUPLEX_STREAMED.
fn overrides(filter: &Filter) -> bool {
    filter.mode_override
        && filter.request_body != BodyMode::FullDuplex
        && filter.response_body != BodyMode::FullDuplex
}

fn trailers(filter: &Filter) -> (bool, bool) {
    (
        filter.request_trailers || filter.request_body == BodyMode::FullDuplex,
        filter.response_trailers || filter.response_body == BodyMode::FullDuplex,
    )
}

fn send(shown: bool) -> &'static str {
    if shown { "SEND" } else { "SKIP" }
}

fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs_f64())
}

/// A block of YAML as the item of a list.
fn item(text: &str, indent: usize) -> String {
    let block = indented(text, indent + 2);
    let (_, rest) = block.split_at(indent + 2);
    format!("{}- {rest}", " ".repeat(indent))
}

fn indented(text: &str, indent: usize) -> String {
    let pad = " ".repeat(indent);
    text.lines().map(|line| format!("{pad}{line}\n")).collect()
}
