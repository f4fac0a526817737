//! Hosts and clusters that routes give, and those that they do not give.

use super::{Cluster, RouteKind, check, mk_route};

#[test]
fn a_route_gives_its_hosts_and_a_cluster_for_each_rule() {
    let found = Cluster::default()
        .target("shop/web", "web")
        .http(
            "shop/r",
            &["web.example.com", "www.example.com"],
            &[&["web:80"], &["web:80"]],
        )
        .grpc("shop/g", &["grpc.example.com"], &[&["web:80"]])
        .found();
    let ours: &[&str] = &["shop/web"];
    check(
        &found,
        &[
            ("web.example.com", ours),
            ("www.example.com", ours),
            ("grpc.example.com", ours),
            ("httproute/shop/r/rule/0", ours),
            ("httproute/shop/r/rule/1", ours),
            ("grpcroute/shop/g/rule/0", ours),
        ],
    );
}

#[test]
fn clusters_of_single_references_count_them_as_written() {
    let found = Cluster::default()
        .target("shop/web", "web")
        .http("shop/r", &[], &[&["web:80 x0", "api:80", "web:80"]])
        .found();
    check(
        &found,
        &[
            ("httproute/shop/r/rule/0", &[]),
            ("httproute/shop/r/rule/0/backend/0", &[]),
            ("httproute/shop/r/rule/0/backend/1", &[]),
            ("httproute/shop/r/rule/0/backend/2", &["shop/web"]),
        ],
    );
}

#[test]
fn a_host_that_leads_elsewhere_too_is_no_targets() {
    let cluster = Cluster::default()
        .target("shop/web", "web")
        .target("shop/api", "api");
    let another_rule = cluster
        .clone()
        .http("shop/r", &["a.example.com"], &[&["web:80"], &["api:80"]]);
    let another_reference = cluster
        .clone()
        .http("shop/r", &["a.example.com"], &[&["web:80", "api:80"]]);
    let another_route = cluster
        .http("shop/r", &["a.example.com", "b.example.com"], &[&["web:80"]])
        .grpc("else/s", &["a.example.com"], &[&["x:80"]]);
    check(
        &another_rule.found(),
        &[("a.example.com", &[]), ("httproute/shop/r/rule/1", &["shop/api"])],
    );
    check(
        &another_reference.found(),
        &[("a.example.com", &[]), ("httproute/shop/r/rule/0", &[])],
    );
    check(
        &another_route.found(),
        &[("a.example.com", &[]), ("b.example.com", &["shop/web"])],
    );
}

#[test]
fn what_gets_no_request_leads_nowhere_else() {
    let found = Cluster::default()
        .target("shop/web", "web")
        .http("shop/redirect", &["web.example.com"], &[&[]])
        .http(
            "shop/r",
            &["web.example.com"],
            &[&["web:80", "api:80 x0"], &["api:80 x0"]],
        )
        .found();
    check(
        &found,
        &[
            ("web.example.com", &["shop/web"]),
            ("httproute/shop/r/rule/0", &["shop/web"]),
            ("httproute/shop/r/rule/1", &[]),
            ("httproute/shop/redirect/rule/0", &[]),
        ],
    );
}

#[test]
fn a_route_without_hostnames_gives_clusters_only() {
    let found = Cluster::default()
        .target("shop/web", "web")
        .http("shop/r", &[], &[&["web:80"]])
        .found();
    let keys = &found.targets[&protocol::TargetId::new("shop/web")].keys;
    assert_eq!(
        keys.hosts.len(),
        4,
        "must have the Service's names only: {:?}",
        keys.hosts
    );
    check(&found, &[("httproute/shop/r/rule/0", &["shop/web"])]);
}

#[test]
fn the_port_counts_if_the_target_names_one() {
    let rules: &[&[&str]] = &[&["web:80"], &["web:8080"]];
    let all = Cluster::default()
        .target("shop/web", "web")
        .http("shop/r", &["a.example.com"], rules);
    let one = Cluster::default()
        .target("shop/web", "web:80")
        .http("shop/r", &["a.example.com"], rules);
    check(
        &all.found(),
        &[
            ("a.example.com", &["shop/web"]),
            ("httproute/shop/r/rule/1", &["shop/web"]),
        ],
    );
    check(
        &one.found(),
        &[("a.example.com", &[]), ("httproute/shop/r/rule/1", &[])],
    );
}

