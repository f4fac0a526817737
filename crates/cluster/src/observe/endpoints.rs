//! Counts the endpoints of a Service: those that are ready, and those that are left.

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1 as api;
use kube::ResourceExt;

/// One EndpointSlice, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// The Service it belongs to; empty if it belongs to none.
    pub service: String,
    /// Names of its ports, as in the Service; a port without a name is `""`.
    pub ports: Vec<String>,
    /// What it lists.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// UID of its Pod, or its first address: the same in each slice of a Service (IPv4 and IPv6, or in the moment when
    /// it is moved from one to another).
    pub key: String,
    /// Ready and not terminating.
    pub ready: bool,
}

impl Slice {
    /// What matters of `slice`.
    pub fn reduce(slice: &api::EndpointSlice) -> Self {
        let service = slice.labels().get("kubernetes.io/service-name");
        let ports = slice.ports.iter().flatten();
        let endpoints = slice.endpoints.iter().flatten();
        Self {
            service: service.cloned().unwrap_or_default(),
            ports: ports.map(|port| port.name.clone().unwrap_or_default()).collect(),
            endpoints: endpoints.filter_map(Endpoint::reduce).collect(),
        }
    }
}

impl Endpoint {
    fn reduce(endpoint: &api::Endpoint) -> Option<Self> {
        let pod = endpoint.target_ref.as_ref().and_then(|pod| pod.uid.as_ref());
        let key = pod.or_else(|| endpoint.addresses.first())?;
        let conditions = endpoint.conditions.as_ref();
        // Unknown readiness is to be taken as ready (documentation of EndpointConditions).
        let ready = conditions.and_then(|known| known.ready).unwrap_or(true);
        // With publishNotReadyAddresses a terminating endpoint says that it is ready.
        let terminating = conditions.and_then(|known| known.terminating).unwrap_or(false);
        Some(Self {
            key: key.clone(),
            ready: ready && !terminating,
        })
    }
}

/// Endpoints of one port of a Service, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Ready and not terminating.
    pub ready: u32,
    /// All that are listed, terminating ones included.
    pub left: u32,
}

/// Counts the distinct endpoints in `slices`, all of one Service. Only slices that have the port named `port` count,
/// if one is given. An endpoint that one slice calls ready is ready.
pub fn endpoints_of<'a>(slices: impl IntoIterator<Item = &'a Slice>, port: Option<&str>) -> Endpoints {
    let mut distinct = BTreeMap::<&str, bool>::new();
    for slice in slices {
        if port.is_none_or(|port| slice.ports.iter().any(|there| there == port)) {
            for endpoint in &slice.endpoints {
                *distinct.entry(&endpoint.key).or_default() |= endpoint.ready;
            }
        }
    }
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Endpoints {
        ready: count(distinct.values().filter(|ready| **ready).count()),
        left: count(distinct.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn counts_ready_ones_and_not_addresses() {
        let slice = mk_slice(
            "http",
            &[
                json!({"addresses": ["10.0.0.1"], "conditions": {"ready": true}}),
                json!({"addresses": ["10.0.0.2"], "conditions": {"ready": false}}),
                json!({"addresses": ["10.0.0.3"], "conditions": {}}),
                json!({"addresses": ["10.0.0.4"]}),
                json!({"addresses": ["10.0.0.5"], "conditions": {"ready": true, "serving": true, "terminating": true}}),
                json!({"addresses": []}),
            ],
        );
        assert_eq!(slice.service, "web", "must know its Service");
        let counted = endpoints_of([&slice], None);
        assert_eq!(
            counted,
            Endpoints { ready: 3, left: 5 },
            "must count unknown as ready, terminating as left"
        );
    }

    #[test]
    fn an_endpoint_in_two_slices_is_one() {
        let of = |address: &str, ready: bool| json!({"addresses": [address], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "uid": "u1"}});
        let slices = [
            mk_slice("", &[of("10.0.0.1", false)]),
            mk_slice("", &[of("fd00::1", true)]),
        ];
        let counted = endpoints_of(&slices, Some(""));
        assert_eq!(
            counted,
            Endpoints { ready: 1, left: 1 },
            "must count a Pod once, ready if one slice says so"
        );
    }

    #[test]
    fn slices_without_the_port_do_not_count() {
        let slice = mk_slice("metrics", &[json!({"addresses": ["10.0.0.1"]})]);
        assert_eq!(
            endpoints_of([&slice], Some("http")),
            Endpoints::default(),
            "must not count another port"
        );
        assert_eq!(
            endpoints_of([&slice], Some("metrics")).ready,
            1,
            "must count its port"
        );
        assert_eq!(
            endpoints_of([], None),
            Endpoints::default(),
            "must be nothing without slices"
        );
    }

    fn mk_slice(port: &str, endpoints: &[Value]) -> Slice {
        let slice = json!({
            "metadata": {"name": "web-x1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": port, "port": 8080}],
            "endpoints": endpoints,
        });
        Slice::reduce(&serde_json::from_value(slice).unwrap())
    }
}
