//! The patches for TLS: the API server lays them over the Deployments, every option is one of the control plane's, and Envoy
//! takes what its cluster is given.

use std::process::Command;

use e2e::kube::Cluster;
use harness::binaries;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::Value;

use super::envoy::validate;
use super::kubectl::said;
use super::tree::{self, Object, find, named, of_kind};

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
fn envoy_gateway_and_istio_are_told_the_same_names_and_secrets_as_the_plain_envoy() {
    let parse = |file: &str| serde_norway::from_str::<Value>(&tree::read(file)).unwrap();
    let secret = |file: &str| {
        let volumes = parse(file)["spec"]["template"]["spec"]["volumes"].clone();
        volumes[0]["secret"]["secretName"].clone()
    };
    let socket = parse("tls/transport-socket.yaml")["transport_socket"].clone();
    let name = &socket["typed_config"]["sni"];

    let policy = Object(parse("tls/envoy-gateway.yaml"));
    let [target] = policy.list("/spec/targetRefs") else {
        panic!("must have one target")
    };
    let service = target["name"].as_str().unwrap();
    find(&tree::render(tree::BASE), "Service", policy.namespace(), service);
    let validation = &policy.0["spec"]["validation"];
    assert_eq!(validation["hostname"], *name);
    assert_eq!(
        validation["caCertificateRefs"][0]["name"],
        secret("tls/control-plane.yaml"),
        "the authority must be in the Secret beside the Service"
    );
    let proxy = parse("tls/envoyproxy.yaml");
    assert_eq!(
        proxy["spec"]["backendTLS"]["clientCertificateRef"]["name"],
        secret("tls/gateway.yaml")
    );

    let objects = tree::documents("tls/istio.yaml");
    let rule = of_kind(&objects, "DestinationRule")[0];
    let gateway = tree::render("overlays/istio");
    let home = find(&gateway, "Gateway", rule.namespace(), "holdfast");
    assert_eq!(
        rule.list("/spec/exportTo"),
        [Value::from(".")],
        "must concern no other namespace"
    );
    assert_eq!(rule.0["spec"]["host"], *name);
    let tls = &rule.0["spec"]["trafficPolicy"]["tls"];
    assert_eq!(tls["mode"], "MUTUAL");
    assert_eq!(tls["credentialName"], secret("tls/gateway.yaml"));
    assert_eq!(tls["sni"], *name);
    let binding = of_kind(&objects, "RoleBinding")[0];
    let [subject] = binding.list("/subjects") else {
        panic!("must be bound to one account")
    };
    assert_eq!(
        subject["name"],
        format!("{}-{}", home.name(), home.text("/spec/gatewayClassName")),
        "must be the account that Istio makes for the Gateway"
    );
    for object in &objects {
        assert_eq!(object.namespace(), home.namespace(), "{}", object.title());
    }
    let last = objects.last().map(Object::kind);
    assert_eq!(
        last,
        Some("DestinationRule"),
        "must come after the right to what it names"
    );
    assert_eq!(tls["subjectAltNames"], serde_json::json!([name]));
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
