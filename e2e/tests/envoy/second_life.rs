//! A control plane's second life: it waits for the proxies that the first one knew, whether it hears of them or not.

use std::path::PathBuf;
use std::time::Duration;

use harness::{EnvoyBuilder, Stack, Target, WebSocket, eventually, free_port, holds_for};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const SECOND: Duration = Duration::from_secs(1);

/// As when its token was changed, or the network between the two is cut: nothing tells the new control plane of it, and it
/// goes on passing requests to what was ready, by design.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_put_to_sleep_under_an_envoy_that_the_new_control_plane_never_heard_of() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut stack = mk_stack(state.clone()).await;
    let port = free_port();
    let way = open_way(port, stack.control.port()).await;
    let other = EnvoyBuilder::new(port, &stack.targets).node("envoy-2");
    let other = other.start(stack.dir.path()).await;
    stack.synced(2).await;
    // What it uses keeps it up, until the control plane that started it is killed.
    let mut before = WebSocket::open(other.port(), "web.example.com", "/ws")
        .await
        .unwrap();
    assert_eq!(before.echo("before").await.unwrap(), "before");
    eventually("both are written down", SECOND * 10, || async {
        let kept = std::fs::read_to_string(&state).unwrap_or_default();
        kept.contains("envoy-1") && kept.contains("envoy-2")
    })
    .await;

    drop(way);
    stack.control.restart().await;

    let reply = stack.client("web").get("/hello").send().await;
    assert_eq!(
        reply.status, 200,
        "the one that came back must wake it: {reply:?}"
    );
    let mut socket = WebSocket::open(other.port(), "web.example.com", "/ws")
        .await
        .unwrap();
    let stopped = || stack.control.events().count("stopping");
    let before = stopped();
    // Longer than what makes it sleepy, than two leases, and than the time after which a proxy counts as silent.
    holds_for("its workload is not stopped", SECOND * 4, || async {
        stopped() == before
    })
    .await;
    assert_eq!(socket.echo("still there").await.unwrap(), "still there");

    let _way = open_way(port, stack.control.port()).await;
    drop(socket);
    stack.control.wait_for("web", "asleep").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_cannot_be_read_counts_as_a_proxy_that_is_not_known() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::write(&state, "{\"format\":1,\"proxies\":[[\"envoy-7\",").unwrap();
    let stack = mk_stack(state.clone()).await;
    let warned = stack.control.log();
    assert!(
        warned.contains("proxies_not_recalled"),
        "must be warned of: {warned}"
    );
    assert_eq!(stack.client("web").get("/hello").send().await.status, 200);

    holds_for("its workload is not stopped", SECOND * 4, || async {
        stack.control.events().count("stopping") == 0
    })
    .await;

    let others = stack.control.metric("holdfast_proxies", &["evicted"]).await;
    assert!((0.5..1.5).contains(&others), "must be counted: {others}");
    let kept = std::fs::read_to_string(&state).unwrap();
    assert!(
        kept.contains("envoy-1") && kept.contains("\"others\":1"),
        "must be passed on: {kept}"
    );
}

/// One target that may sleep after 300 ms, and no proxy is forgotten within the test.
async fn mk_stack(state: PathBuf) -> Stack {
    let web = Target::http("web").idle("300ms");
    let control = move |control: harness::ControlBuilder| {
        control
            .args(["--log-format", "json", "--heartbeat", "300ms"])
            .args(["--lease-duration", "100ms", "--proxy-forget-after", "10m"])
            .args(["--state-file", state.to_str().unwrap()])
    };
    Stack::builder().target(web).control(control).start().await
}

/// Passes connections on to the control plane until it is dropped, which cuts them.
async fn open_way(port: u16, control_port: u16) -> JoinSet<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let mut way = JoinSet::new();
    way.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut one, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut other = TcpStream::connect(("127.0.0.1", control_port)).await?;
                tokio::io::copy_bidirectional(&mut one, &mut other).await
            });
        }
    });
    way
}
