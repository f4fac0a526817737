//! An Envoy that no control plane hears of while another takes over.

use std::time::Duration;

use e2e::kube::{NAMESPACE, Workload};
use harness::{Cutter, WebSocket, eventually, holds_for};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use super::replicas::{Ha, WITHIN, two_replicas};

/// Longer than `idle.after`, than the two leases that a new leader waits, and than the time after which a proxy is silent.
const LONG: Duration = Duration::from_secs(5);

/// The network between the two is cut without a word. The Envoy goes on passing requests to what was ready, by design.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_sleeps_under_an_envoy_that_is_cut_off_over_a_takeover() {
    let builder = two_replicas("1s")
        .workload(Workload::http("web").idle("500ms"))
        .control(|control| control.args(["--proxy-forget-after", "10m"]));
    let Some(ha) = Ha::start(builder).await else {
        return;
    };
    let (old, next) = ha.pair().await;
    let way = Cutter::before(ha.control(old).port()).await;
    let other = ha
        .stack
        .another_envoy(way.port(), |envoy| envoy.node("envoy-2"))
        .await;
    let authority = ha.stack.workload("web").authority();
    let mut socket = WebSocket::open(other.port(), &authority, "/ws").await.unwrap();
    assert_eq!(socket.echo("before").await.unwrap(), "before");
    let known = Api::<ConfigMap>::namespaced(ha.stack.cluster.admin(), NAMESPACE);
    eventually("the leader has written both down", WITHIN, || async {
        let written = known.get_opt("holdfast-control-plane-proxies").await.unwrap();
        let text = written.and_then(|map| map.data).unwrap_or_default();
        let text = text.get("proxies").cloned().unwrap_or_default();
        text.contains("envoy-1") && text.contains("envoy-2")
    })
    .await;

    way.drop_everything();
    ha.control(old).kill();
    ha.leads(next).await;

    let reply = ha.stack.client("web").get("/hello").send().await;
    assert_eq!(
        reply.status, 200,
        "the one that the new leader hears of must use it: {reply:?}"
    );
    holds_for("it is not scaled down", LONG, || async {
        ha.replicas_set("web") == [0, 1]
    })
    .await;
    assert_eq!(socket.echo("still there").await.unwrap(), "still there");
    let reply = other.client(&authority).get("/hello").send().await;
    assert_eq!(reply.status, 200, "the silent one must pass: {reply:?}");

    way.lead_to(ha.control(next).port());
    way.pass();
    eventually("the new leader hears of both", WITHIN, || async {
        ha.control(next).metric("holdfast_open_polls", &[]).await >= 2.0
    })
    .await;
    holds_for("it is not scaled down under the stream", LONG / 2, || async {
        ha.replicas_set("web") == [0, 1]
    })
    .await;
    socket.close().await.unwrap();
    ha.control(next).wait_for("web", "asleep").await;
}
