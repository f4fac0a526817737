//! The demo as the README tells it, run for real: base, token, workloads, the plain Envoy's own file, the scripts, and the removal. Other
//! than in a cluster are: addresses, which Envoy has from a file instead of DNS; and times, so that a reader does not wait for long.

use std::path::Path;
use std::time::Duration;

use e2e::kube::{Cluster, Eds, Follow, Kubelet};
use harness::{Client, Process, binaries, eventually, free_port, grpc};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde_json::{Value, json};

use super::accepted::for_this_server;
use super::kubectl::{self, said};
use super::tree::{self, BASE, DEMO, Object};

const WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_goes_as_the_readme_says() {
    let Some(kubectl) = kubectl::find_or_skip() else {
        return;
    };
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    apply(&cluster, BASE, shorter_lease).await;
    apply(&cluster, "overlays/envoy", |object| {
        // The Pod of an Envoy needs a container engine.
        (object.kind() != "Deployment").then_some(object)
    })
    .await;
    let _kubelet = Kubelet::start(&cluster).await;
    let kubeconfig = cluster.admin_kubeconfig();
    said(&mut kubectl::script(&kubectl, &kubeconfig, "token.sh", &[]));
    apply(&cluster, DEMO, shorter_idle).await;

    let eds = Eds::start(&cluster, Duration::ZERO, follows()).await;
    let ports = [free_port(), free_port(), free_port()];
    let [traffic, admin, observe] = ports;
    let config = cluster.dir().join("envoy.json");
    std::fs::write(&config, here(&eds, ports).to_string()).unwrap();
    let token = token(&cluster).await;
    let _envoy = start(&config, &token);
    eventually("Envoy is ready", WITHIN, || async {
        asks(observe, "/ready").await == Some(200)
    })
    .await;
    eventually("the filter knows its targets", WITHIN, || async {
        let stats = Client::new(observe, "envoy")
            .get("/stats/prometheus")
            .send()
            .await;
        stats
            .text()
            .lines()
            .any(|line| line.starts_with("holdfast_targets{") && line.ends_with(" 2"))
    })
    .await;

    let script = |path: &'static str, args: &[&str]| {
        let mut script = kubectl::script(&kubectl, &kubeconfig, path, args);
        script
            .env("ADDRESS", format!("127.0.0.1:{traffic}"))
            .env("TIMEOUT", "30s");
        let done = tokio::task::spawn_blocking(move || said(&mut script));
        async { done.await.unwrap() }
    };
    assert_eq!(
        script("demo/gateway.sh", &[]).await,
        "holdfast-gateway holdfast-envoy\n"
    );
    let words = script("demo/run.sh", &[]).await;
    let lines: Vec<_> = words.lines().collect();
    let asleep = " web: Asleep, replicas 0";
    let slept = lines
        .iter()
        .position(|line| line.ends_with(asleep))
        .expect(&words);
    assert!(
        lines[0].starts_with("200 in ") && lines[0].ends_with(": hello from web"),
        "must be answered: {words}"
    );
    let (woken, awake) = (lines[slept + 1], lines[slept + 2]);
    assert!(
        woken.starts_with("200 in ") && woken.contains(", held "),
        "must have been held: {words}"
    );
    // It may wait for the confirm of a worker that has not asked yet.
    let quick = awake.contains(", not held: ") || awake.starts_with("200 in 0.0");
    assert!(quick && awake.ends_with(": hello from web"), "must pass: {words}");
    assert!(
        lines[slept + 3..]
            .iter()
            .any(|line| line.contains("scaletarget/web")),
        "must show events: {words}"
    );

    for _ in 0..2 {
        let mut echo = grpc::echo(traffic, "echo.example.com");
        let answer = echo
            .unary(grpc::say("hello"))
            .await
            .expect("gRPC must be woken and answered");
        assert_eq!(answer.get_ref().message, "hello");
        script("demo/watch.sh", &["echo"]).await;
    }

    script("demo/watch.sh", &["web"]).await;
    let words = script("uninstall.sh", &[]).await;
    let deployments = Api::<Deployment>::namespaced(cluster.admin(), "holdfast-demo");
    for name in ["web", "echo"] {
        let status = deployments.get(name).await.unwrap().status.unwrap();
        assert_eq!(status.ready_replicas, Some(1), "{name} must be awake: {words}");
    }
    let call = script("demo/call.sh", &[]).await;
    assert!(call.starts_with("200 in "), "the gateway must go on: {call}");

    assert_eq!(
        asks(observe, "/config_dump").await,
        Some(404),
        "the admin port must not show"
    );
    let dump = Client::new(admin, "admin").get("/config_dump").send().await;
    assert!(!dump.text().contains(&token), "must not show the token");
}

