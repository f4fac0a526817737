//! Makes the configuration of an Envoy under test out of `local-envoy/envoy.yaml`. No I/O but reading that file.
//!
//! Kept from the file: HTTP connection manager, filters, plugin, singleton. Replaced: ports, node id, path of the
//! module, virtual hosts and clusters (one of each for every target).

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::Target;
use crate::target::{Endpoints, Kind, set};

const LISTENER: &str = "/static_resources/listeners/0";
const HCM: &str = "/filter_chains/0/filters/0/typed_config";

/// What is special about one Envoy.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) node: String,
    pub(crate) singleton: bool,
    pub(crate) wasm: String,
    pub(crate) traffic_port: u16,
    pub(crate) admin_port: u16,
    pub(crate) control_port: u16,
    /// Where the control plane's endpoints are read from in place of `control_port`.
    pub(crate) control_eds: Option<PathBuf>,
    /// A second listener with a filter of its own `vm_id`.
    pub(crate) second: Option<(String, u16)>,
    pub(crate) targets: Vec<Target>,
    /// Path and value in the plugin's configuration.
    pub(crate) settings: Vec<(String, Value)>,
    /// Path and value in the HTTP connection manager.
    pub(crate) hcm: Vec<(String, Value)>,
    /// Types of HTTP filters that come before Holdfast's, in order, without what all begin with.
    pub(crate) before: Vec<String>,
    /// JSON pointer and value in the whole configuration.
    pub(crate) patches: Vec<(String, Value)>,
    /// Where listeners are read from instead.
    pub(crate) lds: Option<String>,
    /// Where clusters are read from instead.
    pub(crate) cds: Option<String>,
    /// Names of clusters that are not there.
    pub(crate) removed: Vec<String>,
}

/// What Envoy reads when it starts, and the files that it goes on reading.
pub(crate) struct Rendered {
    pub(crate) bootstrap: Value,
    pub(crate) listeners: Option<Value>,
    pub(crate) clusters: Option<Value>,
}

/// The bootstrap and, where listeners or clusters come from files, those.
pub(crate) fn render(config: &Config) -> Rendered {
    let mut envoy = shipped("envoy.yaml");
    set(&mut envoy, "/node/id", json!(config.node));
    set(
        &mut envoy,
        "/admin/address/socket_address/port_value",
        json!(config.admin_port),
    );
    set(
        &mut envoy,
        &format!("{LISTENER}/address/socket_address/port_value"),
        json!(config.traffic_port),
    );
    let mut hcm = envoy.pointer(&format!("{LISTENER}{HCM}")).unwrap().clone();
    plugin(
        &mut hcm["http_filters"][0]["typed_config"]["config"],
        config,
        None,
    );
    set(
        &mut hcm,
        "/route_config/virtual_hosts",
        config.targets.iter().map(virtual_host).collect(),
    );
    if config.cds.is_some() {
        // They are read after the routes.
        set(&mut hcm, "/route_config/validate_clusters", json!(false));
    }
    for (path, value) in &config.hcm {
        set(&mut hcm, path, value.clone());
    }
    if let Some(filters) = hcm["http_filters"].as_array_mut() {
        let made = config.before.iter().map(|kind| {
            let kind = format!("envoy.extensions.filters.http.{kind}");
            json!({"name": kind, "typed_config": {"@type": format!("type.googleapis.com/{kind}")}})
        });
        filters.splice(..0, made);
    }
    set(&mut envoy, &format!("{LISTENER}{HCM}"), hcm);

    let mut service = envoy["bootstrap_extensions"][0].clone();
    let mut services = Vec::new();
    plugin(&mut service["typed_config"]["config"], config, None);
    services.push(service.clone());
    if let Some((vm_id, port)) = &config.second {
        let mut listener = envoy.pointer(LISTENER).unwrap().clone();
        set(&mut listener, "/name", json!("second"));
        set(&mut listener, "/address/socket_address/port_value", json!(port));
        let filter = format!("{HCM}/http_filters/0/typed_config/config");
        plugin(listener.pointer_mut(&filter).unwrap(), config, Some(vm_id));
        envoy
            .pointer_mut("/static_resources/listeners")
            .unwrap()
            .as_array_mut()
            .unwrap()
            .push(listener);
        plugin(&mut service["typed_config"]["config"], config, Some(vm_id));
        services.push(service);
    }
    set(
        &mut envoy,
        "/bootstrap_extensions",
        if config.singleton {
            json!(services)
        } else {
            json!([])
        },
    );

    let control = match &config.control_eds {
        Some(path) => Endpoints::File(path.clone()),
        None => Endpoints::Port(config.control_port),
    };
    let mut clusters = vec![cluster("holdfast", &control, false)];
    for target in &config.targets {
        let http2 = target.kind == Kind::Grpc;
        let mut made = cluster(target.its_cluster(), &target.endpoints(), http2);
        merge(&mut made, target.cluster_patch());
        clusters.push(made);
    }
    set(&mut envoy, "/static_resources/clusters", json!(clusters));
    for (pointer, value) in &config.patches {
        set(&mut envoy, pointer, value.clone());
    }

    if let Some(clusters) = envoy["static_resources"]["clusters"].as_array_mut() {
        clusters.retain(|cluster| config.removed.iter().all(|name| cluster["name"] != json!(name)));
    }
    let mut moved = |kind, path: &Option<String>| {
        let path = path.as_ref()?;
        let (list, message) = match kind {
            "lds" => ("listeners", "envoy.config.listener.v3.Listener"),
            _ => ("clusters", "envoy.config.cluster.v3.Cluster"),
        };
        let mut resources = envoy["static_resources"][list].take();
        envoy["static_resources"][list] = json!([]);
        envoy["dynamic_resources"][format!("{kind}_config")] =
            json!({"resource_api_version": "V3", "path_config_source": {"path": path}});
        for resource in resources.as_array_mut()? {
            resource["@type"] = json!(format!("type.googleapis.com/{message}"));
        }
        Some(json!({"resources": resources}))
    };
    let (listeners, clusters) = (moved("lds", &config.lds), moved("cds", &config.cds));
    Rendered {
        bootstrap: envoy,
        listeners,
        clusters,
    }
}

