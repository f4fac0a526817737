//! Every trap has its warning, and what is printed has none.

use std::time::Duration;

use super::{Filter, Gateway, Warning, lint, print};
use crate::modes::{BodyMode, ModeOverride};
use crate::needs::{Accepts, Deadlines, Needs, Prolong};

fn lints(yaml: &str) -> Vec<&'static str> {
    let mut lints: Vec<_> = lint(yaml).unwrap().iter().map(|warning| warning.lint).collect();
    lints.sort_unstable();
    lints
}

/// Filters of every kind that [`Filter::new`] makes.
fn filters() -> Vec<Filter> {
    let mut full_duplex = Filter::new("bodies", &Needs::default());
    full_duplex.request_body = BodyMode::FullDuplex;
    full_duplex.response_body = BodyMode::FullDuplex;
    full_duplex.mode_override = true;
    full_duplex.attributes = vec!["xds.cluster_name".to_owned()];
    let buffered = Needs {
        request: Accepts::Only(&[BodyMode::Buffered]),
        ..Needs::default()
    };
    let asks = Needs {
        ask: Some(ModeOverride {
            request_body: Some(BodyMode::FullDuplex),
            ..ModeOverride::default()
        }),
        deadlines: Deadlines {
            prolong: Some(Prolong {
                message_timeout: Duration::from_millis(200),
                to: Duration::from_secs(10),
            }),
            ..Deadlines::default()
        },
        ..Needs::default()
    };
    let mut named = Filter::new("named", &buffered);
    named.host = "processor.example".to_owned();
    named.retries = false;
    vec![
        Filter::new("plain", &Needs::default()),
        full_duplex,
        named,
        Filter::new("asks", &asks),
    ]
}

#[test]
fn what_is_printed_is_yaml_without_a_trap() {
    for filter in filters() {
        for gateway in Gateway::ALL {
            let text = print(&filter, gateway);
            assert_eq!(lint(&text).unwrap(), [], "{gateway}\n{text}");
            assert!(text.contains(&filter.name), "{gateway}\n{text}");
        }
    }
}

#[test]
fn modes_and_times_follow_the_needs() {
    let texts: Vec<String> = filters()
        .iter()
        .map(|filter| print(filter, Gateway::Envoy))
        .collect();
    let [plain, full_duplex, named, asks] = &texts[..] else {
        panic!("four filters");
    };
    assert!(
        plain.contains("message_timeout: 61s") && plain.contains("request_body_mode: NONE"),
        "{plain}"
    );
    assert!(
        full_duplex.contains("request_trailer_mode: SEND") && !full_duplex.contains("allow_mode_override")
    );
    assert!(
        named.contains("request_body_mode: BUFFERED") && named.contains("type: STRICT_DNS"),
        "{named}"
    );
    assert!(
        asks.contains("message_timeout: 0.2s\n") && asks.contains("max_message_timeout: 10s"),
        "{asks}"
    );
    assert!(asks.contains("allow_mode_override: true"), "{asks}");
}

/// What Envoy is given in these tests, without a trap.
fn sound() -> String {
    let mut filter = Filter::new("bodies", &Needs::default());
    filter.request_body = BodyMode::FullDuplex;
    filter.message_timeout = Duration::from_secs(5);
    filter.max_message_timeout = Duration::from_secs(10);
    let printed = print(&filter, Gateway::Envoy);
    let filters = printed
        .lines()
        .skip_while(|line| !line.starts_with("http_filters"))
        .map(|line| format!("              {line}\n"))
        .take_while(|line| !line.contains("# Into the clusters"))
        .collect::<String>();
    let clusters: String = printed
        .lines()
        .skip_while(|line| !line.starts_with("clusters"))
        .map(|line| format!("  {line}\n"))
        .collect();
    format!(
        "static_resources:
  listeners:
    - name: in
      per_connection_buffer_limit_bytes: 65536
      filter_chains:
        - filters:
          - name: manager
            typed_config:
             \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
             stream_idle_timeout: 300s
             request_timeout: 0s
             nested:
{filters}{clusters}"
    )
}

