//! The plugin's configuration, wherever it stands: the filter's own parser takes it, the cluster that it names is one that
//! the Envoy will have, and the token reaches the VM by its environment only.

use hold::Config;
use serde_json::Value;

use super::selectors::patched_by_istio;
use super::tree::{self, OVERLAYS, Object, find, named};

const HOME: &str = "holdfast-gateway";
const VARIABLE: &str = "HOLDFAST_TOKEN";

#[test]
fn istios_plugin_names_the_services_cluster() {
    let objects = tree::installation("overlays/istio");
    let plugin = find(&objects, "WasmPlugin", HOME, "holdfast");
    let config = parse(&plugin.0["spec"]["pluginConfig"]);
    let cluster: Vec<_> = config.control_plane.cluster.split('|').collect();
    let ["outbound", port, "", host] = cluster[..] else {
        panic!("{cluster:?}: must be in Istio's naming")
    };
    is_the_control_plane(&objects, host, port);
    assert_eq!(config.control_plane.authority, host);
    let [variable] = plugin.list("/spec/vmConfig/env") else {
        panic!("must hand on one variable")
    };
    assert_eq!(variable["name"], VARIABLE);
    assert_eq!(
        variable["valueFrom"], "HOST",
        "the value must not stand in the plugin"
    );
    let containers = &patched_by_istio(&objects)["spec"]["template"]["spec"]["containers"];
    gets_the_token(named(containers, "istio-proxy").unwrap());
    assert_eq!(
        plugin.text("/spec/phase"),
        "STATS",
        "must come after AUTHN and AUTHZ"
    );
    assert_eq!(plugin.text("/spec/failStrategy"), "FAIL_RELOAD");
}

#[test]
fn envoy_gateways_policy_names_the_cluster_of_a_route_that_is_there_for_it() {
    let objects = tree::installation("overlays/envoy-gateway");
    let policy = find(&objects, "EnvoyExtensionPolicy", HOME, "holdfast");
    let [wasm] = policy.list("/spec/wasm") else {
        panic!("must have one filter")
    };
    let config = parse(&wasm["config"]);
    let cluster: Vec<_> = config.control_plane.cluster.split('/').collect();
    let ["httproute", namespace, name, "rule", index] = cluster[..] else {
        panic!("{cluster:?}: must be in Envoy Gateway's naming")
    };
    let route = find(&objects, "HTTPRoute", namespace, name);
    let rule = &route.list("/spec/rules")[index.parse::<usize>().unwrap()];
    let [backend] = rule["backendRefs"].as_array().unwrap().as_slice() else {
        panic!("must lead to one Service")
    };
    let host = format!(
        "{}.{namespace}.svc.cluster.local",
        backend["name"].as_str().unwrap()
    );
    is_the_control_plane(&objects, &host, &backend["port"].to_string());
    assert_eq!(config.control_plane.authority, host);
    let [parent] = route.list("/spec/parentRefs") else {
        panic!("must have one parent")
    };
    let target = &policy.list("/spec/targetRefs")[0];
    assert_eq!(
        parent["name"], target["name"],
        "must belong to the Gateway that has the filter"
    );
    assert_eq!(parent["namespace"], policy.namespace());
    assert_eq!(wasm["env"]["hostKeys"], serde_json::json!([VARIABLE]));
    let proxy = find(&objects, "EnvoyProxy", HOME, "holdfast");
    gets_the_token(&proxy.0["spec"]["provider"]["kubernetes"]["envoyDeployment"]["container"]);
    let why = "a Service without endpoints must have a cluster";
    assert_eq!(proxy.text("/spec/routingType"), "Service", "{why}");
}

#[test]
fn envoy_gateway_gives_up_a_connection_that_kube_proxy_lost_as_soon_as_the_plain_envoy_does() {
    let objects = tree::installation("overlays/envoy-gateway");
    let policy = find(&objects, "BackendTrafficPolicy", HOME, "holdfast");
    let [target] = policy.list("/spec/targetRefs") else {
        panic!("must have one target")
    };
    assert_eq!(target["kind"], "Gateway", "must concern every route");
    let filter = find(&objects, "EnvoyExtensionPolicy", HOME, "holdfast");
    assert_eq!(
        target["name"],
        filter.list("/spec/targetRefs")[0]["name"],
        "must belong to the Gateway that has the filter"
    );
    let plain: Value = serde_norway::from_str(&tree::read("overlays/envoy/envoy.yaml")).unwrap();
    let cluster = named(&plain["static_resources"]["clusters"], "web").unwrap();
    assert_eq!(
        policy.text("/spec/timeout/tcp/connectTimeout"),
        cluster["connect_timeout"]
    );
}

