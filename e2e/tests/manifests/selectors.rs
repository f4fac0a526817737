//! What selects by label or port finds what it is meant for.

use serde_json::Value;

use super::tree::{self, BASE, OVERLAYS, Object, find, named, of_kind};

#[test]
fn a_service_leads_to_a_port_of_a_pod() {
    for overlay in OVERLAYS {
        let objects = tree::installation(overlay);
        let services = of_kind(&objects, "Service");
        assert!(services.len() >= 3, "{overlay}: must have Services");
        for service in services {
            let pods = selected(&objects, service.namespace(), &service.0["spec"]["selector"]);
            assert_eq!(pods.len(), 1, "{}: must select one workload", service.title());
            for port in service.list("/spec/ports") {
                let target = &port["targetPort"];
                assert!(
                    has_port(pods[0], target),
                    "{}: no container has port {target}",
                    service.title()
                );
            }
        }
    }
}

#[test]
fn a_deployment_selects_its_own_pods_and_no_others() {
    for overlay in OVERLAYS {
        let objects = tree::installation(overlay);
        for deployment in of_kind(&objects, "Deployment") {
            let selector = &deployment.0["spec"]["selector"]["matchLabels"];
            let pods = selected(&objects, deployment.namespace(), selector);
            assert_eq!(pods, [deployment.pod().unwrap()], "{}", deployment.title());
        }
    }
}

#[test]
fn spread_and_budget_are_about_the_pods_they_stand_with() {
    for overlay in OVERLAYS {
        let objects = tree::installation(overlay);
        for deployment in of_kind(&objects, "Deployment") {
            let own = &deployment.0["spec"]["selector"];
            for spread in deployment.list("/spec/template/spec/topologySpreadConstraints") {
                assert_eq!(
                    &spread["labelSelector"],
                    own,
                    "{}: must spread its own Pods",
                    deployment.title()
                );
            }
        }
        let home = "holdfast-system";
        let control_plane = find(&objects, "Deployment", home, "holdfast-control-plane");
        let budget = find(&objects, "PodDisruptionBudget", home, "holdfast-control-plane");
        assert_eq!(budget.0["spec"]["selector"], control_plane.0["spec"]["selector"]);
    }
}

#[test]
fn probes_ask_at_ports_that_the_container_has() {
    let mut probes = 0;
    for overlay in OVERLAYS {
        for object in tree::installation(overlay) {
            for container in object.list("/spec/template/spec/containers") {
                for probe in ["livenessProbe", "readinessProbe"] {
                    let ways = ["httpGet", "tcpSocket"].map(|way| &container[probe][way]["port"]);
                    for port in ways.into_iter().filter(|port| !port.is_null()) {
                        probes += 1;
                        assert!(
                            container_has(container, port),
                            "{}: {probe} at {port}",
                            object.title()
                        );
                    }
                }
            }
        }
    }
    assert!(probes > 10, "must have looked at probes, not at {probes}");
}

