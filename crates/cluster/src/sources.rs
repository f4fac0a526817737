//! The watches that run all the time: everything that is watched but workloads and Pods.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use tokio::task::JoinSet;

use super::crd;
use super::discovery::facts::RouteKind;
use super::index::Index;
use super::status::Shown;
use super::watches::{Scope, watch};

/// The group of Gateway API's kinds.
const GATEWAY: &str = "gateway.networking.k8s.io";

/// Starts one watch for each kind. What they show goes into `told`, and what is shown of ScaleTargets into `shown` as well.
pub fn watch_all(tasks: &mut JoinSet<()>, client: &Client, told: &Index, shown: &Shown) {
    let told = || told.clone();
    let targets = Api::<crd::ScaleTarget>::all(client.clone());
    let (index, shown) = (told(), shown.clone());
    tasks.spawn(watch("scaletargets", targets, Scope::default(), move |seen| {
        shown.take(&seen);
        index.targets(seen);
    }));
    let services = Api::<Service>::all(client.clone());
    let index = told();
    tasks.spawn(watch("services", services, Scope::default(), move |seen| {
        index.services(&seen)
    }));
    let slices = Api::<EndpointSlice>::all(client.clone());
    let index = told();
    tasks.spawn(watch("endpointslices", slices, Scope::default(), move |seen| {
        index.slices(&seen)
    }));
    for (kind, plural) in [(RouteKind::Http, "httproutes"), (RouteKind::Grpc, "grpcroutes")] {
        let routes = gateway(client, "v1", kind.as_str(), plural);
        let index = told();
        tasks.spawn(watch(plural, routes, Scope::default(), move |seen| {
            index.routes(kind, &seen)
        }));
    }
    let grants = gateway(client, "v1beta1", "ReferenceGrant", "referencegrants");
    let index = told();
    tasks.spawn(watch("referencegrants", grants, Scope::default(), move |seen| {
        index.grants(&seen)
    }));
}

fn gateway(client: &Client, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(GATEWAY, version, kind);
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, plural))
}