#[test]
fn envoy_gateways_patch_names_what_envoy_gateway_will_generate() {
    let objects = tree::installation("overlays/envoy-gateway");
    let patch = find(&objects, "EnvoyPatchPolicy", HOME, "holdfast");
    let gateway = find(&objects, "Gateway", HOME, "holdfast");
    let listener = format!("{HOME}/holdfast/{}", gateway.text("/spec/listeners/0/name"));
    let patches = patch.list("/spec/jsonPatches");
    for patch in patches {
        assert_eq!(patch["name"], *listener);
    }
    let filter = format!("envoy.filters.http.wasm/envoyextensionpolicy/{HOME}/holdfast/wasm/0");
    let path = patches[0]["operation"]["jsonPath"].as_str().unwrap();
    assert!(path.contains(&format!("'{filter}'")), "must patch {filter}");
}

#[test]
fn the_plain_envoy_names_a_cluster_of_its_own() {
    let objects = tree::installation("overlays/envoy");
    let envoy: Value = serde_norway::from_str(&tree::read("overlays/envoy/envoy.yaml")).unwrap();
    let service = &envoy["bootstrap_extensions"][0]["typed_config"]["config"];
    let manager =
        &envoy["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    let filter = &named(&manager["http_filters"], "holdfast").unwrap()["typed_config"]["config"];
    let mut configs = Vec::new();
    for plugin in [service, filter] {
        let text = plugin["configuration"]["value"].as_str().unwrap();
        let config = Config::parse(text.as_bytes()).unwrap();
        check_token(&config);
        let cluster = named(
            &envoy["static_resources"]["clusters"],
            &config.control_plane.cluster,
        )
        .unwrap();
        let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
        let address = &endpoint["address"]["socket_address"];
        is_the_control_plane(
            &objects,
            address["address"].as_str().unwrap(),
            &address["port_value"].to_string(),
        );
        let variables = &plugin["vm_config"]["environment_variables"]["host_env_keys"];
        assert_eq!(*variables, serde_json::json!([VARIABLE]));
        configs.push(config);
    }
    let vm = |plugin: &Value, key: &str| plugin["vm_config"][key].clone();
    assert_eq!(vm(service, "vm_id"), vm(filter, "vm_id"), "must share their data");
    assert_ne!(
        vm(service, "configuration"),
        vm(filter, "configuration"),
        "must not share a VM"
    );
    assert!(
        configs[0].service && !configs[1].service,
        "the singleton must say so"
    );
    configs[0].service = false;
    assert_eq!(configs[0], configs[1], "must be the same but for that");
    let pod = find(&objects, "Deployment", HOME, "holdfast-envoy")
        .pod()
        .unwrap();
    gets_the_token(named(&pod["spec"]["containers"], "envoy").unwrap());
}

#[test]
fn no_configuration_has_room_for_the_token() {
    let refusal = Config::parse(br#"{"control_plane": {"cluster": "a", "token": "secret"}}"#).unwrap_err();
    assert!(refusal.to_string().contains("token"), "{refusal}");
    for overlay in OVERLAYS {
        for object in tree::render(overlay) {
            let text = object.0.to_string();
            assert!(
                !text.contains("Bearer"),
                "{}: must not hold a token",
                object.title()
            );
        }
    }
}

/// As it reaches the filter: as JSON text.
fn parse(config: &Value) -> Config {
    let config = Config::parse(config.to_string().as_bytes()).unwrap();
    check_token(&config);
    config
}

fn check_token(config: &Config) {
    assert_eq!(config.control_plane.token_env.as_deref(), Some(VARIABLE));
}

/// The host and port are those of the control plane's Service.
fn is_the_control_plane(objects: &[Object], host: &str, port: &str) {
    assert_eq!(host, "holdfast-control-plane.holdfast-system.svc.cluster.local");
    let service = find(objects, "Service", "holdfast-system", "holdfast-control-plane");
    let port: u16 = port.parse().unwrap();
    let known = service.list("/spec/ports").iter().any(|has| has["port"] == port);
    assert!(known, "the control plane has no port {port}");
}

/// The container of a gateway has the variable, from the Secret.
fn gets_the_token(container: &Value) {
    let variable = named(&container["env"], VARIABLE).expect("the gateway must have the variable");
    let from = &variable["valueFrom"]["secretKeyRef"];
    assert_eq!(
        (&from["name"], &from["key"]),
        (&"holdfast-token".into(), &"token".into())
    );
}
