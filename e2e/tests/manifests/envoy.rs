//! What the overlays hand to Envoy, the real Envoy takes.

use std::process::Command;

use harness::binaries;
use serde_json::{Value, json};

use super::tree::{self, find};

#[test]
fn envoy_takes_the_plain_envoys_file() {
    let shipped = tree::read("overlays/envoy/envoy.yaml");
    let here = shipped.replace("/holdfast/plugin.wasm", binaries::wasm().to_str().unwrap());
    assert_ne!(here, shipped, "must load the filter from where the Pod has it");
    validate(&here).unwrap();
    let refusal = validate(&here.replace("stream_idle_timeout", "stream_idle_time")).unwrap_err();
    assert!(
        refusal.contains("stream_idle_time"),
        "must tell what is wrong: {refusal}"
    );
}

#[test]
fn the_deployment_mounts_what_the_file_reads() {
    let objects = tree::render("overlays/envoy");
    let deployment = find(&objects, "Deployment", "holdfast-gateway", "holdfast-envoy");
    let spec = &deployment.pod().unwrap()["spec"];
    let envoy = &spec["containers"][0];
    let mounts = envoy["volumeMounts"].as_array().unwrap();
    let at = |path: &str| {
        mounts
            .iter()
            .find(|mount| mount["mountPath"] == *path)
            .map(|mount| &mount["name"])
    };
    // The file of the filter, as the second init container leaves it.
    let copy = spec["initContainers"][1]["command"].as_array().unwrap();
    assert_eq!(copy[1..], ["/plugin.wasm", "/filter/plugin.wasm"]);
    let filled = &spec["initContainers"][1]["volumeMounts"][1];
    assert_eq!(
        (&filled["mountPath"], Some(&filled["name"])),
        (&"/filter".into(), at("/holdfast"))
    );
    assert!(at("/etc/envoy").is_some(), "must mount its configuration");
    assert_eq!(envoy["args"][1], "/etc/envoy/envoy.yaml");
    let file: Value = serde_norway::from_str(&tree::read("overlays/envoy/envoy.yaml")).unwrap();
    let listeners = file["static_resources"]["listeners"].as_array().unwrap();
    for (listener, port) in listeners.iter().zip(envoy["ports"].as_array().unwrap()) {
        let listens = &listener["address"]["socket_address"]["port_value"];
        assert_eq!(
            *listens, port["containerPort"],
            "{} must be the port",
            listener["name"]
        );
    }
    let admin = &file["admin"]["address"]["socket_address"];
    assert_eq!(
        admin["address"], "127.0.0.1",
        "the admin port must not be reached from outside"
    );
    let end = envoy["lifecycle"]["preStop"]["exec"]["command"][2]
        .as_str()
        .unwrap();
    assert!(
        end.contains(&format!("/dev/tcp/127.0.0.1/{}", admin["port_value"])),
        "must talk to the admin port"
    );
}

#[test]
fn the_connection_managers_have_the_measured_settings_everywhere() {
    let measured = listener(&local_envoy());
    let plain: Value = serde_norway::from_str(&tree::read("overlays/envoy/envoy.yaml")).unwrap();
    assert_eq!(listener(&plain), measured, "overlays/envoy");
    let patched = patched_as_istio_does(local_envoy(), "100s");
    assert_eq!(listener(&patched), measured, "overlays/istio");
    let objects = tree::render(tree::PATCH);
    let patch = find(&objects, "EnvoyPatchPolicy", "holdfast-gateway", "holdfast");
    let window = &patch.list("/spec/jsonPatches")[1]["operation"];
    assert_eq!(window["path"], "/initial_connection_window_size");
    assert_eq!(
        window["value"], measured["http2"]["initial_connection_window_size"],
        "overlays/envoy-gateway"
    );
}

#[test]
fn envoy_takes_what_istio_is_told_to_merge() {
    validate(&patched_as_istio_does(local_envoy(), "1s").to_string()).unwrap();
}

#[test]
fn envoy_takes_what_envoy_gateway_is_told_to_patch() {
    let mut envoy = local_envoy();
    let manager = manager(&mut envoy);
    let filter = &mut manager["http_filters"][0];
    // As Envoy Gateway makes it: no failure policy, off by default and on by route.
    filter["disabled"] = true.into();
    let config = &mut filter["typed_config"]["config"];
    config.as_object_mut().unwrap().remove("failure_policy");
    let objects = tree::render(tree::PATCH);
    let patch = find(&objects, "EnvoyPatchPolicy", "holdfast-gateway", "holdfast");
    for patch in patch.list("/spec/jsonPatches") {
        let operation = &patch["operation"];
        let path = operation["jsonPath"].as_str().unwrap();
        let place = if path.contains("http_filters") {
            &mut manager["http_filters"][0]["typed_config"]["config"]
        } else {
            &mut manager["http2_protocol_options"]
        };
        let field = operation["path"].as_str().unwrap().trim_start_matches('/');
        place[field] = operation["value"].clone();
    }
    validate(&envoy.to_string()).unwrap();
}

/// `local-envoy/envoy-elected.yaml`: no singleton, as where the bootstrap is not ours.
fn local_envoy() -> Value {
    let path = binaries::root().join("local-envoy/envoy-elected.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    serde_norway::from_str(&text.replace("target/dist/holdfast.wasm", binaries::wasm().to_str().unwrap()))
        .unwrap()
}

fn manager(envoy: &mut Value) -> &mut Value {
    &mut envoy["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
}

/// What holds rely on.
fn listener(envoy: &Value) -> Value {
    let listener = &envoy["static_resources"]["listeners"][0];
    let manager = &listener["filter_chains"][0]["filters"][0]["typed_config"];
    json!({
        "buffer": listener["per_connection_buffer_limit_bytes"],
        "idle": manager["stream_idle_timeout"],
        "http2": manager["http2_protocol_options"],
    })
}

/// Merges the values of the EnvoyFilter where Istio would.
fn patched_as_istio_does(mut envoy: Value, idle: &str) -> Value {
    manager(&mut envoy)["stream_idle_timeout"] = idle.into();
    let objects = tree::render("overlays/istio");
    let filter = find(&objects, "EnvoyFilter", "holdfast-gateway", "holdfast");
    for patch in filter.list("/spec/configPatches") {
        assert_eq!(patch["patch"]["operation"], "MERGE");
        let listener = &mut envoy["static_resources"]["listeners"][0];
        match patch["applyTo"].as_str().unwrap() {
            "LISTENER" => merge(listener, &patch["patch"]["value"]),
            "NETWORK_FILTER" => {
                let network_filter = &mut listener["filter_chains"][0]["filters"][0];
                let wanted = &patch["match"]["listener"]["filterChain"]["filter"]["name"];
                assert_eq!(network_filter["name"], *wanted);
                merge(network_filter, &patch["patch"]["value"]);
            }
            other => panic!("{other}: how is that merged?"),
        }
    }
    envoy
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// Envoy's words, if it refuses.
pub(crate) fn validate(config: &str) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("envoy.yaml");
    std::fs::write(&file, config).unwrap();
    let out = Command::new(binaries::envoy())
        .args([
            "--mode",
            "validate",
            "--service-node",
            "a",
            "--service-cluster",
            "b",
            "--config-path",
        ])
        .arg(file)
        .output()
        .unwrap();
    if out.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&out.stderr).into_owned())
}
