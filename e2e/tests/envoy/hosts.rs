//! Which spellings of a host are the same to Envoy, and to Holdfast: one table, `crates/protocol/tests/hosts.json`, for both.

use harness::{ControlBuilder, EnvoyBuilder, Reply, Stack, Target};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_finds_the_virtual_host_that_the_table_says() {
    let spellings = spellings();
    let answer = |text: &str| json!([{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": text}}}]);
    let host = |name: &str, domain: &str| json!({"name": name, "domains": [domain], "routes": answer(name)});
    let mut virtual_hosts: Vec<Value> = keys(&spellings).iter().map(|key| host(key, key)).collect();
    virtual_hosts.push(host("none", "*"));
    let dir = tempfile::tempdir().unwrap();
    // Of no host of the table.
    let other = Target::http("other").document().to_string();
    let control = ControlBuilder::new().start(dir.path(), &other).await;
    let envoy = EnvoyBuilder::new(control.port(), &[])
        .hcm("route_config.virtual_hosts", virtual_hosts)
        .hcm("strip_any_host_port", true)
        .hcm("strip_trailing_host_dot", true)
        .start(dir.path())
        .await;

    check(&spellings, async |authority| {
        let reply = envoy.client(authority).get("/").send().await;
        assert_eq!(reply.status, 200, "{authority}: {reply:?}");
        Some(reply.text().to_owned()).filter(|found| found != "none")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holdfast_holds_for_the_target_that_the_table_says() {
    let spellings = spellings();
    let mut builder = Stack::builder();
    for (n, key) in keys(&spellings).iter().enumerate() {
        let target = Target::http(&format!("t{n}"))
            .spec("match", json!({"hosts": [key]}))
            .spec("hold.timeout", "20ms")
            .upstream(["--start-delay", "60s"]);
        builder = builder.target(target);
    }
    // Whatever the host, Envoy routes it alike: to a cluster that is no target's.
    let stack = builder
        .target(Target::http("any").spec("match", json!({"clusters": ["another"]})))
        .envoy(|envoy| {
            envoy.hcm(
                "route_config.virtual_hosts",
                json!([{"name": "any", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "any"}}]}]),
            )
        })
        .start()
        .await;
    let keys = keys(&spellings);

    check(&spellings, async |authority| {
        let reply = stack.envoy.client(authority).get("/").send().await;
        held_for(&reply).map(|target| {
            let n: usize = target.strip_prefix("default/t").unwrap().parse().unwrap();
            keys[n].clone()
        })
    })
    .await;
}

/// The target by whose deadline the request was refused; `None` if it was not held.
fn held_for(reply: &Reply) -> Option<String> {
    match reply.status {
        504 => reply.problem().target,
        // No server listens behind that cluster, and Envoy says so itself.
        503 if reply.header("content-type") == Some("text/plain") => None,
        _ => panic!("must be held or passed: {reply:?}"),
    }
}

/// Asks for every row, and says all that differ at once.
async fn check(spellings: &Value, find: impl AsyncFn(&str) -> Option<String>) {
    let mut wrong = Vec::new();
    for row in spellings["hosts"].as_array().unwrap() {
        let (authority, key) = (row[0].as_str().unwrap(), row[1].as_str());
        let found = find(authority).await;
        if found.as_deref() != key {
            wrong.push(format!("{authority}: {found:?} and not {key:?}"));
        }
    }
    assert!(wrong.is_empty(), "\n  {}", wrong.join("\n  "));
}

fn spellings() -> Value {
    serde_json::from_str(include_str!("../../../crates/protocol/tests/hosts.json")).unwrap()
}

fn keys(spellings: &Value) -> Vec<String> {
    let keys = spellings["keys"].as_array().unwrap();
    keys.iter().map(|key| key.as_str().unwrap().to_owned()).collect()
}
