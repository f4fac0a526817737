//! Which subscriber is told of which change, and of nothing else.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::{ApiResource, DynamicObject};
use serde_json::{Value, json};

use super::*;
use crate::crd;
use crate::discovery::facts::RouteKind;
use crate::observe::{Endpoints, ReplicasAt};
use crate::watches::WatchEvent;

#[test]
fn is_complete_once_all_is_read_and_every_kind_was_looked_for() {
    let index = Index::default();
    assert!(!index.is_complete(), "must not be complete at its start");
    index.targets(WatchEvent::Begin);
    index.targets(WatchEvent::Apply(mk_target("web", "Deployment")));
    index.targets(WatchEvent::End);
    index.services(&WatchEvent::Absent);
    index.slices(&WatchEvent::Absent);
    for kind in [RouteKind::Http, RouteKind::Grpc] {
        index.routes(kind, &WatchEvent::Absent);
    }
    index.grants(&WatchEvent::Absent);
    assert!(
        !index.is_complete(),
        "must not be complete before the workloads were read"
    );
    assert_eq!(
        index.kinds(),
        BTreeSet::from([deployments()]),
        "must say which kinds are wanted"
    );
    index.usable(&deployments(), mk_scalable());
    assert!(
        !index.is_complete(),
        "must not be complete before they were listed"
    );
    index.workloads(&deployments(), &WatchEvent::Begin);
    index.workloads(&deployments(), &WatchEvent::End);
    assert!(index.is_complete(), "must be complete");
}

#[test]
fn is_complete_without_a_kind_that_is_not_there() {
    let index = mk_index();
    index.targets(WatchEvent::Apply(mk_target("odd", "Game")));
    assert!(!index.is_complete(), "must look for the kind first");
    index.unusable(&Kind::new("apps/v1", "Game"), mk_failure("no such kind"));
    assert!(index.is_complete(), "must be complete all the same");
    let facts = index.facts(&spec_of(&index, "odd"));
    assert_eq!(
        facts.workload,
        Found::Unusable(mk_failure("no such kind")),
        "must say why"
    );
}

#[test]
fn a_kind_that_may_not_be_read_keeps_no_reader_waiting() {
    let index = mk_index();
    let game = Kind::new("apps/v1", "Game");
    index.targets(WatchEvent::Apply(mk_target("odd", "Game")));
    index.usable(&game, mk_scalable());
    let mut follower = index.follow(&spec_of(&index, "odd"));
    let refused = WatchEvent::Refused("forbidden".to_owned());
    for _ in 0..2 {
        index.workloads(&game, &WatchEvent::Begin);
        index.workloads(&game, &refused);
        assert!(index.is_complete(), "must be complete all the same");
    }
    let Found::Unusable(failure) = follower.borrow_and_update().workload.clone() else {
        panic!("must say that it cannot be used");
    };
    assert!(failure.reason.ends_with("forbidden"), "must say why: {failure:?}");

    index.workloads(&game, &WatchEvent::Begin);
    index.workloads(&game, &WatchEvent::Apply(mk_workload("odd", 3)));
    index.workloads(&game, &WatchEvent::End);
    let there = follower.borrow_and_update().workload.clone();
    assert!(matches!(there, Found::There(_)), "must be used once it may be");
    index.workloads(&game, &refused);
    assert_eq!(
        index.facts(&spec_of(&index, "odd")).workload,
        there,
        "must stand once it was read"
    );
}

#[test]
fn what_is_unusable_for_the_same_reason_is_no_news() {
    let index = mk_index();
    let game = Kind::new("apps/v1", "Game");
    let why = |text: &str| Failure::new(failure::Kind::KindNotScalable, text);
    let mut changes = index.changes();
    index.unusable(&game, why("too many"));
    changes.mark_unchanged();
    index.unusable(&game, why("too many"));
    assert!(
        !changes.has_changed().unwrap(),
        "must not wake who said it, for ever"
    );
    index.unusable(&game, why("not known"));
    assert!(changes.has_changed().unwrap(), "must tell another reason");
}

#[test]
fn tells_a_follower_what_changes_and_no_other() {
    let index = mk_index();
    for name in ["web", "api"] {
        index.targets(WatchEvent::Apply(mk_target(name, "Deployment")));
    }
    let mut web = index.follow(&spec_of(&index, "web"));
    let mut api = index.follow(&spec_of(&index, "api"));
    index.workloads(&deployments(), &WatchEvent::Apply(mk_workload("web", 3)));
    assert!(web.has_changed().unwrap(), "must tell who follows");
    assert!(!api.has_changed().unwrap(), "must not tell others");
    let Found::There(workload) = web.borrow_and_update().workload.clone() else {
        panic!("must be there");
    };
    assert_eq!(workload.replicas, Some(3), "must tell the replicas");
    index.slices(&WatchEvent::Apply(mk_slice("web-1", "web", true)));
    assert_eq!(
        web.borrow_and_update().endpoints,
        Endpoints { ready: 1, left: 1 },
        "must count endpoints"
    );
    index.slices(&WatchEvent::Delete(mk_slice("web-1", "web", true)));
    assert_eq!(
        web.borrow_and_update().endpoints,
        Endpoints::default(),
        "must see them go"
    );
    index.workloads(&deployments(), &WatchEvent::Delete(mk_workload("web", 3)));
    assert!(
        matches!(web.borrow_and_update().workload, Found::Unusable(_)),
        "must see it go"
    );
    assert_eq!(api.borrow_and_update().endpoints.ready, 0, "must not mix them up");
}

