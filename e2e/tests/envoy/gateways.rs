//! Envoy in the shapes that Istio and Envoy Gateway give it, read in their sources: what of them the filter has to live with.

use std::time::Duration;

use harness::{EnvoyBuilder, Stack, Target, eventually};
use serde_json::json;

const TOKEN: &str = "sEcReT-of-the-tests";
const FILTER: &str = "http_filters/0";
const ROUTE: &str = "route_config/virtual_hosts/0/routes/0";

/// Envoy Gateway: no singleton, a `vm_id` of its own, the filter off by default and on by route, the router told to keep
/// Envoy's own headers to itself, which the filter reads in answers to its calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_filter_works_as_envoy_gateway_runs_it() {
    check(|envoy| {
        let on = json!({"holdfast": {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}});
        envoy
            .hcm(&format!("{FILTER}/disabled"), true)
            .hcm(
                &format!("{FILTER}/typed_config/config/vm_config/vm_id"),
                "envoyextensionpolicy/holdfast-gateway/holdfast/wasm/0",
            )
            .hcm(&format!("{ROUTE}/typed_per_filter_config"), on)
            .hcm("http_filters/1/typed_config/suppress_envoy_headers", true)
    })
    .await;
}

/// Istio: no singleton, no `vm_id`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_filter_works_as_istio_runs_it() {
    check(|envoy| envoy.hcm(&format!("{FILTER}/typed_config/config/vm_config/vm_id"), "")).await;
}

/// Why the overlay for Envoy Gateway sets `routingType: Service`: else a Service without endpoints gets such a route.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_envoy_answers_by_itself_wakes_nothing() {
    let stack = Stack::builder()
        .target(Target::http("web"))
        .envoy(|envoy| {
            let route = json!({"match": {"prefix": "/"}, "direct_response": {"status": 503}});
            envoy.hcm(ROUTE, route)
        })
        .start()
        .await;
    let reply = stack.client("web").get("/hello").send().await;
    assert_eq!(reply.status, 503, "must be Envoy's own answer: {reply:?}");
    assert!(reply.held().is_none(), "must not be held");
    assert_eq!(stack.control.state("web").await, "asleep", "must not be woken");
}

/// A target sleeps, is woken, sleeps and is woken; the token reaches the filter and stands nowhere.
async fn check(shape: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder + Send + 'static) {
    let stack = Stack::builder()
        .target(Target::http("web").idle("500ms"))
        .control(|control| control.args(["--token", TOKEN, "--lease-duration", "100ms"]))
        .envoy(|envoy| {
            let envoy = envoy
                .singleton(false)
                .env("HOLDFAST_TOKEN", TOKEN)
                .setting("control_plane.token_env", "HOLDFAST_TOKEN");
            shape(envoy)
        })
        .start()
        .await;
    for _ in 0..2 {
        eventually("web is asleep", Duration::from_secs(20), || async {
            let target = stack.control.client().get("/v1/targets/default/web");
            let bearer = format!("Bearer {TOKEN}");
            let target = target.header("authorization", bearer).send().await.json();
            (target["state"] == "asleep").then_some(())
        })
        .await;
        let reply = stack.client("web").get("/hello").send().await;
        assert_eq!(reply.status, 200, "must be woken and answered: {reply:?}");
        assert!(reply.held().is_some(), "must have been held: {reply:?}");
    }
    let dump = stack.envoy.config_dump().await;
    assert!(dump.contains("HOLDFAST_TOKEN"), "must name the variable");
    assert!(!dump.contains(TOKEN), "must not show the token");
}
