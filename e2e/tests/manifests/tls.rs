//! The patches for TLS: the API server lays them over the Deployments, every option is one of the control plane's, and Envoy
//! takes what its cluster is given.

use std::process::Command;

use e2e::binaries;
use e2e::kube::Cluster;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::Value;

use super::envoy::validate;
use super::kubectl::said;
use super::tree::{self, find, named};

#[tokio::test(flavor = "multi_thread")]
async fn the_patches_add_files_and_leave_the_rest() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    for (folder, namespace, name, patch) in [
        (
            "base",
            "holdfast-system",
            "holdfast-control-plane",
            "tls/control-plane.yaml",
        ),
        (
            "overlays/envoy",
            "holdfast-gateway",
            "holdfast-envoy",
            "tls/gateway.yaml",
        ),
    ] {
        let objects = tree::render(folder);
        let shipped = find(&objects, "Deployment", namespace, name);
        cluster.create_namespace(namespace).await;
        cluster.apply(&shipped.0.to_string()).await;
        let deployments = Api::<Deployment>::namespaced(cluster.admin(), namespace);
        let patch: Value = serde_norway::from_str(&tree::read(patch)).unwrap();
        let before = serde_json::to_value(deployments.get(name).await.unwrap()).unwrap();
        let after = deployments
            .patch(name, &PatchParams::default(), &Patch::Strategic(&patch))
            .await
            .unwrap();
        let after = serde_json::to_value(after).unwrap();
        let [before, after] = [&before, &after].map(|object| &object["spec"]["template"]["spec"]);
        let [was, is] = [before, after].map(|spec| &spec["containers"][0]);
        assert_eq!(is["args"], was["args"], "{name}: must keep its arguments");
        assert_eq!(
            count(&is["volumeMounts"]),
            count(&was["volumeMounts"]) + 1,
            "{name}: must mount it beside the rest"
        );
        assert_eq!(
            count(&after["volumes"]),
            count(&before["volumes"]) + 1,
            "{name}: must have it beside the rest"
        );
        let mount = named(&is["volumeMounts"], "tls").unwrap();
        assert_eq!(mount["mountPath"], "/etc/holdfast-tls", "{name}");
        assert!(
            named(&after["volumes"], "tls").unwrap()["secret"]["secretName"].is_string(),
            "{name}"
        );
        assert!(
            named(&is["env"], "POD_NAME").is_some(),
            "{name}: must keep its variables"
        );
    }
}

#[test]
fn the_variables_are_options_and_name_mounted_files() {
    let patch: Value = serde_norway::from_str(&tree::read("tls/control-plane.yaml")).unwrap();
    let variables = patch["spec"]["template"]["spec"]["containers"][0]["env"]
        .as_array()
        .unwrap();
    assert_eq!(variables.len(), 3, "must have certificate, key and authority");
    let help = said(Command::new(binaries::control_plane()).args(["serve", "--help"]));
    for variable in variables {
        let name = variable["name"].as_str().unwrap();
        assert!(
            help.contains(&format!("[env: {name}=")),
            "{name} must be an option of serve"
        );
        assert!(
            variable["value"]
                .as_str()
                .unwrap()
                .starts_with("/etc/holdfast-tls/"),
            "{name} must be mounted"
        );
    }
}

#[test]
fn envoy_takes_the_transport_socket() {
    let dir = tempfile::tempdir().unwrap();
    let authority = rcgen::generate_simple_self_signed(vec!["gateway".to_owned()]).unwrap();
    for (file, text) in [
        ("tls.crt", authority.cert.pem()),
        ("ca.crt", authority.cert.pem()),
        ("tls.key", authority.signing_key.serialize_pem()),
    ] {
        std::fs::write(dir.path().join(file), text).unwrap();
    }
    let here = |text: &str| text.replace("/etc/holdfast-tls", dir.path().to_str().unwrap());
    let socket: Value = serde_norway::from_str(&here(&tree::read("tls/transport-socket.yaml"))).unwrap();
    let shipped = tree::read("overlays/envoy/envoy.yaml")
        .replace("/holdfast/plugin.wasm", binaries::wasm().to_str().unwrap());
    let mut envoy: Value = serde_norway::from_str(&shipped).unwrap();
    let clusters = envoy["static_resources"]["clusters"].as_array_mut().unwrap();
    let cluster = clusters
        .iter_mut()
        .find(|cluster| cluster["name"] == "holdfast")
        .unwrap();
    let address = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"];
    assert_eq!(
        address["address"], socket["transport_socket"]["typed_config"]["sni"],
        "must ask for the name that it calls"
    );
    cluster["transport_socket"] = socket["transport_socket"].clone();
    validate(&envoy.to_string()).unwrap();
    std::fs::remove_file(dir.path().join("tls.key")).unwrap();
    validate(&envoy.to_string()).expect_err("must read the files");
}

fn count(list: &Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}
