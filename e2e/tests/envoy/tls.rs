//! TLS between the real Envoy and the control plane, as `local-envoy/tls/` ships it: a peer without a certificate of the
//! right authority is kept out, on both sides.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::{Control, ControlBuilder, EnvoyBuilder, Target, binaries, eventually};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shipped_cluster_syncs_by_tls_on_both_sides() {
    let world = World::start(&[]).await;
    let envoy = world.envoy("ours", Some(cluster(&world.dir.path().join("ours"))));
    let envoy = envoy.start(world.dir.path()).await;
    world.until_polls(1).await;
    let reply = envoy.client(world.target.authority()).get("/hello").send().await;
    assert_eq!(reply.status, 200, "must be woken: {reply:?}");
    assert!(world.control.metric("holdfast_reports_total", &[]).await >= 1.0);
    assert!(
        world.control.metric("holdfast_tls_failures_total", &[]).await < 1.0,
        "no connection must have been turned away: {}",
        world.control.log()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_a_certificate_of_ours_is_kept_out() {
    let world = World::start(&[]).await;
    let ours = world.dir.path().join("ours");
    certificates(&world.dir.path().join("others"));
    let others = world.dir.path().join("others");
    let context = "/transport_socket/typed_config/common_tls_context";
    let mut foreign = cluster(&ours);
    *foreign
        .pointer_mut(&format!("{context}/tls_certificates"))
        .unwrap() = json!([{
        "certificate_chain": {"filename": others.join("proxy.pem")},
        "private_key": {"filename": others.join("proxy.key")},
    }]);
    let mut none = cluster(&ours);
    none.pointer_mut(context)
        .unwrap()
        .as_object_mut()
        .unwrap()
        .remove("tls_certificates");
    // The control plane is no client: its own certificate does not make it one.
    let mut of_a_server = cluster(&ours);
    *of_a_server
        .pointer_mut(&format!("{context}/tls_certificates"))
        .unwrap() = json!([{
        "certificate_chain": {"filename": ours.join("control-plane.pem")},
        "private_key": {"filename": ours.join("control-plane.key")},
    }]);
    // This one is Envoy's to refuse.
    let mut doubtful = cluster(&ours);
    *doubtful
        .pointer_mut(&format!("{context}/validation_context/trusted_ca"))
        .unwrap() = json!({"filename": others.join("ca.pem")});
    for (name, cluster) in [
        ("foreign", Some(foreign)),
        ("none", Some(none)),
        ("server", Some(of_a_server)),
        ("doubtful", Some(doubtful)),
        ("plaintext", None),
    ] {
        let before = world.control.metric("holdfast_tls_failures_total", &[]).await;
        let envoy = world.envoy(name, cluster).start(world.dir.path()).await;
        eventually(
            &format!("{name}: it is turned away again and again"),
            SOON,
            || async { world.control.metric("holdfast_tls_failures_total", &[]).await >= before + 3.0 },
        )
        .await;
        drop(envoy);
        let syncs = world.control.metric("holdfast_syncs_total", &[]).await;
        let polls = world.control.metric("holdfast_open_polls", &[]).await;
        assert!(syncs + polls < 1.0, "{name} must not have been let in");
    }
    let log = world.control.log();
    assert!(log.contains("127.0.0.1 is turned away: "), "must be said: {log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_does_not_replace_the_token() {
    let world = World::start(&["--token", "0123456789abcdef"]).await;
    let ours = world.dir.path().join("ours");
    let envoy = world
        .envoy("tokenless", Some(cluster(&ours)))
        .start(world.dir.path())
        .await;
    eventually("it is refused", SOON, || async {
        world.control.metric("holdfast_unauthorized_total", &[]).await >= 1.0
    })
    .await;
    drop(envoy);
    let envoy = world
        .envoy("with-token", Some(cluster(&ours)))
        .setting("control_plane.token_env", "HOLDFAST_TOKEN")
        .env("HOLDFAST_TOKEN", "0123456789abcdef");
    let _envoy = envoy.start(world.dir.path()).await;
    world.until_polls(1).await;
}

/// A control plane with the certificates in `ours`.
struct World {
    dir: tempfile::TempDir,
    control: Control,
    target: Target,
}

impl World {
    async fn start(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ours = dir.path().join("ours");
        certificates(&ours);
        let file = |name: &str| ours.join(name).display().to_string();
        let target = Target::http("web");
        let control = ControlBuilder::new()
            .probes_apart()
            .args([
                "--tls-cert",
                &file("control-plane.pem"),
                "--tls-key",
                &file("control-plane.key"),
            ])
            .args(["--tls-client-ca", &file("ca.pem")])
            .args(args.iter().copied())
            .start(dir.path(), &target.document().to_string())
            .await;
        Self { dir, control, target }
    }

    /// `cluster` in place of the control plane's; `None`: that speaks plain text.
    fn envoy(&self, node: &str, cluster: Option<Value>) -> EnvoyBuilder {
        let targets = std::slice::from_ref(&self.target);
        let envoy = EnvoyBuilder::new(self.control.port(), targets).node(node);
        let Some(mut cluster) = cluster else {
            return envoy;
        };
        let port = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value";
        *cluster.pointer_mut(port).unwrap() = json!(self.control.port());
        envoy.patch("/static_resources/clusters/0", cluster)
    }

    async fn until_polls(&self, polls: u32) {
        eventually("Envoy polls", SOON, || async {
            self.control.metric("holdfast_open_polls", &[]).await >= f64::from(polls)
        })
        .await;
    }
}

/// As `local-envoy/tls/certificates.sh` makes them.
fn certificates(folder: &Path) {
    let script = binaries::root().join("local-envoy/tls/certificates.sh");
    let output = Command::new(script).arg(folder).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// `local-envoy/tls/cluster.yaml` with the certificates of `folder`.
fn cluster(folder: &Path) -> Value {
    let shipped = std::fs::read_to_string(binaries::root().join("local-envoy/tls/cluster.yaml")).unwrap();
    let here = shipped.replace("target/tls/", &format!("{}/", folder.display()));
    assert_ne!(here, shipped, "it must name target/tls");
    serde_norway::from_str(&here).unwrap()
}
