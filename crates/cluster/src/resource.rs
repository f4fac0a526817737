//! Finds the resource and the scale subresource of a kind, by the API server's discovery. Remembers nothing.

use std::time::Duration;

use kube::Client;
use kube::core::discovery::{ApiCapabilities, Scope};
use kube::core::{ApiResource, GroupVersion};
use kube::discovery::pinned_group;
use tokio::time::timeout;

use super::failure::{Failure, Kind};
use super::observe::ReplicasAt;
use fleet::lifecycle::FailureClass;

/// Longest wait for an answer.
const LONGEST: Duration = Duration::from_secs(5);

/// A kind that can be scaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalable {
    /// For `Api::namespaced_with`.
    pub resource: ApiResource,
    /// Where its objects keep their replicas.
    pub replicas_at: ReplicasAt,
}

/// What discovery says of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It can be scaled.
    Scalable(Scalable),
    /// It cannot, as things are: it is not known, has no scale subresource, or is not namespaced. That may change when
    /// a CustomResourceDefinition does, so it is worth asking again, seldom.
    Not(Failure),
    /// The API server could not be asked, or refused to answer.
    Unknown(Failure),
}

/// Asks the API server, for a few seconds at most.
pub async fn find(client: &Client, api_version: &str, kind: &str) -> Found {
    let Ok(version) = api_version.parse::<GroupVersion>() else {
        return Found::Not(not_known(api_version, kind));
    };
    match timeout(LONGEST, pinned_group(client, &version)).await {
        Ok(Ok(group)) => choose(&group.versioned_resources(&version.version), api_version, kind),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Found::Not(not_known(api_version, kind)),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            let text = format!(
                "we may not ask for the kinds of {api_version}: {}",
                status.message
            );
            Found::Unknown(Failure::new(Kind::Refused, &text).classed(FailureClass::Forbidden))
        }
        Ok(Err(_)) | Err(_) => {
            let text = format!("the API server does not tell the kinds of {api_version}");
            Found::Unknown(Failure::new(Kind::Unreachable, &text))
        }
    }
}

/// The kind among those of its group and version.
fn choose(resources: &[(ApiResource, ApiCapabilities)], api_version: &str, kind: &str) -> Found {
    let not = |text: &str| Found::Not(Failure::new(Kind::KindNotScalable, text));
    let Some((resource, capabilities)) = resources.iter().find(|(resource, _)| resource.kind == kind) else {
        return Found::Not(not_known(api_version, kind));
    };
    let scale = capabilities
        .subresources
        .iter()
        .find(|(subresource, _)| subresource.plural == "scale");
    if capabilities.scope == Scope::Cluster {
        return not(&format!("{kind} of {api_version} is not namespaced"));
    }
    match scale {
        Some((_, scale)) if can(scale, "get") && can(scale, "update") => Found::Scalable(Scalable {
            resource: resource.clone(),
            replicas_at: ReplicasAt::of(api_version, kind),
        }),
        Some(_) => not(&format!(
            "the scale subresource of {kind} of {api_version} cannot be written"
        )),
        None => not(&format!("{kind} of {api_version} has no scale subresource")),
    }
}

fn can(capabilities: &ApiCapabilities, verb: &str) -> bool {
    capabilities.operations.iter().any(|there| there == verb)
}

