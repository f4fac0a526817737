//! Makes Envoy's configuration: listeners with external processors in front of one upstream.

use std::net::SocketAddr;

use extproc::BodyMode;
use harness::{free_port, set};
use serde_json::{Value, json};

use super::served::{Endpoint, Served};

const HTTP2: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// One `ext_proc` filter, and the cluster of its processors.
#[derive(Clone)]
pub(crate) struct Filter {
    endpoints: Vec<Endpoint>,
    fields: Value,
    cluster: Value,
}

impl Filter {
    /// Headers in both directions, and nothing more.
    pub(crate) fn new(served: &Served) -> Self {
        Self::to([served.endpoint()])
    }

    /// The same, for processors that are served elsewhere.
    pub(crate) fn to(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        let fields = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
            "message_timeout": "10s",
            "processing_mode": {
                "request_header_mode": "SEND",
                "response_header_mode": "SEND",
                "request_body_mode": "NONE",
                "response_body_mode": "NONE",
                "request_trailer_mode": "SKIP",
                "response_trailer_mode": "SKIP",
            },
        });
        Self {
            endpoints: endpoints.into_iter().collect(),
            fields,
            cluster: json!({}),
        }
    }

    /// The body modes, with trailers where Envoy insists on them.
    pub(crate) fn bodies(self, request: BodyMode, response: BodyMode) -> Self {
        let filter = self
            .set("processing_mode/request_body_mode", request.name())
            .set("processing_mode/response_body_mode", response.name());
        filter.trailers(request == BodyMode::FullDuplex, response == BodyMode::FullDuplex)
    }

    /// Whether trailers are sent.
    pub(crate) fn trailers(self, request: bool, response: bool) -> Self {
        let word = |send| if send { "SEND" } else { "SKIP" };
        self.set("processing_mode/request_trailer_mode", word(request))
            .set("processing_mode/response_trailer_mode", word(response))
    }

    /// Sets one field of the filter: `set("failure_mode_allow", true)`.
    pub(crate) fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        set(&mut self.fields, &format!("/{path}"), value.into());
        self
    }

    /// Sets one field of the processors' cluster.
    pub(crate) fn cluster(mut self, path: &str, value: impl Into<Value>) -> Self {
        set(&mut self.cluster, &format!("/{path}"), value.into());
        self
    }

    /// Sets one field of the HTTP/2 options of the processors' cluster, such as `initial_stream_window_size`.
    pub(crate) fn http2(self, field: &str, value: impl Into<Value>) -> Self {
        let path = format!(
            "typed_extension_protocol_options/{HTTP2}/explicit_http_config/http2_protocol_options/{field}"
        );
        self.cluster(&path, value)
    }

    fn made(&self, cluster: &str) -> Value {
        let mut fields = self.fields.clone();
        set(
            &mut fields,
            "/grpc_service/envoy_grpc/cluster_name",
            json!(cluster),
        );
        fields
    }

    fn made_cluster(&self, name: &str) -> Value {
        let endpoints: Vec<Value> = self.endpoints.iter().map(endpoint).collect();
        let mut cluster = json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": "1s",
            "circuit_breakers": {"thresholds": [{
                "max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000, "max_retries": 100_000,
            }]},
            "typed_extension_protocol_options": {HTTP2: {
                "@type": format!("type.googleapis.com/{HTTP2}"),
                "explicit_http_config": {"http2_protocol_options": {
                    "initial_stream_window_size": 65536, "max_concurrent_streams": 1000, "initial_connection_window_size": 65_536_000,
                }},
            }},
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        });
        merge(&mut cluster, &self.cluster);
        cluster
    }
}

fn endpoint(at: &Endpoint) -> Value {
    let address = match at {
        Endpoint::Tcp(address) => {
            json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
        }
        Endpoint::Unix(path) => json!({"pipe": {"path": path}}),
    };
    json!({"endpoint": {"address": address}})
}

/// A listener: filters in their order, and the origin behind.
#[derive(Clone)]
pub(crate) struct Front {
    port: u16,
    filters: Vec<Filter>,
    buffer: u32,
    hcm: Vec<(String, Value)>,
    routes: Vec<Value>,
}

