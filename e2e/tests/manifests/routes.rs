//! Routes attach to listeners that let them in, and lead to Services that are there.

use serde_json::Value;

use super::tree::{self, OVERLAYS, Object, find, named, of_kind};

const KINDS: [&str; 2] = ["HTTPRoute", "GRPCRoute"];

#[test]
fn routes_attach_to_a_listener_that_lets_them_in() {
    for overlay in OVERLAYS {
        let objects = tree::installation(overlay);
        for route in routes(&objects) {
            let parents = route.list("/spec/parentRefs");
            assert!(!parents.is_empty(), "{}: must have a parent", route.title());
            for parent in parents {
                let namespace = parent["namespace"].as_str().unwrap_or(route.namespace());
                let gateway = find(&objects, "Gateway", namespace, parent["name"].as_str().unwrap());
                let section = parent["sectionName"].as_str().unwrap();
                let listener = named(&gateway.0["spec"]["listeners"], section);
                let listener =
                    listener.unwrap_or_else(|| panic!("{}: no listener {section}", gateway.title()));
                assert!(
                    lets_in(&listener["allowedRoutes"]["namespaces"], route.namespace()),
                    "{overlay}: {} must be let in",
                    route.title()
                );
            }
        }
    }
    let selector = serde_json::json!({"from": "Selector", "selector": {"matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["a"]},
    ]}});
    assert!(lets_in(&selector, "a") && !lets_in(&selector, "b"));
}

#[test]
fn routes_lead_to_ports_of_services() {
    for overlay in OVERLAYS {
        let objects = tree::installation(overlay);
        for route in routes(&objects) {
            for rule in route.list("/spec/rules") {
                let backends = rule["backendRefs"].as_array().unwrap();
                assert!(!backends.is_empty(), "{}: must lead somewhere", route.title());
                for backend in backends {
                    let service = find(
                        &objects,
                        "Service",
                        route.namespace(),
                        backend["name"].as_str().unwrap(),
                    );
                    let known = service
                        .list("/spec/ports")
                        .iter()
                        .any(|port| port["port"] == backend["port"]);
                    assert!(known, "{}: {} has no such port", route.title(), service.title());
                }
            }
        }
    }
}

#[test]
fn the_demo_is_reached_by_the_same_names_everywhere() {
    let hosts = |objects: &[Object], kinds: &[&str], pointer: &str| {
        let of_kinds = objects.iter().filter(|object| kinds.contains(&object.kind()));
        let mut hosts: Vec<_> = of_kinds
            .flat_map(|object| object.list(pointer).to_vec())
            .collect();
        hosts.sort_by_key(Value::to_string);
        hosts
    };
    let targets = hosts(&tree::render(tree::DEMO), &["ScaleTarget"], "/spec/match/hosts");
    assert_eq!(targets, ["echo.example.com", "web.example.com"]);
    let routes = hosts(&tree::render(tree::ROUTES), &KINDS, "/spec/hostnames");
    assert_eq!(routes, targets, "the routes must have the hosts of the targets");
    let envoy: Value = serde_norway::from_str(&tree::read("overlays/envoy/envoy.yaml")).unwrap();
    let manager =
        &envoy["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    let virtual_hosts = manager["route_config"]["virtual_hosts"].as_array().unwrap();
    let mut domains: Vec<_> = virtual_hosts
        .iter()
        .map(|host| host["domains"][0].clone())
        .collect();
    domains.sort_by_key(Value::to_string);
    assert_eq!(domains, targets, "the plain Envoy must have them too");
    let call = tree::read("demo/call.sh");
    assert!(
        call.contains("HOST:-web.example.com"),
        "the script must call one of them"
    );
}

#[test]
fn the_plain_envoys_clusters_are_services() {
    let objects = tree::installation("overlays/envoy");
    let envoy: Value = serde_norway::from_str(&tree::read("overlays/envoy/envoy.yaml")).unwrap();
    let mut services = 0;
    for cluster in envoy["static_resources"]["clusters"].as_array().unwrap() {
        let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
        let address = &endpoint["address"]["socket_address"];
        let Some(name) = address["address"]
            .as_str()
            .unwrap()
            .strip_suffix(".svc.cluster.local")
        else {
            assert_eq!(cluster["type"], "STATIC", "{cluster}");
            continue;
        };
        services += 1;
        let (name, namespace) = name.split_once('.').unwrap();
        let service = find(&objects, "Service", namespace, name);
        let known = service
            .list("/spec/ports")
            .iter()
            .any(|port| port["port"] == address["port_value"]);
        assert!(
            known,
            "{}: has no port {}",
            service.title(),
            address["port_value"]
        );
        assert!(
            service.0["spec"]["clusterIP"].is_null(),
            "{}: must not be headless",
            service.title()
        );
    }
    assert_eq!(services, 3, "control plane, web and echo");
}

fn routes(objects: &[Object]) -> Vec<&Object> {
    KINDS.iter().flat_map(|kind| of_kind(objects, kind)).collect()
}

/// Of the forms that `allowedRoutes.namespaces` can have, the one that we use.
fn lets_in(allowed: &Value, namespace: &str) -> bool {
    assert_eq!(allowed["from"], "Selector", "must not be open to every namespace");
    let expressions = allowed["selector"]["matchExpressions"].as_array().unwrap();
    expressions.iter().all(|expression| {
        assert_eq!(expression["key"], "kubernetes.io/metadata.name");
        assert_eq!(expression["operator"], "In");
        expression["values"]
            .as_array()
            .unwrap()
            .contains(&namespace.into())
    })
}
