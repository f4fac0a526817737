//! What `extproc::config` prints for Envoy, Envoy takes as it is: filters of every mode, each alone in a whole configuration.

use std::process::Command;
use std::time::Duration;

use extproc::config::{Filter, Gateway, lint, print};
use extproc::{BodyMode, Needs};
use harness::binaries;
use serde_norway::{Value, from_str, to_string};

/// A configuration with everything but the processor.
const WHOLE: &str = r#"
static_resources:
  listeners:
    - name: in
      address: {socket_address: {address: 127.0.0.1, port_value: 0}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: in
                stream_idle_timeout: 4000s
                route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]}
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters: []
"#;

fn list<'a>(mut value: &'a mut Value, path: &[&str]) -> &'a mut Vec<Value> {
    for key in path {
        value = match value {
            Value::Sequence(items) => &mut items[0],
            other => other,
        };
        value = value.get_mut(*key).unwrap();
    }
    value.as_sequence_mut().unwrap()
}

/// The configuration with what is printed for `filter` in its places.
fn whole(filter: &Filter) -> String {
    let printed: Value = from_str(&print(filter, Gateway::Envoy)).unwrap();
    let mut whole: Value = from_str(WHOLE).unwrap();
    let clusters = printed["clusters"].as_sequence().unwrap().clone();
    list(&mut whole, &["static_resources", "clusters"]).extend(clusters);
    let path = [
        "static_resources",
        "listeners",
        "filter_chains",
        "filters",
        "typed_config",
        "http_filters",
    ];
    list(&mut whole, &path).insert(0, printed["http_filters"][0].clone());
    to_string(&whole).unwrap()
}

fn filters() -> Vec<Filter> {
    let modes = [
        BodyMode::None,
        BodyMode::Streamed,
        BodyMode::Buffered,
        BodyMode::BufferedPartial,
        BodyMode::FullDuplex,
    ];
    let mut filters = Vec::new();
    for mode in modes {
        let mut filter = Filter::new("processor", &Needs::default());
        filter.request_body = mode;
        filter.response_body = mode;
        filters.push(filter.clone());
        filter.host = "processor.example".to_owned();
        filter.max_message_timeout = Duration::from_secs(3600);
        filter.message_timeout = Duration::from_millis(250);
        filter.mode_override = true;
        filter.fail_open = mode != BodyMode::FullDuplex;
        filter.attributes = vec!["request.id".to_owned(), "xds.node.id".to_owned()];
        filter.retries = false;
        filter.request_headers = false;
        filter.request_trailers = true;
        filters.push(filter);
    }
    filters
}

#[test]
fn envoy_takes_what_is_printed_and_it_has_no_trap() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("envoy.yaml");
    for filter in filters() {
        let whole = whole(&filter);
        assert_eq!(lint(&whole).unwrap(), [], "{whole}");
        std::fs::write(&file, &whole).unwrap();
        let out = Command::new(binaries::envoy())
            .args(["--mode", "validate", "--config-path"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}\n{whole}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
}