impl Front {
    /// One filter.
    pub(crate) fn new(filter: Filter) -> Self {
        Self::chain([filter])
    }

    /// Several filters, the first nearest to the client.
    pub(crate) fn chain(filters: impl IntoIterator<Item = Filter>) -> Self {
        Self {
            port: free_port(),
            filters: filters.into_iter().collect(),
            buffer: 1 << 20,
            hcm: Vec::new(),
            routes: Vec::new(),
        }
    }

    /// `per_connection_buffer_limit_bytes` of listener and upstream. 1 MiB.
    pub(crate) fn buffer(mut self, bytes: u32) -> Self {
        self.buffer = bytes;
        self
    }

    /// Sets one field of the HTTP connection manager.
    pub(crate) fn hcm(mut self, path: &str, value: impl Into<Value>) -> Self {
        self.hcm.push((format!("/{path}"), value.into()));
        self
    }

    /// A route of its own for this prefix, on which the filter of this number is configured so (`ExtProcPerRoute`).
    pub(crate) fn route(mut self, prefix: &str, filter: usize, per_route: &Value) -> Self {
        let mut fields =
            json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"});
        merge(&mut fields, per_route);
        self.routes.push(json!({
            "match": {"prefix": prefix},
            "route": {"cluster": "origin", "timeout": "0s"},
            "typed_per_filter_config": {format!("processor{filter}"): fields},
        }));
        self
    }

    /// Any route, before the one that takes all.
    pub(crate) fn any_route(mut self, route: Value) -> Self {
        self.routes.push(route);
        self
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn listener(&self, number: usize) -> Value {
        let mut filters: Vec<Value> = (0..)
            .zip(&self.filters)
            .map(|(index, filter)| {
                let cluster = format!("processor{number}-{index}");
                json!({"name": format!("processor{index}"), "typed_config": filter.made(&cluster)})
            })
            .collect();
        filters.push(json!({
            "name": "router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }));
        let mut routes = self.routes.clone();
        routes.push(json!({"match": {"prefix": "/"}, "route": {"cluster": "origin", "timeout": "0s"}}));
        let mut hcm = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": format!("front{number}"),
            "http_protocol_options": {"enable_trailers": true},
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            "http_filters": filters,
        });
        for (path, value) in &self.hcm {
            set(&mut hcm, path, value.clone());
        }
        json!({
            "name": format!("front{number}"),
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": self.port}},
            "per_connection_buffer_limit_bytes": self.buffer,
            "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.http_connection_manager", "typed_config": hcm},
            ]}],
        })
    }
}

/// Where the HTTP/2 window of the origin's cluster stands in the configuration.
pub(crate) fn origin_window() -> String {
    let protocol = "use_downstream_protocol_config/http2_protocol_options/initial_stream_window_size";
    format!("/static_resources/clusters/0/typed_extension_protocol_options/{HTTP2}/{protocol}")
}

/// The whole configuration.
pub(crate) fn bootstrap(admin: u16, fronts: &[Front], origin: u16) -> Value {
    let listeners: Vec<Value> = (0..)
        .zip(fronts)
        .map(|(number, front)| front.listener(number))
        .collect();
    let buffer = fronts.iter().map(|front| front.buffer).max().unwrap_or(1 << 20);
    // The upstream is spoken to as the client speaks.
    let mut clusters = vec![json!({
        "name": "origin",
        "type": "STATIC",
        "connect_timeout": "1s",
        "per_connection_buffer_limit_bytes": buffer,
        "circuit_breakers": {"thresholds": [{"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}]},
        "typed_extension_protocol_options": {HTTP2: {
            "@type": format!("type.googleapis.com/{HTTP2}"),
            "use_downstream_protocol_config": {
                "http_protocol_options": {"enable_trailers": true},
                "http2_protocol_options": {},
            },
        }},
        "load_assignment": {"cluster_name": "origin", "endpoints": [{"lb_endpoints": [
            endpoint(&Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], origin)))),
        ]}]},
    })];
    for (number, front) in (0..).zip(fronts) {
        let number: usize = number;
        for (index, filter) in front.filters.iter().enumerate() {
            clusters.push(filter.made_cluster(&format!("processor{number}-{index}")));
        }
    }
    json!({
        "node": {"id": "extproc", "cluster": "local"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    })
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
