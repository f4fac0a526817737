//! What one manifest names of another is there.

use serde_json::Value;

use super::selectors::{patched_by_istio, selected};
use super::tree::{self, BASE, OVERLAYS, Object, find, named, of_kind};

#[test]
fn every_namespace_is_made_here() {
    for overlay in OVERLAYS {
        let objects = tree::installation(overlay);
        for object in &objects {
            let namespace = object.namespace();
            if !namespace.is_empty() {
                find(&objects, "Namespace", "", namespace);
            }
        }
    }
}

#[test]
fn bindings_name_roles_and_accounts_that_exist() {
    let base = tree::render(BASE);
    for kind in ["RoleBinding", "ClusterRoleBinding"] {
        for binding in of_kind(&base, kind) {
            let role = binding.text("/roleRef/kind");
            let namespace = if role == "Role" { binding.namespace() } else { "" };
            find(&base, role, namespace, binding.text("/roleRef/name"));
            for subject in binding.list("/subjects") {
                let word = |key: &str| subject[key].as_str().unwrap();
                find(&base, word("kind"), word("namespace"), word("name"));
            }
        }
    }
    let control_plane = find(&base, "Deployment", "holdfast-system", "holdfast-control-plane");
    let account = control_plane.text("/spec/template/spec/serviceAccountName");
    find(&base, "ServiceAccount", "holdfast-system", account);
    for role in of_kind(&base, "ClusterRole") {
        let bound = of_kind(&base, "ClusterRoleBinding")
            .iter()
            .any(|binding| binding.text("/roleRef/name") == role.name());
        assert!(bound, "{}: must be bound", role.title());
    }
}

#[test]
fn mounts_name_volumes_and_volumes_name_config_maps() {
    for overlay in OVERLAYS {
        let objects = tree::installation(overlay);
        for deployment in of_kind(&objects, "Deployment") {
            let spec = &deployment.pod().unwrap()["spec"];
            for containers in ["initContainers", "containers"] {
                for container in spec[containers].as_array().into_iter().flatten() {
                    for mount in container["volumeMounts"].as_array().into_iter().flatten() {
                        let volume = mount["name"].as_str().unwrap();
                        let found = named(&spec["volumes"], volume);
                        assert!(found.is_some(), "{}: no volume {volume}", deployment.title());
                    }
                }
            }
            for volume in spec["volumes"].as_array().into_iter().flatten() {
                if let Some(name) = volume["configMap"]["name"].as_str() {
                    find(&objects, "ConfigMap", deployment.namespace(), name);
                }
            }
        }
    }
}

#[test]
fn what_asks_for_the_token_asks_for_what_the_script_makes() {
    let script = tree::read("token.sh");
    assert!(
        script.contains("\nhome=holdfast-system\nsecret=holdfast-token\n"),
        "must make this Secret"
    );
    for key in ["data: {token: $1, operator-token: ", "data: {token: $encoded}"] {
        assert!(script.contains(key), "must have this key: {key}");
    }
    for overlay in OVERLAYS {
        let asked = secrets(overlay);
        let count = |key: &str| {
            let wanted = ("holdfast-token".to_owned(), key.to_owned());
            asked.iter().filter(|secret| **secret == wanted).count()
        };
        assert_eq!(
            (count("token"), count("operator-token"), asked.len()),
            (2, 1, 3),
            "{overlay}: control plane and gateway must ask for the one, the control plane alone for the other: {asked:?}"
        );
    }
    for folder in tree::folders() {
        let fixed = tree::render(folder);
        assert!(
            of_kind(&fixed, "Secret").is_empty(),
            "{folder}: a Secret must not stand in a file"
        );
    }
}

