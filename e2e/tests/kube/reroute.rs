//! The rules of an HTTPRoute are put into another order while a request is held. Envoy's clusters are named by the place of
//! their rule, as Envoy Gateway names them, and come from files: nothing that was held reaches another rule's Service.

use std::path::Path;
use std::time::Duration;

use e2e::kube::{KubeStack, Workload};
use harness::eventually;
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_request_reaches_no_other_rules_service() {
    let dir = TempDir::new().unwrap();
    let (rds, cds) = (dir.path().join("rds.json"), dir.path().join("cds.json"));
    put(&rds, &[route_configuration(&[])]);
    put(&cds, &[]);
    let (of_routes, of_clusters) = (source(&rds), source(&cds));
    let stack = KubeStack::builder()
        // Long enough to be held until the rules have moved, wherever that is noticed.
        .workload(
            Workload::http("a")
                .cluster_name("a")
                .idle("10m")
                .upstream(["--start-delay", "15s"]),
        )
        .workload(Workload::http("b").cluster_name("b").idle("10m"))
        .gateway_api()
        .apply(&http_route(&["a", "b"]))
        .envoy(move |envoy| {
            envoy
                .hcm("route_config", Value::Null)
                .hcm(
                    "rds",
                    json!({"route_config_name": "routes", "config_source": of_routes}),
                )
                .patch("/dynamic_resources/cds_config", of_clusters)
        })
        .start()
        .await;
    let Some(stack) = stack else { return };
    let gateway = Gateway {
        stack: &stack,
        rds: &rds,
        cds: &cds,
    };
    gateway.follow(&["a", "b"]).await;
    assert_eq!(stack.control().wake("b").await.status, 202);
    stack.wait_for("b", "ready").await;
    let ready = || async { stack.client("b").get("/").send().await.status == 200 };
    eventually("b is routed to", PATIENCE, ready).await;

    let held = stack.client("a").get("/hello").spawn();
    let is_held = || async { stack.control().metric("holdfast_held_requests", &[]).await >= 1.0 };
    eventually("the request is held", PATIENCE, is_held).await;

    stack.cluster.apply(&http_route(&["b", "a"])).await;
    eventually("the control plane has the new rules", PATIENCE, || async {
        let targets = stack.control().client().get("/v1/targets/default/b").send().await;
        targets.text().contains(&cluster_name(0))
    })
    .await;
    gateway.follow(&["b", "a"]).await;
    assert!(!held.is_finished(), "must have been held all the time");

    let reply = held.reply().await;
    assert!(
        reply.status == 200 || reply.problem().kind == "urn:holdfast:route-changed",
        "must reach its own, or be told to come again: {reply:?}"
    );
    let seen = |name: &str| {
        stack
            .journal(name)
            .requests()
            .iter()
            .any(|request| request.path == "/hello")
    };
    assert!(!seen("b"), "must not reach the other rule's Service");
    assert_eq!(
        seen("a"),
        reply.status == 200,
        "must be answered by its own if at all"
    );
    stack.wait_for("a", "ready").await;
    // What this Envoy held before it heard that both are ready is told so once more.
    eventually("it is answered when it comes again", PATIENCE, || async {
        let again = stack.client("a").get("/hello").send().await;
        let told = again.status == 503 && again.problem().kind == "urn:holdfast:route-changed";
        assert!(
            again.status == 200 || told,
            "must be answered, or told to come again: {again:?}"
        );
        again.status == 200
    })
    .await;
    assert!(seen("a") && !seen("b"), "must lead to its own");
}

/// Stands in for Envoy Gateway: what it makes of a route's rules.
struct Gateway<'a> {
    stack: &'a KubeStack,
    rds: &'a Path,
    cds: &'a Path,
}

impl Gateway<'_> {
    /// The Services of the rules, in order. Returns when Envoy goes by them.
    async fn follow(&self, rules: &[&str]) {
        let clusters: Vec<_> = rules
            .iter()
            .enumerate()
            .map(|(rule, name)| self.cluster(rule, name))
            .collect();
        self.update("cluster_manager.cds.update_success", self.cds, &clusters)
            .await;
        let hosts: Vec<_> = rules
            .iter()
            .enumerate()
            .map(|(rule, name)| (self.stack.workload(name).authority(), cluster_name(rule)))
            .collect();
        self.update(
            ".rds.routes.config_reload",
            self.rds,
            &[route_configuration(&hosts)],
        )
        .await;
    }

    /// The endpoints are those of the workload's Service.
    fn cluster(&self, rule: usize, name: &str) -> Value {
        json!({
            "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            "name": cluster_name(rule),
            "connect_timeout": "1s",
            "type": "EDS",
            "eds_cluster_config": {"service_name": name, "eds_config": source(&self.stack.eds.path(name))},
        })
    }

    async fn update(&self, counter: &str, path: &Path, resources: &[Value]) {
        let count = || async {
            let stats = self.stack.envoy.stats(counter).await;
            stats.iter().map(|(_, count)| count).sum::<u64>()
        };
        let before = count().await;
        put(path, resources);
        eventually(
            &format!("{} has been taken in", path.display()),
            PATIENCE,
            || async { count().await > before },
        )
        .await;
    }
}

/// As Envoy Gateway names it.
fn cluster_name(rule: usize) -> String {
    format!("httproute/default/shop/rule/{rule}")
}

/// A rule for each Service, in order.
fn http_route(services: &[&str]) -> String {
    let rules = services.iter().map(|name| {
        json!({
            "matches": [{"headers": [{"name": "x-service", "value": name}]}],
            "backendRefs": [{"name": name, "port": 80}],
        })
    });
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "shop", "namespace": "default"},
        "spec": {"parentRefs": [{"name": "gateway"}], "rules": rules.collect::<Vec<_>>()},
    })
    .to_string()
}

fn route_configuration(routes: &[(String, String)]) -> Value {
    let hosts = routes.iter().map(|(host, cluster)| {
        json!({
            "name": host,
            "domains": [host, format!("{host}:*")],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}],
        })
    });
    json!({
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": "routes",
        "virtual_hosts": hosts.collect::<Vec<_>>(),
    })
}

fn source(path: &Path) -> Value {
    json!({"resource_api_version": "V3", "path_config_source": {"path": path}})
}

/// Moved into place: Envoy watches for exactly that.
fn put(path: &Path, resources: &[Value]) {
    let new = path.with_extension("new");
    std::fs::write(&new, json!({"resources": resources}).to_string()).unwrap();
    std::fs::rename(&new, path).unwrap();
}