fn not_known(api_version: &str, kind: &str) -> Failure {
    Failure::new(
        Kind::KindNotScalable,
        &format!("the API server knows no {kind} of {api_version}"),
    )
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use kube::client::Body;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;

    #[tokio::test]
    async fn finds_what_can_be_scaled() {
        let Found::Scalable(found) = ask("apps/v1", "Deployment").await else {
            panic!("must find a Deployment");
        };
        assert_eq!(found.resource.plural, "deployments", "must know its path");
        assert_eq!(
            found.resource.api_version, "apps/v1",
            "must be of the version asked for"
        );
        assert_eq!(
            found.replicas_at,
            ReplicasAt::Spec,
            "must know where its replicas are"
        );
        let Found::Scalable(found) = ask("example.com/v1", "Fleet").await else {
            panic!("must find a custom kind");
        };
        assert_eq!(
            found.replicas_at,
            ReplicasAt::Scale,
            "must leave its replicas to the subresource"
        );
    }

    #[tokio::test]
    async fn says_why_a_kind_cannot_be_scaled() {
        for (api_version, kind, wanted) in [
            (
                "apps/v1",
                "DaemonSet",
                "DaemonSet of apps/v1 has no scale subresource",
            ),
            ("apps/v1", "Nope", "the API server knows no Nope of apps/v1"),
            (
                "nope.example/v1",
                "Fleet",
                "the API server knows no Fleet of nope.example/v1",
            ),
            ("a/b/c", "Fleet", "the API server knows no Fleet of a/b/c"),
            (
                "example.com/v1",
                "World",
                "World of example.com/v1 is not namespaced",
            ),
            (
                "example.com/v1",
                "Sealed",
                "the scale subresource of Sealed of example.com/v1 cannot be written",
            ),
        ] {
            let Found::Not(failure) = ask(api_version, kind).await else {
                panic!("must not find {kind} of {api_version}");
            };
            assert_eq!(failure.reason, wanted, "must say why");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_refusals_say_nothing_of_the_kind() {
        for group in ["forbidden.example", "broken.example", "silent.example"] {
            let found = ask(&format!("{group}/v1"), "Fleet").await;
            assert!(
                matches!(found, Found::Unknown(_)),
                "must be worth asking again soon: {group}"
            );
        }
    }

    async fn ask(api_version: &str, kind: &str) -> Found {
        let service = service_fn(|request: Request<Body>| async move {
            let path = request.uri().path().to_owned();
            let Some((code, body)) = answer(&path) else {
                return std::future::pending().await;
            };
            let body = Full::new(Bytes::from(body.to_string()));
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        });
        find(&Client::new(service, "default"), api_version, kind).await
    }

    fn answer(path: &str) -> Option<(u16, Value)> {
        let list = |group: &str, resources: Value| {
            let list = json!({"kind": "APIResourceList", "groupVersion": group, "resources": resources});
            Some((200, list))
        };
        let resource = |name: &str, kind: &str, namespaced: bool, verbs: &[&str]| json!({"name": name, "singularName": "", "kind": kind, "namespaced": namespaced, "verbs": verbs});
        let scale = |name: &str, verbs: &[&str]| {
            let mut scale = resource(&format!("{name}/scale"), "Scale", true, verbs);
            scale["group"] = json!("autoscaling");
            scale["version"] = json!("v1");
            scale
        };
        let all = ["get", "list", "update", "watch"];
        match path {
            "/apis/apps/v1" => list(
                "apps/v1",
                json!([
                    resource("deployments", "Deployment", true, &all),
                    scale("deployments", &["get", "patch", "update"]),
                    resource("deployments/status", "Deployment", true, &all),
                    resource("daemonsets", "DaemonSet", true, &all),
                ]),
            ),
            "/apis/example.com/v1" => list(
                "example.com/v1",
                json!([
                    resource("fleets", "Fleet", true, &all),
                    scale("fleets", &["get", "patch", "update"]),
                    resource("worlds", "World", false, &all),
                    scale("worlds", &["get", "update"]),
                    resource("sealeds", "Sealed", true, &all),
                    scale("sealeds", &["get"]),
                ]),
            ),
            "/apis/forbidden.example/v1" => Some((403, json!({"kind": "Status", "code": 403}))),
            "/apis/broken.example/v1" => Some((500, json!({"kind": "Status", "code": 500}))),
            "/apis/silent.example/v1" => None,
            _ => Some((404, json!("404 page not found"))),
        }
    }
}
