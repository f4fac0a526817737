//! A silent crowd at the control plane, larger than all connections it takes: a real Envoy goes on, and another joins.

use std::net::SocketAddr;
use std::time::Duration;

use harness::{Stack, Target, eventually};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpSocket, TcpStream};

const TOKEN: &str = "0123456789abcdef";
/// More than the control plane's known callers and strangers together.
const CROWD: usize = 5_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoys_sync_and_wake_through_thousands_of_silent_connections() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let crowd = usize::try_from(hard).unwrap().saturating_sub(500).min(CROWD);
    assert!(
        crowd > 3_000,
        "this machine must let a process open so many: {hard}"
    );
    let with_token = |envoy: harness::EnvoyBuilder| {
        envoy
            .setting("control_plane.token_env", "HOLDFAST_TOKEN")
            .env("HOLDFAST_TOKEN", TOKEN)
    };
    let stack = Stack::builder()
        .target(Target::http("web"))
        .control(|control| control.args(["--token", TOKEN]))
        .envoy(with_token)
        .start()
        .await;
    let address = SocketAddr::from(([127, 0, 0, 1], stack.control.port()));

    let mut silent = Vec::with_capacity(crowd);
    for n in 0..crowd {
        // Half of it from Envoy's own address.
        silent.push(connect(n, address).await);
    }

    let reply = stack.client("web").get("/hello").send().await;
    assert_eq!(reply.status, 200, "must be woken: {reply:?}");
    let _second = stack
        .another_envoy(|envoy| with_token(envoy.node("envoy-2")))
        .await;
    let syncs = stack.control.metric("holdfast_syncs_total", &[]).await;
    eventually("the polls go on", Duration::from_secs(30), || async {
        stack.control.metric("holdfast_syncs_total", &[]).await > syncs || stack.open_polls().await >= 2
    })
    .await;
    let hit = stack
        .control
        .metric("holdfast_bounds_hit_total", &["connections"])
        .await;
    assert!(hit >= 1_000.0, "the crowd must have made way: {hit}");
    assert_eq!(silent.len(), crowd, "the crowd stays to the end");
}

/// All of 127.0.0.0/8 is this machine.
async fn connect(n: usize, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let last = if n.is_multiple_of(2) {
        1
    } else {
        2 + u8::try_from(n / 2 % 200).unwrap()
    };
    socket.bind(([127, 0, 0, last], 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}
