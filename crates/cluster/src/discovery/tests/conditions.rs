//! Which conditions a target gets when its keys are ambiguous, lost or too many.

use super::{Cluster, check, message};

#[test]
fn says_nothing_when_all_is_well() {
    let found = Cluster::default()
        .target("shop/web", "web")
        .http("shop/r", &["a.example.com"], &[&["web:80"]])
        .found();
    let conditions = &found.targets[&protocol::TargetId::new("shop/web")].conditions;
    assert!(conditions.is_empty(), "must say nothing: {conditions:?}");
}

#[test]
fn an_ambiguous_host_names_host_and_route() {
    let found = Cluster::default()
        .target("shop/web", "web")
        .http("shop/r", &["a.example.com", "b.example.com"], &[&["web:80"]])
        .http("play/s", &["a.example.com", "b.example.com"], &[&["api:81"]])
        .found();
    let text = message(&found, "shop/web", "AmbiguousHost").unwrap();
    assert!(
        text.starts_with(
            "host \"a.example.com\" is left out, and one more host: HTTPRoute play/s leads it to Service play/api port 81;"
        ),
        "must name host and route: {text}"
    );
}

#[test]
fn an_ambiguous_wildcard_names_the_host_below() {
    let found = Cluster::default()
        .target("shop/web", "web")
        .http("shop/r", &["*.example.com", "x.example.com"], &[&["web:80"]])
        .http("play/s", &["x.example.com"], &[&["api:81"]])
        .found();
    let text = message(&found, "shop/web", "AmbiguousHost").unwrap();
    assert!(
        text.starts_with(
            "host \"*.example.com\" is left out, and one more host: it covers \"x.example.com\", which HTTPRoute play/s leads to Service play/api port 81;"
        ),
        "must name the host below: {text}"
    );
}

#[test]
fn another_port_of_the_same_service_comes_with_advice() {
    let found = Cluster::default()
        .target("shop/web", "web:80")
        .http("shop/r", &["a.example.com"], &[&["web:80"], &["web:81"]])
        .found();
    let text = message(&found, "shop/web", "AmbiguousHost").unwrap();
    assert!(
        text.contains("leave spec.service.port out"),
        "must say how to take every port: {text}"
    );
}

#[test]
fn a_short_name_of_two_namespaces_is_no_condition() {
    let found = Cluster::default()
        .target("shop/web", "web")
        .target("play/web", "web")
        .found();
    assert_eq!(
        message(&found, "shop/web", "AmbiguousHost"),
        None,
        "must not speak of what is usual"
    );
}

#[test]
fn the_older_keeps_a_key_and_the_other_is_told() {
    let found = Cluster::default()
        .target("shop/old", "old")
        .own(&["a.example.com"], &["c"])
        .target("shop/new", "new")
        .own(&["a.example.com"], &["c"])
        .http("shop/r", &["a.example.com"], &[&["new:80"]])
        .found();
    check(&found, &[("a.example.com", &["shop/old"]), ("c", &["shop/old"])]);
    let text = message(&found, "shop/new", "KeyConflict").unwrap();
    assert_eq!(
        text,
        "host \"a.example.com\" is left out, and one more key: ScaleTarget shop/old is older and has it"
    );
    assert_eq!(
        message(&found, "shop/old", "KeyConflict"),
        None,
        "must not trouble the owner"
    );
}

#[test]
fn twins_are_told_apart_by_name() {
    let mut cluster = Cluster::default().target("shop/b", "web").target("shop/a", "web");
    cluster.targets.iter_mut().for_each(|target| target.created = 7);
    check(&cluster.found(), &[("web.shop", &["shop/a"])]);
}

#[test]
fn a_missing_service_or_port_is_said() {
    let mut cluster = Cluster::default()
        .target("shop/web", "web")
        .target("shop/api", "api:80");
    cluster.services.remove(0);
    let found = cluster.service("shop/api", &[81]).found();
    assert_eq!(
        message(&found, "shop/web", "ServiceNotFound"),
        Some("there is no Service shop/web")
    );
    assert_eq!(
        message(&found, "shop/api", "ServiceNotFound"),
        Some("Service shop/api has no TCP port 80")
    );
}

#[test]
fn too_many_keys_are_said_and_the_users_own_stay() {
    let mut cluster = Cluster::default()
        .target("shop/web", "web")
        .own(&["zz.example.com"], &[]);
    for n in 0..600 {
        cluster = cluster.http(
            &format!("shop/r{n:03}"),
            &[&format!("h{n:03}.example.com")],
            &[&["web:80"]],
        );
    }
    let found = cluster.found();
    let keys = &found.targets[&protocol::TargetId::new("shop/web")].keys;
    assert_eq!(keys.hosts.len() + keys.clusters.len(), 1000, "must be bounded");
    assert_eq!(found.over, 1, "must be counted");
    assert!(
        message(&found, "shop/web", "TooManyKeys").is_some(),
        "must be said"
    );
    check(
        &found,
        &[("zz.example.com", &["shop/web"]), ("web.shop", &["shop/web"])],
    );
}