#[test]
fn sees_what_went_while_the_watch_was_away() {
    let index = mk_index();
    index.targets(WatchEvent::Apply(mk_target("web", "Deployment")));
    index.slices(&WatchEvent::Apply(mk_slice("web-1", "web", true)));
    index.workloads(&deployments(), &WatchEvent::Apply(mk_workload("web", 1)));
    let web = index.follow(&spec_of(&index, "web"));
    index.slices(&WatchEvent::Begin);
    index.slices(&WatchEvent::End);
    assert_eq!(
        web.borrow().endpoints,
        Endpoints::default(),
        "must see slices that are no longer listed go"
    );
    index.workloads(&deployments(), &WatchEvent::Begin);
    index.workloads(&deployments(), &WatchEvent::End);
    assert!(
        matches!(web.borrow().workload, Found::Unusable(_)),
        "must see workloads go as well"
    );
}

#[test]
fn follows_one_port_of_a_service() {
    let index = mk_index();
    let mut target = mk_target("web", "Deployment");
    target.spec.0["service"] = json!({"name": "web", "port": 80});
    index.targets(WatchEvent::Apply(target));
    let web = index.follow(&spec_of(&index, "web"));
    let mut slice = mk_slice("web-1", "web", true);
    slice.ports.as_mut().unwrap()[0].name = Some("metrics".to_owned());
    index.slices(&WatchEvent::Apply(slice));
    assert_eq!(
        web.borrow().endpoints.ready,
        1,
        "must count all while the Service is not known"
    );
    let service = json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"ports": [{"name": "http", "port": 80}, {"name": "metrics", "port": 9090}]},
    });
    index.services(&WatchEvent::Apply(
        serde_json::from_value::<Service>(service).unwrap(),
    ));
    assert_eq!(web.borrow().endpoints.ready, 0, "must count the port's only");
}

#[test]
fn a_bad_edit_keeps_the_last_good_document() {
    let index = mk_index();
    index.targets(WatchEvent::Apply(mk_target("web", "Deployment")));
    let good = spec_of(&index, "web");
    let mut bad = mk_target("web", "Deployment");
    bad.spec.0["confirm"] = json!({"enabled": false, "grpc": true});
    index.targets(WatchEvent::Apply(bad));
    let object = index.object(&TargetId::new("shop/web")).unwrap();
    assert_eq!(object.spec, Some(good), "must keep the good one");
    let reason = object.invalid.unwrap();
    assert!(reason.contains("spec.confirm"), "must name the field: {reason}");
}

#[test]
fn a_follower_that_comes_again_gets_the_same_channel() {
    let index = mk_index();
    index.targets(WatchEvent::Apply(mk_target("web", "Deployment")));
    let spec = spec_of(&index, "web");
    let first = index.follow(&spec);
    let mut changes = index.changes();
    changes.mark_unchanged();
    assert!(index.follow(&spec).same_channel(&first), "must be the same");
    assert!(!changes.has_changed().unwrap(), "must not count as a change");
}

#[test]
fn one_that_goes_takes_nothing_from_one_that_has_come_in_its_place() {
    let index = mk_index();
    index.targets(WatchEvent::Apply(mk_target("web", "Deployment")));
    let mut spec = spec_of(&index, "web");
    let (old, same) = (index.follow(&spec), index.follow(&spec));
    drop(old);
    spec.service = None;
    let other = index.follow(&spec);
    drop(same);
    assert!(other.has_changed().is_ok(), "must still be told");
    let mut changes = index.changes();
    changes.mark_unchanged();
    drop(other);
    assert!(changes.has_changed().unwrap(), "must be let go with the last one");
    assert!(!index.follow(&spec).has_changed().unwrap(), "must begin anew");
}

fn mk_index() -> Index {
    let index = Index::default();
    index.targets(WatchEvent::Absent);
    index.services(&WatchEvent::Absent);
    index.slices(&WatchEvent::Absent);
    for kind in [RouteKind::Http, RouteKind::Grpc] {
        index.routes(kind, &WatchEvent::Absent);
    }
    index.grants(&WatchEvent::Absent);
    index.usable(&deployments(), mk_scalable());
    index.workloads(&deployments(), &WatchEvent::Begin);
    index.workloads(&deployments(), &WatchEvent::End);
    index
}

fn deployments() -> Kind {
    Kind::new("apps/v1", "Deployment")
}

fn mk_scalable() -> Scalable {
    let kind = kube::core::GroupVersionKind::gvk("apps", "v1", "Deployment");
    Scalable {
        resource: ApiResource::from_gvk(&kind),
        replicas_at: ReplicasAt::Spec,
    }
}

fn mk_failure(reason: &str) -> Failure {
    Failure::new(failure::Kind::KindNotScalable, reason)
}

fn spec_of(index: &Index, name: &str) -> ScaleTarget {
    let object = index.object(&TargetId::new(format!("shop/{name}"))).unwrap();
    object.spec.unwrap()
}

fn mk_target(name: &str, kind: &str) -> crd::ScaleTarget {
    read(json!({
        "apiVersion": "holdfast.dev/v1alpha1",
        "kind": "ScaleTarget",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"workload": {"apiVersion": "apps/v1", "kind": kind, "name": name}, "service": {"name": name}},
    }))
}

fn mk_workload(name: &str, replicas: u32) -> DynamicObject {
    read(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": replicas.to_string()},
        "spec": {"replicas": replicas},
    }))
}

fn mk_slice(name: &str, service: &str, ready: bool) -> EndpointSlice {
    read(json!({
        "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
    }))
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}