async fn apply(cluster: &Cluster, folder: &str, change: impl Fn(Object) -> Option<Object>) {
    for object in tree::render(folder).into_iter().filter_map(change) {
        cluster.apply(&for_this_server(&object).0.to_string()).await;
    }
}

/// No target is put to sleep in the first two leases.
fn shorter_lease(mut object: Object) -> Option<Object> {
    if let Some(args) = object.0.pointer_mut("/spec/template/spec/containers/0/args") {
        args.as_array_mut().unwrap().push("--lease-duration=1s".into());
    }
    Some(object)
}

fn shorter_idle(mut object: Object) -> Option<Object> {
    if object.kind() == "ScaleTarget" {
        object.0["spec"]["idle"] = json!({"after": "2s"});
    }
    Some(object)
}

fn follows() -> Vec<Follow> {
    vec![
        Follow::new("holdfast", "holdfast-system", "holdfast-control-plane"),
        Follow::new("web", "holdfast-demo", "web"),
        Follow::new("echo", "holdfast-demo", "echo"),
    ]
}

/// The overlay's file with other addresses: traffic, admin and observe ports, and endpoints from files.
fn here(eds: &Eds, [traffic, admin, observe]: [u16; 3]) -> Value {
    let shipped = tree::read("overlays/envoy/envoy.yaml");
    let text = shipped.replace("/holdfast/plugin.wasm", binaries::wasm().to_str().unwrap());
    let mut envoy: Value = serde_norway::from_str(&text).unwrap();
    let set = |address: &mut Value, port: u16| {
        address["address"]["socket_address"] = json!({"address": "127.0.0.1", "port_value": port});
    };
    set(&mut envoy["admin"], admin);
    for (listener, port) in envoy["static_resources"]["listeners"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .zip([traffic, observe])
    {
        set(listener, port);
    }
    for cluster in envoy["static_resources"]["clusters"].as_array_mut().unwrap() {
        let name = cluster["name"].as_str().unwrap().to_owned();
        if name == "admin" {
            set(
                &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"],
                admin,
            );
            continue;
        }
        cluster.as_object_mut().unwrap().remove("load_assignment");
        cluster["type"] = "EDS".into();
        cluster["eds_cluster_config"] = json!({"eds_config": {
            "resource_api_version": "V3",
            "path_config_source": {"path": eds.path(&name)},
        }});
    }
    envoy
}

fn start(config: &Path, token: &str) -> Process {
    let args = [
        "--disable-hot-restart",
        "--concurrency",
        "2",
        "--service-node",
        "envoy-1",
        "--service-cluster",
        "e2e",
    ];
    let mut args: Vec<_> = args.map(str::to_owned).into();
    args.extend(["--config-path".to_owned(), config.display().to_string()]);
    let env = [("HOLDFAST_TOKEN".to_owned(), token.to_owned())];
    Process::start(
        "envoy",
        &binaries::envoy(),
        &args,
        &env,
        &config.with_extension("log"),
    )
}

async fn asks(port: u16, path: &str) -> Option<u16> {
    let reply = Client::new(port, "envoy").get(path).try_send().await;
    reply.ok().map(|reply| reply.status)
}

/// As the gateway's Pod would get it.
async fn token(cluster: &Cluster) -> String {
    let secrets = Api::<Secret>::namespaced(cluster.admin(), "holdfast-gateway");
    let secret = secrets.get("holdfast-token").await.unwrap();
    String::from_utf8(secret.data.unwrap()["token"].0.clone()).unwrap()
}
