//! HTTPRoutes and GRPCRoutes as text: what is read of them, and how a refusal is worded.

use k8s_openapi::api::core::v1::Service;
use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::{Cluster, RouteKind, check};
use crate::discovery::facts::{Grant, ObjectId, Route, ServiceFacts};

fn mk_object(spec: &Value) -> DynamicObject {
    let object =
        json!({"metadata": {"namespace": "shop", "name": "r"}, "spec": spec, "status": {"parents": []}});
    serde_json::from_value(object).unwrap()
}

fn parse(spec: &Value) -> Result<Route, String> {
    Route::parse(RouteKind::Http, &mk_object(spec)).map_err(|error| error.to_string())
}

#[test]
fn missing_fields_mean_what_the_gateway_api_says() {
    let route = parse(&json!({
        "parentRefs": [{"name": "gateway"}],
        "hostnames": ["*.example.com"],
        "rules": [
            {"backendRefs": [{"name": "web", "port": 80}], "matches": [{"path": {"type": "PathPrefix", "value": "/"}}]},
            {"filters": [{"type": "RequestRedirect"}]},
        ],
    }));
    let route = route.unwrap();
    let backend = &route.rules[0].backends[0];
    assert!(backend.is_service(), "must be a Service by default");
    assert_eq!(
        backend.id,
        ObjectId::new("shop", "web"),
        "must be in the route's namespace"
    );
    assert_eq!(backend.weight, 1, "must weigh 1");
    assert!(route.rules[1].backends.is_empty(), "must lead nowhere");
    assert!(route.mesh.is_empty(), "must not take a Gateway for a Service");
    check(
        &Cluster::default().target("shop/web", "web").route(route).found(),
        &[("*.example.com", &["shop/web"])],
    );
}

#[test]
fn an_empty_route_is_a_route() {
    let route = parse(&json!({})).unwrap();
    assert!(
        route.rules.is_empty() && route.hosts.is_empty(),
        "must give nothing"
    );
}

#[test]
fn a_mesh_route_names_its_parent() {
    let route = parse(&json!({"parentRefs": [{"group": "", "kind": "Service", "name": "web"}]})).unwrap();
    assert_eq!(route.mesh, [ObjectId::new("shop", "web")]);
}

#[test]
fn what_does_not_fit_names_object_and_field() {
    let check = |spec: Value, expected: &str| {
        let error = parse(&spec).unwrap_err();
        assert!(
            error.starts_with(&format!("HTTPRoute shop/r: {expected}")),
            "must name the field: {error}"
        );
    };
    check(
        json!({"hostnames": ["a.example.com", "a b"]}),
        "spec.hostnames[1]: ",
    );
    check(
        json!({"rules": [{"backendRefs": [{"port": 80}]}]}),
        "spec.rules[0].backendRefs[0]: ",
    );
    check(
        json!({"rules": [{"backendRefs": [{"name": "web", "port": 0}]}]}),
        "spec.rules[0].backendRefs[0].port: ",
    );
    check(
        json!({"rules": [{}, {"backendRefs": [{"name": "web", "weight": -1}]}]}),
        "spec.rules[1].backendRefs[0].weight: ",
    );
    let mut nameless = mk_object(&json!({}));
    nameless.metadata.name = None;
    let error = Route::parse(RouteKind::Grpc, &nameless).unwrap_err();
    assert_eq!(error.to_string(), "GRPCRoute shop/: metadata.name: is missing");
}

#[test]
fn a_grant_opens_for_routes_only() {
    let grant = Grant::parse(&mk_object(&json!({
        "from": [
            {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "edge"},
            {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "edge"},
            {"group": "example.com", "kind": "GRPCRoute", "namespace": "edge"},
        ],
        "to": [{"group": "", "kind": "Service"}, {"kind": "Service", "name": "web"}],
    })));
    let grant = grant.unwrap();
    assert_eq!(grant.namespace, "shop");
    assert_eq!(grant.from, [(RouteKind::Http, "edge".to_owned())]);
    assert_eq!(grant.to.len(), 2, "must take a missing group for the core's");
    let error = Grant::parse(&mk_object(&json!({"to": [{"group": ""}]}))).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("ReferenceGrant shop/r: spec.to[0]: "),
        "must name the field: {error}"
    );
}

#[test]
fn a_service_has_its_tcp_ports() {
    let mk_service = |ports: Value| -> Service {
        let object = json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": {"ports": ports}});
        serde_json::from_value(object).unwrap()
    };
    let service = mk_service(json!([
        {"port": 8080},
        {"port": 53, "protocol": "UDP"},
        {"port": 80, "protocol": "TCP", "targetPort": "http"},
    ]));
    let facts = ServiceFacts::try_from(&service).unwrap();
    assert_eq!(
        facts.ports.iter().map(|port| port.get()).collect::<Vec<_>>(),
        [80, 8080]
    );
    let error = ServiceFacts::try_from(&mk_service(json!([{"port": 70000}]))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Service shop/web: spec.ports: 70000 is no port"
    );
}
