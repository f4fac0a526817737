//! Envoy's routes and clusters change while requests are held: each goes where it was meant to, or is told to come again.
//!
//! Routes come from RDS and clusters from CDS, both from files, as meshes and gateways send them.

use std::path::PathBuf;
use std::time::Duration;

use harness::{Door, EnvoyBuilder, Pending, Reply, Stack, Target, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

const SECOND: Duration = Duration::from_secs(1);

/// As Envoy Gateway names clusters by the place of their rule: a rule is put before the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_becomes_anothers_gets_nothing_that_was_held() {
    shift(Scope::One, BOTH).await;
}

/// Not every workload is a target: nothing says where the cluster leads then, only that it is not to the held request's target.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_becomes_no_targets_gets_nothing_that_was_held() {
    // The process of a removed target goes on.
    shift(Scope::One, &[("a", &["rule/1"])]).await;
}

/// Envoy would find a new route there, were it told to, but nothing could read which before the request has gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_scoped_routes_neither() {
    shift(Scope::Scoped, BOTH).await;
}

/// Both stay targets, each by the cluster that is its own now.
const BOTH: &[(&str, &[&str])] = &[("a", &["rule/1"]), ("b", &["rule/0"])];

async fn shift(scope: Scope, targets: &[(&str, &[&str])]) {
    let (a, door) = Door::before(Target::http("a").spec("match.clusters", vec!["rule/0"]));
    let b = Target::http("b").spec("match.clusters", vec!["rule/1"]);
    let world = World::start(scope, vec![a, b], &["rule/0", "rule/1"]).await;
    assert_eq!(world.get("b", "/hello").await.status, 200, "b must be up");
    let held = world.hold("a", "/secret-of-a").await;

    world.clusters(&[("rule/0", "b"), ("rule/1", "a")]).await;
    world.routes(&[("a", "rule/1"), ("b", "rule/0")]).await;
    world.targets(targets);
    // What is published after that, readiness too, comes after the keys.
    eventually("the control plane has read the targets", SECOND * 10, || async {
        world.stack.control.log().contains("targets changed")
    })
    .await;
    let _open = door.open().await;

    world.must_come_again("a", held).await;
    world.must_not_have_seen_it("b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_gone_is_told_at_once() {
    let (a, door) = Door::before(Target::http("a").spec("match.clusters", vec!["rule/0", "rule/1"]));
    let world = World::start(Scope::One, vec![a], &["rule/0"]).await;
    let held = world.hold("a", "/hello").await;

    world.clusters(&[("rule/1", "a")]).await;
    world.routes(&[("a", "rule/1")]).await;
    let _open = door.open().await;

    world.must_come_again("a", held).await;
}

/// A setting of the cluster changes, and with it Envoy's own idea of it: that is no reason to refuse a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_replaced_under_its_name_is_still_its_own() {
    let (a, door) = Door::before(Target::http("a").spec("match.clusters", vec!["rule/0"]));
    let world = World::start(Scope::One, vec![a], &["rule/0"]).await;
    let held = world.hold("a", "/hello").await;

    let mut changed = world.cluster("rule/0", "a");
    changed["connect_timeout"] = json!("2s");
    world.write_clusters(vec![changed]).await;
    let _open = door.open().await;

    let reply = held.reply().await;
    assert_eq!((reply.status, reply.text()), (200, "hello from a\n"), "{reply:?}");
}

/// What a removed target held is not for the target that has its cluster now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_replaced_by_anothers_gets_nothing_that_was_held() {
    let (a, door) = Door::before(Target::http("a").spec("match.clusters", vec!["rule/0"]));
    let b = Target::http("b").spec("match.clusters", vec!["rule/1"]);
    let world = World::start(Scope::One, vec![a, b], &["rule/0", "rule/1"]).await;
    assert_eq!(world.get("b", "/hello").await.status, 200, "b must be up");
    let held = world.hold("a", "/secret-of-a").await;

    world.clusters(&[("rule/0", "b")]).await;
    world.routes(&[("b", "rule/0")]).await;
    world.targets(&[("b", &["rule/0"])]);
    eventually("the control plane has read the targets", SECOND * 10, || async {
        world.stack.control.log().contains("targets changed")
    })
    .await;
    let _open = door.open().await;

    let reply = held.reply().await;
    assert_eq!(
        (reply.status, reply.problem().kind.as_str()),
        (503, CHANGED),
        "{reply:?}"
    );
    world.must_not_have_seen_it("b");
}

const CHANGED: &str = "urn:holdfast:route-changed";

/// Whether the routes are one configuration, or chosen among by `:authority`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    One,
    Scoped,
}

struct World {
    stack: Stack,
    dir: TempDir,
}

