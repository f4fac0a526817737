//! What the confirm says in `:authority`, of `URLRewrite` filters.

use kube::core::DynamicObject;
use protocol::TargetId;
use serde_json::{Value, json};

use super::{Cluster, Output, Route, RouteKind, message};

#[test]
fn a_rewritten_host_is_what_the_confirm_asks_with() {
    let rewritten = json!([{"filters": to("web.internal"), "backendRefs": [{"name": "web", "port": 80}]}]);
    let found = mk_cluster(&[rewritten]).found();
    assert_eq!(
        authority(&found, "shop/web"),
        Some("web.internal"),
        "must be its route's"
    );
    assert_eq!(authority(&found, "shop/api"), None, "must be no other target's");
    let plain = json!([{"backendRefs": [{"name": "web", "port": 80}]}]);
    assert_eq!(
        authority(&mk_cluster(&[plain]).found(), "shop/web"),
        None,
        "must not make one up"
    );
}

#[test]
fn the_filter_of_a_reference_comes_after_its_rules() {
    let rules = json!([{
        "filters": to("rule.internal"),
        "backendRefs": [
            {"name": "web", "port": 80, "filters": to("web.internal")},
            {"name": "api", "port": 80, "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {}}]},
        ],
    }]);
    let found = mk_cluster(&[rules]).found();
    assert_eq!(
        authority(&found, "shop/web"),
        Some("web.internal"),
        "must be its own"
    );
    assert_eq!(
        authority(&found, "shop/api"),
        Some("rule.internal"),
        "must be its rule's"
    );
}

#[test]
fn a_way_without_a_rewrite_does_not_contradict_one() {
    let rules = json!([
        {"backendRefs": [{"name": "web", "port": 80}]},
        {"filters": to("web.internal"), "backendRefs": [{"name": "web", "port": 80}]},
        {"filters": to("WEB.internal"), "backendRefs": [{"name": "web", "port": 80}]},
        {"filters": [{"type": "URLRewrite", "urlRewrite": {"path": {}}}], "backendRefs": [{"name": "web", "port": 80}]},
    ]);
    let found = mk_cluster(&[rules]).found();
    assert_eq!(
        authority(&found, "shop/web"),
        Some("web.internal"),
        "must be the one there is"
    );
    assert_eq!(
        message(&found, "shop/web", "AmbiguousAuthority"),
        None,
        "must say nothing"
    );
}

#[test]
fn two_names_are_none_and_said() {
    let rule = |host: &str| json!([{"filters": to(host), "backendRefs": [{"name": "web", "port": 80}]}]);
    let mut cluster = mk_cluster(&[rule("one.internal"), rule("two.internal")]);
    let found = cluster.found();
    assert_eq!(authority(&found, "shop/web"), None, "must not choose");
    assert_eq!(
        message(&found, "shop/web", "AmbiguousAuthority"),
        Some(
            "HTTPRoute shop/r0 rewrites the host to \"one.internal\", HTTPRoute shop/r1 to \"two.internal\": the confirm asks with the client's, unless spec.confirm.authority says which"
        ),
    );
    for target in &mut cluster.targets {
        target.lacks_authority = false;
    }
    let found = cluster.found();
    assert_eq!(
        message(&found, "shop/web", "AmbiguousAuthority"),
        None,
        "must go by the user's word"
    );
}

#[test]
fn only_ways_that_are_taken_count() {
    let rules = json!([
        {"filters": to("zero.internal"), "backendRefs": [{"name": "web", "port": 80, "weight": 0}]},
        {"filters": to("elsewhere.internal"), "backendRefs": [{"name": "web", "namespace": "play", "port": 80}]},
        {"filters": to("other.internal"), "backendRefs": [{"name": "api", "port": 81}]},
    ]);
    let cluster = mk_cluster(&[rules]);
    let found = cluster.found();
    assert_eq!(
        authority(&found, "shop/web"),
        None,
        "must not count weight 0, nor another's"
    );
    assert_eq!(
        authority(&found, "shop/api"),
        Some("other.internal"),
        "must count every port"
    );
    let found = Cluster {
        targets: vec![super::mk_target("shop/api", 0, "api:80")],
        ..cluster
    }
    .found();
    assert_eq!(
        authority(&found, "shop/api"),
        None,
        "must count the port that is meant alone"
    );
}

#[test]
fn the_users_word_stands() {
    let mut spec = mk_spec(&json!({"authority": "mine.internal"}));
    assert!(!spec.lacks_authority(), "must know the user's word");
    spec.derive_authority("web.internal".parse().unwrap());
    assert_eq!(said(&spec), Some("mine.internal"), "must stand");
    let mut spec = mk_spec(&json!({"grpc": true}));
    assert!(spec.lacks_authority(), "must know that none is said");
    spec.derive_authority("web.internal".parse().unwrap());
    assert_eq!(said(&spec), Some("web.internal"), "must be taken");
    let spec = mk_spec(&json!({"enabled": false}));
    assert!(
        !spec.lacks_authority(),
        "must not want a name where nothing is asked"
    );
}

/// The targets `shop/web` and `shop/api`, and a route for each list of rules.
fn mk_cluster(routes: &[Value]) -> Cluster {
    let cluster = Cluster::default()
        .target("shop/web", "web")
        .target("shop/api", "api");
    routes.iter().enumerate().fold(cluster, |cluster, (n, rules)| {
        let route: DynamicObject = serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": format!("r{n}")},
            "spec": {"hostnames": ["web.example.com"], "rules": rules},
        }))
        .unwrap();
        cluster.route(Route::parse(RouteKind::Http, &route).unwrap())
    })
}

fn to(host: &str) -> Value {
    json!([
        {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "a", "value": "b"}]}},
        {"type": "URLRewrite", "urlRewrite": {"hostname": host}},
    ])
}

fn authority<'a>(found: &'a Output, id: &str) -> Option<&'a str> {
    let authority = &found.targets[&TargetId::new(id)].authority;
    authority.as_ref().map(|authority| authority.as_str())
}

fn mk_spec(confirm: &Value) -> fleet::config::ScaleTarget {
    let target: crate::crd::ScaleTarget = serde_json::from_value(json!({
        "apiVersion": "holdfast.dev/v1alpha1",
        "kind": "ScaleTarget",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "service": {"name": "web"},
            "confirm": confirm,
        },
    }))
    .unwrap();
    target.read().unwrap()
}

fn said(spec: &fleet::config::ScaleTarget) -> Option<&str> {
    match &spec.confirm {
        protocol::Confirm::Http { authority, .. } | protocol::Confirm::Grpc { authority, .. } => {
            authority.as_deref()
        }
        protocol::Confirm::Off { .. } | protocol::Confirm::Unknown => None,
    }
}
