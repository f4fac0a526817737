//! What an update costs: counted steps, never time.

use super::{Cluster, RouteKind, mk_route, mk_target, owners};
use crate::discovery::facts::{ObjectId, ServiceFacts};

/// `count` targets, each with a Service and a route; all routes share one host besides their own.
fn mk_large(count: usize) -> Cluster {
    let mut cluster = Cluster::default();
    for n in 0..count {
        let (id, service) = (format!("ns{}/web{n}", n % 100), format!("web{n}:80"));
        let own = format!("web{n}.example.com");
        let hosts = ["shared.example.com", own.as_str()];
        cluster.targets.push(mk_target(&id, 0, &service));
        cluster
            .routes
            .push(mk_route(RouteKind::Http, &id, &hosts, &[&[&service]]));
        cluster.services.push(ServiceFacts {
            id: ObjectId::new(format!("ns{}", n % 100), format!("web{n}")),
            ports: vec![80.try_into().unwrap()],
        });
    }
    cluster
}

#[test]
fn an_update_looks_at_everything_once() {
    let found = mk_large(10_000).found();
    assert_eq!(owners(&found, "web9999.example.com"), ["ns99/web9999"]);
    assert_eq!(
        owners(&found, "shared.example.com"),
        [""; 0],
        "must be no target's"
    );
    // A reference, its two hosts and a use; four names, two hosts and nine keys.
    assert!(
        found.steps <= 10_000 * 20,
        "must not look again and again: {} steps",
        found.steps
    );
}

#[test]
fn many_routes_to_one_service_cost_what_they_are() {
    let mut cluster = Cluster::default().target("shop/web", "web");
    for n in 0..10_000 {
        let (id, host) = (format!("shop/r{n}"), format!("h{n}.example.com"));
        cluster
            .routes
            .push(mk_route(RouteKind::Http, &id, &[&host], &[&["web:80"]]));
    }
    let found = cluster.found();
    assert!(
        found.steps <= 10_000 * 8,
        "must not look again and again: {} steps",
        found.steps
    );
}