#[test]
fn other_namespaces_need_a_grant() {
    let cluster =
        Cluster::default()
            .target("shop/web", "web")
            .http("edge/r", &["a.example.com"], &[&["shop/web:80"]]);
    let keys: &[&str] = &["a.example.com", "httproute/edge/r/rule/0"];
    let check = |cluster: Cluster, owners: &[&str]| {
        check(
            &cluster.found(),
            &keys.iter().map(|key| (*key, owners)).collect::<Vec<_>>(),
        );
    };
    check(cluster.clone(), &[]);
    check(cluster.clone().grant("edge", "shop", None), &["shop/web"]);
    check(cluster.clone().grant("edge", "shop", Some("web")), &["shop/web"]);
    check(cluster.clone().grant("edge", "shop", Some("api")), &[]);
    check(cluster.clone().grant("shop", "edge", None), &[]);
    check(cluster.grant("other", "shop", None), &[]);
}

#[test]
fn a_grant_is_for_one_kind_of_route() {
    let found = Cluster::default()
        .target("shop/web", "web")
        .grpc("edge/r", &["a.example.com"], &[&["shop/web:80"]])
        .grant("edge", "shop", None)
        .found();
    check(&found, &[("a.example.com", &[])]);
}

#[test]
fn a_reference_without_grant_leads_nowhere() {
    let found = Cluster::default()
        .target("shop/web", "web")
        .http("shop/r", &["a.example.com"], &[&["web:80"], &["edge/api:80"]])
        .found();
    check(&found, &[("a.example.com", &["shop/web"])]);
}

#[test]
fn another_kind_of_the_same_name_is_elsewhere() {
    let mut route = mk_route(RouteKind::Http, "shop/r", &["a.example.com"], &[&["web:80"]]);
    route.rules[0].backends[0].kind = "ServiceImport".to_owned();
    route.rules[0].backends[0].group = "multicluster.x-k8s.io".to_owned();
    let found = Cluster::default().target("shop/web", "web").route(route).found();
    check(
        &found,
        &[("a.example.com", &[]), ("httproute/shop/r/rule/0", &[])],
    );
}

#[test]
fn a_wildcard_covers_hosts_that_have_an_owner() {
    let found = Cluster::default()
        .target("shop/web", "web")
        .target("shop/api", "api")
        .http("shop/r", &["*.example.com"], &[&["web:80"]])
        .http("shop/s", &["api.example.com"], &[&["api:80"]])
        .http("shop/redirect", &["old.example.com"], &[&[]])
        .found();
    check(
        &found,
        &[
            ("*.example.com", &["shop/web"]),
            ("api.example.com", &["shop/api"]),
        ],
    );
}

#[test]
fn a_wildcard_that_covers_a_host_of_no_target_is_left_out() {
    let cluster = Cluster::default()
        .target("shop/web", "web")
        .target("shop/api", "api")
        .http("shop/r", &["*.example.com"], &[&["web:80"]])
        .http("shop/s", &["*.b.example.com"], &[&["api:80"]]);
    let exact = cluster
        .clone()
        .http("shop/t", &["a.b.example.com"], &[&["other:80"]]);
    let beside = cluster.clone().http("shop/t", &["example.com"], &[&["other:80"]]);
    let below = cluster.http("shop/t", &["*.c.example.com"], &[&["other:80"]]);
    check(
        &exact.found(),
        &[("*.example.com", &[]), ("*.b.example.com", &[])],
    );
    check(
        &beside.found(),
        &[
            ("*.example.com", &["shop/web"]),
            ("*.b.example.com", &["shop/api"]),
        ],
    );
    check(
        &below.found(),
        &[("*.example.com", &[]), ("*.b.example.com", &["shop/api"])],
    );
}