impl World {
    /// Target n is matched by cluster n, which leads to it; `<name>.example.com` is routed to that.
    async fn start(scope: Scope, targets: Vec<Target>, clusters: &[&'static str]) -> Self {
        let dir = TempDir::new().unwrap();
        let routes: Vec<_> = targets
            .iter()
            .map(|target| target.name.clone())
            .zip(clusters)
            .collect();
        let routes: Vec<(&str, &str)> = routes
            .iter()
            .map(|(host, cluster)| (host.as_str(), **cluster))
            .collect();
        put(&dir, "rds.json", &[route_configuration(&routes)]);
        let made = targets
            .iter()
            .zip(clusters)
            .map(|(target, name)| cluster(name, target.port));
        put(&dir, "cds.json", &made.collect::<Vec<_>>());
        let key = json!({"fragments": [{"string_key": "com"}]});
        let scope_of_all = json!({
            "@type": "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration",
            "name": "all", "route_configuration_name": "routes", "key": key,
        });
        put(&dir, "srds.json", &[scope_of_all]);
        let (rds, cds, srds) = (
            file(&dir, "rds.json"),
            file(&dir, "cds.json"),
            file(&dir, "srds.json"),
        );
        let stack = targets
            .into_iter()
            .fold(Stack::builder(), |stack, target| stack.target(target));
        let stack = stack
            .envoy(move |envoy| {
                with_routes(envoy, scope, &rds, &srds).patch("/dynamic_resources/cds_config", source(&cds))
            })
            .start()
            .await;
        Self { stack, dir }
    }

    async fn get(&self, name: &str, path: &str) -> Reply {
        self.stack.client(name).get(path).send().await
    }

    /// Sends a request, and returns once the control plane knows that one more is held.
    async fn hold(&self, name: &str, path: &str) -> Pending {
        let before = self.stack.held(name).await;
        let call = self.stack.client(name).get(path).spawn();
        eventually(&format!("{path} is held for {name}"), SECOND * 10, || async {
            assert!(!call.is_finished(), "must be held");
            self.stack.held(name).await > before
        })
        .await;
        call
    }

    fn must_not_have_seen_it(&self, name: &str) {
        let journal = self.stack.journal(name);
        assert!(
            journal
                .requests()
                .iter()
                .all(|request| request.path != "/secret-of-a"),
            "must not reach another's workload: {journal:?}"
        );
    }

    /// Held for as long as its target was not ready, then told to be sent again; and it is answered then.
    async fn must_come_again(&self, name: &str, held: Pending) {
        let reply = held.reply().await;
        assert_eq!(
            (reply.status, reply.problem().kind.as_str()),
            (503, CHANGED),
            "{reply:?}"
        );
        assert_eq!(reply.header("retry-after"), Some("1"), "{reply:?}");
        let again = self.get(name, "/hello").await;
        let text = format!("hello from {name}\n");
        assert_eq!((again.status, again.text()), (200, text.as_str()), "{again:?}");
    }

    fn cluster(&self, name: &str, target: &str) -> Value {
        cluster(name, self.stack.target(target).port)
    }

    /// Name of each cluster, and the target that it leads to.
    async fn clusters(&self, clusters: &[(&str, &str)]) {
        self.write_clusters(
            clusters
                .iter()
                .map(|(name, target)| self.cluster(name, target))
                .collect(),
        )
        .await;
    }

    async fn write_clusters(&self, clusters: Vec<Value>) {
        self.update("cluster_manager.cds.update_success", "cds.json", clusters)
            .await;
    }

    /// Name of each host, and the cluster that it leads to.
    async fn routes(&self, routes: &[(&str, &str)]) {
        self.update(
            ".rds.routes.config_reload",
            "rds.json",
            vec![route_configuration(routes)],
        )
        .await;
    }

    /// The targets, and the clusters by which they are matched.
    fn targets(&self, targets: &[(&str, &[&str])]) {
        let documents = targets.iter().map(|(name, clusters)| {
            let mut document = self.stack.target(name).document();
            document["spec"]["match"]["clusters"] = json!(clusters);
            document.to_string()
        });
        let text = documents.collect::<Vec<_>>().join("\n---\n");
        self.stack.control.write_targets(&text);
    }

    async fn update(&self, counter: &str, name: &str, resources: Vec<Value>) {
        let count = || async {
            let stats = self.stack.envoy.stats(counter).await;
            stats.iter().map(|(_, count)| count).sum::<u64>()
        };
        let before = count().await;
        put(&self.dir, name, &resources);
        eventually(&format!("{name} has been taken in"), SECOND * 10, || async {
            count().await > before
        })
        .await;
    }
}

fn with_routes(envoy: EnvoyBuilder, scope: Scope, rds: &PathBuf, srds: &PathBuf) -> EnvoyBuilder {
    let envoy = envoy.hcm("route_config", Value::Null);
    if scope == Scope::One {
        return envoy.hcm(
            "rds",
            json!({"route_config_name": "routes", "config_source": source(rds)}),
        );
    }
    let of_domain =
        json!({"header_value_extractor": {"name": ":authority", "element_separator": ".", "index": 2}});
    envoy.hcm(
        "scoped_routes",
        json!({
            "name": "scopes",
            "scope_key_builder": {"fragments": [of_domain]},
            "rds_config_source": source(rds),
            "scoped_rds": {"scoped_rds_config_source": source(srds)},
        }),
    )
}

fn route_configuration(routes: &[(&str, &str)]) -> Value {
    let hosts = routes.iter().map(|(name, cluster)| {
        json!({
            "name": name,
            "domains": [format!("{name}.example.com")],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}],
        })
    });
    json!({
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": "routes",
        "virtual_hosts": hosts.collect::<Vec<_>>(),
    })
}

fn cluster(name: &str, port: u16) -> Value {
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    json!({
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": name,
        "connect_timeout": "1s",
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
    })
}

fn source(path: &PathBuf) -> Value {
    json!({"resource_api_version": "V3", "path_config_source": {"path": path}})
}

fn file(dir: &TempDir, name: &str) -> PathBuf {
    dir.path().join(name)
}

/// Moved into place: Envoy watches for exactly that.
fn put(dir: &TempDir, name: &str, resources: &[Value]) {
    let new = file(dir, &format!("{name}.new"));
    std::fs::write(&new, json!({"resources": resources}).to_string()).unwrap();
    std::fs::rename(&new, file(dir, name)).unwrap();
}
