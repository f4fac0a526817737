//! Every Pod that we ship has as few rights as it can, and time to end well.

use std::time::Duration;

use serde_json::{Value, json};

use super::selectors::patched_by_istio;
use super::tree::{self, OVERLAYS, Object, find, named, of_kind};

#[test]
fn pods_meet_the_restricted_standard() {
    for deployment in deployments() {
        let spec = &deployment.pod().unwrap()["spec"];
        let context = &spec["securityContext"];
        assert_eq!(context["runAsNonRoot"], true, "{}", deployment.title());
        assert_ne!(context["runAsUser"], 0, "{}", deployment.title());
        assert_eq!(
            context["seccompProfile"]["type"],
            "RuntimeDefault",
            "{}",
            deployment.title()
        );
        for container in containers(spec) {
            let context = json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            });
            let title = format!("{} {}", deployment.title(), container["name"]);
            assert_eq!(container["securityContext"], context, "{title}");
            for bound in ["requests", "limits"] {
                for resource in ["cpu", "memory"] {
                    assert!(
                        container["resources"][bound][resource].is_string(),
                        "{title}: no {bound} of {resource}"
                    );
                }
            }
        }
    }
}

#[test]
fn only_the_control_plane_gets_an_account_token() {
    for deployment in deployments() {
        let mounts = &deployment.pod().unwrap()["spec"]["automountServiceAccountToken"];
        let is_control_plane = deployment.name() == "holdfast-control-plane";
        assert_eq!(*mounts == false, !is_control_plane, "{}", deployment.title());
    }
}

#[test]
fn what_serves_says_when_it_is_ready() {
    for deployment in deployments() {
        let spec = &deployment.pod().unwrap()["spec"];
        let probe = &spec["containers"][0]["readinessProbe"];
        assert!(
            probe.is_object(),
            "{}: must have a readiness probe",
            deployment.title()
        );
        assert_eq!(
            spec["enableServiceLinks"],
            false,
            "{}: Services must not look like options",
            deployment.title()
        );
    }
}

#[test]
fn the_control_plane_is_probed_where_it_answers() {
    let base = tree::render(tree::BASE);
    let control_plane = find(&base, "Deployment", "holdfast-system", "holdfast-control-plane");
    let container = &control_plane.pod().unwrap()["spec"]["containers"][0];
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    let admin = named(&container["ports"], "admin").unwrap()["containerPort"].clone();
    let listens = format!("--admin-listen=0.0.0.0:{admin}");
    assert!(
        container["args"]
            .as_array()
            .unwrap()
            .contains(&Value::from(listens.as_str())),
        "must have {listens}"
    );
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(
            container[probe]["httpGet"]["port"], "admin",
            "{probe} must not wait behind proxies"
        );
    }
    let scraped = &control_plane.pod().unwrap()["metadata"]["annotations"]["prometheus.io/port"];
    assert_eq!(*scraped, admin.to_string(), "must be scraped there");
    assert_eq!(control_plane.0["spec"]["replicas"], 2);
}

#[test]
fn gateways_outlast_what_they_hold() {
    let longest = Duration::from_mins(1);
    for target in of_kind(&tree::render(tree::DEMO), "ScaleTarget") {
        assert!(
            target.0["spec"]["hold"].is_null(),
            "{}: holds as long as the default",
            target.title()
        );
    }
    let istio = &patched_by_istio(&tree::render("overlays/istio"))["spec"]["template"]["spec"];
    assert!(
        seconds(&istio["terminationGracePeriodSeconds"]) > longest,
        "overlays/istio"
    );

    let objects = tree::render("overlays/envoy-gateway");
    let drain =
        find(&objects, "EnvoyProxy", "holdfast-gateway", "holdfast").text("/spec/shutdown/drainTimeout");
    let drain: u64 = drain.strip_suffix('s').unwrap().parse().unwrap();
    assert!(Duration::from_secs(drain) > longest, "overlays/envoy-gateway");

    let objects = tree::render("overlays/envoy");
    let spec = &find(&objects, "Deployment", "holdfast-gateway", "holdfast-envoy")
        .pod()
        .unwrap()["spec"];
    let script = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][2]
        .as_str()
        .unwrap();
    let sleep: u64 = script.trim().rsplit_once("sleep ").unwrap().1.parse().unwrap();
    let grace = seconds(&spec["terminationGracePeriodSeconds"]);
    assert!(
        grace > Duration::from_secs(sleep) && Duration::from_secs(sleep) > longest,
        "overlays/envoy"
    );
}

fn deployments() -> Vec<Object> {
    let all = OVERLAYS.into_iter().flat_map(tree::installation);
    let found: Vec<_> = all.filter(|object| object.pod().is_some()).collect();
    assert!(found.len() >= 7, "must have looked at the Deployments");
    found
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"]
        .into_iter()
        .flat_map(|list| spec[list].as_array().into_iter().flatten())
}

fn seconds(value: &Value) -> Duration {
    Duration::from_secs(value.as_u64().unwrap())
}