#[test]
fn every_trap_has_its_warning() {
    let sound = sound();
    assert_eq!(lints(&sound), [""; 0], "{sound}");
    for (lint, from, to) in [
        (
            "full-duplex-trailers",
            "request_trailer_mode: SEND",
            "request_trailer_mode: SKIP",
        ),
        (
            "full-duplex-fail-open",
            "failure_mode_allow: false",
            "failure_mode_allow: true",
        ),
        (
            "full-duplex-override",
            "failure_mode_allow: false",
            "allow_mode_override: true",
        ),
        (
            "xds-node",
            "failure_mode_allow: false",
            "request_attributes: [request.id, xds.node]",
        ),
        (
            "xds-node",
            "failure_mode_allow: false",
            "response_attributes: [xds.node]",
        ),
        (
            "retry-place",
            "{cluster_name: bodies}",
            "{cluster_name: bodies, retry_policy: {num_retries: 1}}",
        ),
        (
            "grpc-timeout",
            "retry_policy:",
            "timeout: 30s\n                      retry_policy:",
        ),
        ("message-timeout", "message_timeout: 5s", "nothing: 0"),
        (
            "max-message-timeout",
            "max_message_timeout: 10s",
            "max_message_timeout: 1s",
        ),
        (
            "stream-idle-timeout",
            "stream_idle_timeout: 300s",
            "stream_idle_timeout: 10s",
        ),
        ("request-timeout", "request_timeout: 0s", "request_timeout: 10s"),
        (
            "request-timeout",
            "request_timeout: 0s",
            "common_http_protocol_options: {max_stream_duration: 7s}",
        ),
        ("not-http2", "http2_protocol_options:", "http_protocol_options:"),
        (
            "stream-window",
            "initial_stream_window_size: 65536\n",
            "other: 65536\n",
        ),
        (
            "stream-window",
            "initial_stream_window_size: 65536\n",
            "initial_stream_window_size: 16777216\n",
        ),
        ("circuit-breakers", "max_requests: 100000", "max_requests: 1024"),
        ("circuit-breakers", "max_pending_requests: 100000, ", ""),
        ("retries-at-once", "max_retries: 100000", "max_retries: 3"),
        (
            "connection-age",
            "connect_timeout: 1s",
            "common_http_protocol_options: {max_connection_duration: 60s}",
        ),
    ] {
        assert!(sound.contains(from), "{lint}: {from}\n{sound}");
        assert_eq!(lints(&sound.replacen(from, to, 1)), [lint], "{from} -> {to}");
    }
    let buffered = sound
        .replace(
            "request_body_mode: FULL_DUPLEX_STREAMED",
            "request_body_mode: BUFFERED",
        )
        .replace(
            "per_connection_buffer_limit_bytes: 65536",
            "per_connection_buffer_limit_bytes: 33554432",
        );
    assert_eq!(lints(&buffered), ["buffer-above-message"]);
    // Without a time-out for messages beyond Envoy's own bound.
    let long = sound
        .replace(" message_timeout: 5s", " message_timeout: 4000s")
        .replace("max_message_timeout: 10s", "max_message_timeout: 4000s")
        .replace("stream_idle_timeout: 300s", "stream_idle_timeout: 0s");
    assert_eq!(lints(&long), ["message-timeout-bound"]);
}

#[test]
fn routes_are_looked_at_and_named() {
    let route = "
routes:
  - match: {prefix: /}
    typed_per_filter_config:
      bodies:
        \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute
        overrides:
          processing_mode: {request_body_mode: FULL_DUPLEX_STREAMED}
";
    let warnings = lint(route).unwrap();
    let [
        Warning {
            lint: "full-duplex-trailers",
            at,
            ..
        },
    ] = &warnings[..]
    else {
        panic!("{warnings:?}");
    };
    assert_eq!(at, "bodies");
}

#[test]
fn the_configurations_of_this_repository_have_no_trap() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../local-envoy/extproc");
    for file in ["bodies.yaml", "one-filter.yaml", "envoy.yaml"] {
        let yaml = std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
        assert!(yaml.contains("ext_proc"), "{file}");
        assert_eq!(lints(&yaml), Vec::<&str>::new(), "{file}");
    }
}

#[test]
fn what_is_no_yaml_is_said() {
    assert!(lint("a: [").unwrap_err().to_string().starts_with("not YAML"));
    assert_eq!(lint("just text").unwrap(), []);
}

#[test]
fn gateways_have_names() {
    for gateway in Gateway::ALL {
        assert_eq!(gateway.name().parse(), Ok(gateway));
    }
    assert!(
        "nginx"
            .parse::<Gateway>()
            .unwrap_err()
            .to_string()
            .contains("envoy-gateway")
    );
}
