//! Names and clusters that a Service gives.

use super::{Cluster, check};

#[test]
fn a_service_gives_its_names_and_istios_clusters() {
    let found = Cluster::default()
        .target("shop/web", "web")
        .service("shop/web", &[80, 8080])
        .found();
    check(
        &found,
        &[
            ("web", &["shop/web"]),
            ("web.shop", &["shop/web"]),
            ("web.shop.svc", &["shop/web"]),
            ("web.shop.svc.cluster.local", &["shop/web"]),
            ("outbound|80|*|web.shop.svc.cluster.local", &["shop/web"]),
            ("outbound|8080|*|web.shop.svc.cluster.local", &["shop/web"]),
        ],
    );
}

#[test]
fn a_named_port_narrows_the_clusters_and_not_the_names() {
    let found = Cluster::default()
        .target("shop/web", "web:80")
        .service("shop/web", &[80, 8080])
        .found();
    check(
        &found,
        &[
            ("web.shop", &["shop/web"]),
            ("outbound|80|*|web.shop.svc.cluster.local", &["shop/web"]),
            ("outbound|8080|*|web.shop.svc.cluster.local", &[]),
        ],
    );
}

#[test]
fn the_short_name_is_no_targets_if_two_namespaces_have_it() {
    let two = Cluster::default()
        .target("shop/web", "web")
        .target("play/web", "web");
    check(
        &two.found(),
        &[
            ("web", &[]),
            ("web.shop", &["shop/web"]),
            ("web.play", &["play/web"]),
        ],
    );
    let one_is_no_target = Cluster::default()
        .target("shop/web", "web")
        .service("play/web", &[80]);
    check(
        &one_is_no_target.found(),
        &[("web", &[]), ("web.shop", &["shop/web"])],
    );
    let the_users_word = Cluster::default()
        .target("shop/web", "web")
        .own(&["web"], &[])
        .service("play/web", &[80]);
    check(&the_users_word.found(), &[("web", &["shop/web"])]);
}

#[test]
fn a_missing_service_keeps_names_and_a_named_port() {
    let mut cluster = Cluster::default()
        .target("shop/web", "web:80")
        .target("shop/api", "api");
    cluster.services.clear();
    check(
        &cluster.found(),
        &[
            ("web.shop", &["shop/web"]),
            ("outbound|80|*|web.shop.svc.cluster.local", &["shop/web"]),
            ("api.shop", &["shop/api"]),
            ("outbound|80|*|api.shop.svc.cluster.local", &[]),
        ],
    );
}

#[test]
fn a_target_without_a_service_has_its_own_keys_only() {
    let mut cluster = Cluster::default()
        .target("shop/web", "web")
        .own(&["web.example.com"], &["web-cluster"]);
    cluster.targets[0].service = None;
    let found = cluster
        .http("shop/web", &["x.example.com"], &[&["web:80"]])
        .found();
    let keys = &found.targets[&protocol::TargetId::new("shop/web")].keys;
    assert_eq!(
        (keys.hosts.len(), keys.clusters.len()),
        (1, 1),
        "must have no others: {keys:?}"
    );
}

#[test]
fn a_mesh_route_takes_the_parents_names_away_if_it_leads_elsewhere() {
    let cluster = Cluster::default()
        .target("shop/web", "web")
        .target("shop/next", "next");
    let mut split = super::mk_route(super::RouteKind::Http, "shop/web", &[], &[&["web:80", "next:80"]]);
    split.mesh = vec![super::ObjectId::new("shop", "web")];
    let mut whole = split.clone();
    whole.rules[0].backends.pop();
    check(
        &cluster.clone().route(split).found(),
        &[("web.shop", &[]), ("next.shop", &["shop/next"])],
    );
    check(&cluster.route(whole).found(), &[("web.shop", &["shop/web"])]);
}