/// One of the files in `local-envoy/`.
fn shipped(name: &str) -> Value {
    let path = crate::binaries::root().join("local-envoy").join(name);
    read_yaml(&path)
}

fn read_yaml(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_norway::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn plugin(plugin: &mut Value, config: &Config, vm_id: Option<&str>) {
    set(plugin, "/vm_config/code/local/filename", json!(config.wasm));
    if let Some(vm_id) = vm_id {
        set(plugin, "/vm_config/vm_id", json!(vm_id));
    }
    let text = plugin
        .pointer("/configuration/value")
        .and_then(Value::as_str)
        .unwrap();
    let mut settings: Value =
        serde_json::from_str(text).expect("the plugin configuration in envoy.yaml is JSON");
    // Many tests look at why a workload has failed by what a client is told.
    set(&mut settings, "/answers/detail", json!("full"));
    for (path, value) in &config.settings {
        set(&mut settings, path, value.clone());
    }
    set(plugin, "/configuration/value", json!(settings.to_string()));
}

fn virtual_host(target: &Target) -> Value {
    json!({
        "name": target.name,
        "domains": [target.authority(), format!("{}:*", target.authority())],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": target.its_cluster(), "timeout": "0s"}}],
    })
}

fn cluster(name: &str, endpoints: &Endpoints, http2: bool) -> Value {
    let mut cluster = json!({"name": name, "connect_timeout": "1s"});
    match endpoints {
        Endpoints::Port(port) => {
            cluster["type"] = json!("STATIC");
            cluster["load_assignment"] = json!({"cluster_name": name, "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
            ]}]});
        }
        Endpoints::File(path) => {
            cluster["type"] = json!("EDS");
            cluster["eds_cluster_config"] = json!({"eds_config": {
                "resource_api_version": "V3",
                "path_config_source": {"path": path},
            }});
        }
    }
    if http2 {
        let kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        cluster["typed_extension_protocol_options"] = json!({kind: {
            "@type": format!("type.googleapis.com/{kind}"),
            "explicit_http_config": {"http2_protocol_options": {}},
        }});
    }
    cluster
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_elected_example_differs_only_in_the_missing_service() {
        let mut with_service = shipped("envoy.yaml");
        with_service
            .as_object_mut()
            .unwrap()
            .remove("bootstrap_extensions");
        assert_eq!(
            with_service,
            shipped("envoy-elected.yaml"),
            "local-envoy: both files must say the same"
        );
    }
}