#[test]
fn the_control_planes_token_files_are_the_mounted_ones() {
    let base = tree::render(BASE);
    let control_plane = find(&base, "Deployment", "holdfast-system", "holdfast-control-plane");
    let spec = &control_plane.pod().unwrap()["spec"];
    let container = named(&spec["containers"], "control-plane").unwrap();
    let mount = named(&container["volumeMounts"], "token").unwrap();
    let items = &named(&spec["volumes"], "token").unwrap()["secret"]["items"];
    for (option, key) in [
        ("--proxy-token-file", "token"),
        ("--operator-token-file", "operator-token"),
    ] {
        let item = items.as_array().unwrap().iter().find(|item| item["key"] == *key);
        let path = item.unwrap()["path"].as_str().unwrap();
        let argument = format!("{option}={}/{path}", mount["mountPath"].as_str().unwrap());
        assert!(
            container["args"]
                .as_array()
                .unwrap()
                .contains(&Value::from(argument.as_str())),
            "must have {argument}"
        );
    }
}

#[test]
fn targets_name_workloads_and_services_that_belong_together() {
    for overlay in OVERLAYS {
        let objects = tree::installation(overlay);
        let targets = of_kind(&objects, "ScaleTarget");
        assert_eq!(targets.len(), 2, "{overlay}: must have the demo's targets");
        for target in targets {
            let workload = find(
                &objects,
                target.text("/spec/workload/kind"),
                target.namespace(),
                target.text("/spec/workload/name"),
            );
            assert_eq!(
                workload.text("/apiVersion"),
                target.text("/spec/workload/apiVersion")
            );
            assert!(
                workload.0["spec"]["replicas"].is_null(),
                "{}: apply would wake it",
                workload.title()
            );
            let service = find(
                &objects,
                "Service",
                target.namespace(),
                target.text("/spec/service/name"),
            );
            let pods = selected(&objects, service.namespace(), &service.0["spec"]["selector"]);
            assert_eq!(
                pods,
                [workload.pod().unwrap()],
                "{}: must be the workload's",
                service.title()
            );
            let port = &target.0["spec"]["service"]["port"];
            assert!(
                service.list("/spec/ports").iter().any(|has| has["port"] == *port),
                "{}: {} has no port {port}",
                target.title(),
                service.title()
            );
        }
    }
}

#[test]
fn policies_and_filters_name_their_gateway() {
    let mut policies = 0;
    for overlay in OVERLAYS {
        let objects = tree::installation(overlay);
        for object in &objects {
            let one = object.0["spec"].get("targetRef").into_iter();
            for target in one.chain(object.list("/spec/targetRefs")) {
                policies += 1;
                let word = |key: &str| target[key].as_str().unwrap();
                let gateway = find(&objects, word("kind"), object.namespace(), word("name"));
                assert!(
                    gateway.text("/apiVersion").starts_with(word("group")),
                    "{}",
                    object.title()
                );
            }
        }
        for gateway in of_kind(&objects, "Gateway") {
            let reference = &gateway.0["spec"]["infrastructure"]["parametersRef"];
            let word = |key: &str| reference[key].as_str().unwrap();
            let parameters = find(&objects, word("kind"), gateway.namespace(), word("name"));
            let group = parameters
                .text("/apiVersion")
                .rsplit_once('/')
                .map_or("", |(group, _)| group);
            assert_eq!(group, word("group"), "{}", gateway.title());
            let class = gateway.text("/spec/gatewayClassName");
            if class != "istio" {
                find(&objects, "GatewayClass", "", class);
            }
        }
    }
    assert_eq!(policies, 5, "two of Istio's, three of Envoy Gateway's");
}

/// Name and key of every Secret that an installation's Pods ask for.
fn secrets(overlay: &str) -> Vec<(String, String)> {
    let objects = tree::installation(overlay);
    let mut whole: Vec<Value> = objects.iter().map(|Object(value)| value.clone()).collect();
    if overlay == "overlays/istio" {
        whole.push(patched_by_istio(&objects));
    }
    let mut found = Vec::new();
    for value in &whole {
        collect(value, &mut found);
    }
    found
}

fn collect(value: &Value, found: &mut Vec<(String, String)>) {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match key.as_str() {
                    "secretKeyRef" => found.push((word(&value["name"]), word(&value["key"]))),
                    "secret" if value.get("secretName").is_some() => {
                        for item in value["items"].as_array().unwrap() {
                            found.push((word(&value["secretName"]), word(&item["key"])));
                        }
                    }
                    _ => collect(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}