#[test]
fn the_network_policy_lets_every_gateway_in_and_asks_for_both_labels() {
    let base = tree::render(BASE);
    let policy = find(
        &base,
        "NetworkPolicy",
        "holdfast-system",
        "holdfast-control-plane",
    );
    let control_plane = find(&base, "Deployment", "holdfast-system", "holdfast-control-plane");
    let pod = control_plane.pod().unwrap();
    assert!(
        matches(
            &pod["metadata"]["labels"],
            &policy.0["spec"]["podSelector"]["matchLabels"]
        ),
        "must guard the control plane"
    );
    let rules = policy.list("/spec/ingress");
    let [gateways, scrapers] = rules else {
        panic!("must have a rule for gateways and one for scrapers")
    };
    for (rule, port) in [(gateways, "http"), (scrapers, "admin")] {
        let ports = rule["ports"].as_array().unwrap();
        assert_eq!(ports.len(), 1, "must open one port to each");
        assert_eq!(ports[0]["port"], *port, "must open this port");
        assert!(has_port(pod, &ports[0]["port"]), "no container has port {port}");
    }
    let peers = gateways["from"].as_array().unwrap();
    for peer in rules.iter().flat_map(|rule| rule["from"].as_array().unwrap()) {
        let both =
            ["namespaceSelector", "podSelector"].map(|selector| peer[selector]["matchLabels"].is_object());
        assert_eq!(
            both,
            [true, true],
            "must ask for a label on the namespace and one on the Pod"
        );
    }
    for overlay in OVERLAYS {
        let objects = tree::installation(overlay);
        let (namespace, labels) = gateway_pods(overlay, &objects);
        let let_in = peers.iter().any(|peer| {
            matches(&namespace, &peer["namespaceSelector"]["matchLabels"])
                && matches(&labels, &peer["podSelector"]["matchLabels"])
        });
        assert!(let_in, "{overlay}: its gateway must be let in");
    }
    let stranger = serde_json::json!({"kubernetes.io/metadata.name": "default", "app": "x"});
    let let_in = rules
        .iter()
        .flat_map(|rule| rule["from"].as_array().unwrap())
        .any(|peer| matches(&stranger, &peer["namespaceSelector"]["matchLabels"]));
    assert!(!let_in, "must keep others out");
}

/// Labels of the namespace and of the Pods of an overlay's gateway.
fn gateway_pods(overlay: &str, objects: &[Object]) -> (Value, Value) {
    let namespace = find(objects, "Namespace", "", "holdfast-gateway").0["metadata"]["labels"].clone();
    match overlay {
        "overlays/istio" => {
            let pod = patched_by_istio(objects)["spec"]["template"].clone();
            (namespace, pod["metadata"]["labels"].clone())
        }
        "overlays/envoy-gateway" => {
            // Its Envoys run in its own namespace, which is labelled by hand: both texts must say so.
            let command = "kubectl label namespace envoy-gateway-system holdfast.dev/gateways=true";
            for file in ["README.md", "overlays/envoy-gateway/kustomization.yaml"] {
                assert!(tree::read(file).contains(command), "{file}: must say {command}");
            }
            let proxy = find(objects, "EnvoyProxy", "holdfast-gateway", "holdfast");
            let deployment = &proxy.0["spec"]["provider"]["kubernetes"]["envoyDeployment"];
            (namespace, deployment["pod"]["labels"].clone())
        }
        _ => {
            let envoy = find(objects, "Deployment", "holdfast-gateway", "holdfast-envoy");
            (namespace, envoy.pod().unwrap()["metadata"]["labels"].clone())
        }
    }
}

/// The patch that Istio applies to the Deployment of its gateway.
pub(crate) fn patched_by_istio(objects: &[Object]) -> Value {
    let map = find(objects, "ConfigMap", "holdfast-gateway", "holdfast-gateway");
    serde_norway::from_str(map.text("/data/deployment")).unwrap()
}

/// The Pods of a namespace that a map of labels selects.
pub(crate) fn selected<'a>(objects: &'a [Object], namespace: &str, selector: &Value) -> Vec<&'a Value> {
    assert!(selector.is_object(), "must select by labels: {selector}");
    let in_namespace = objects.iter().filter(|object| object.namespace() == namespace);
    in_namespace
        .filter_map(Object::pod)
        .filter(|pod| matches(&pod["metadata"]["labels"], selector))
        .collect()
}

fn matches(labels: &Value, selector: &Value) -> bool {
    let wanted = selector.as_object().expect("a map of labels");
    !wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value)
}

fn has_port(pod: &Value, port: &Value) -> bool {
    let containers = pod["spec"]["containers"].as_array().unwrap();
    containers.iter().any(|container| container_has(container, port))
}

/// By name or by number.
fn container_has(container: &Value, port: &Value) -> bool {
    match port {
        Value::String(name) => named(&container["ports"], name).is_some(),
        number => container["ports"]
            .as_array()
            .unwrap()
            .iter()
            .any(|port| port["containerPort"] == *number),
    }
}
