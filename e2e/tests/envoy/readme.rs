//! The snippets of docs/standalone.md and docs/configuration.md, copied into an Envoy that asks for a password first: they work, and a client that is not let in
//! wakes nothing.

use std::process::Command;
use std::time::Duration;

use harness::{Stack, Target, binaries, holds_for};
use serde_json::{Value, json};

const HTTP_FILTERS: &str =
    "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";
/// User and password are `test`.
const PASSWORD: &str = "Basic dGVzdDp0ZXN0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_not_let_in_wakes_nothing() {
    let stack = own_envoy(None).await;

    let reply = stack.client("web").get("/hello").send().await;

    assert_eq!(reply.status, 401, "authentication must come first: {reply:?}");
    holds_for("nothing wakes", Duration::from_secs(1), || async {
        stack.control.state("web").await == "asleep"
    })
    .await;
    let reply = stack
        .client("web")
        .get("/hello")
        .header("authorization", PASSWORD)
        .send()
        .await;
    assert_eq!(
        (reply.status, reply.held().is_some()),
        (200, true),
        "a client that is let in must wake it: {reply:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plugins_reference_can_be_used_as_it_stands() {
    let stack = own_envoy(Some(snippet("json", "{"))).await;

    let reply = stack
        .client("web")
        .get("/hello")
        .header("authorization", PASSWORD)
        .send()
        .await;

    assert_eq!((reply.status, reply.held().is_some()), (200, true), "{reply:?}");
}

#[test]
fn the_targets_reference_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("targets.yaml");
    std::fs::write(&file, snippet("yaml", "# targets.yaml")).unwrap();
    let out = Command::new(binaries::control_plane())
        .arg("validate")
        .arg(file)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn every_option_of_the_control_plane_is_listed_with_its_default() {
    let out = Command::new(binaries::control_plane())
        .args(["serve", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(out.stdout).unwrap();
    let text = configuration();
    let options: Vec<&str> = help.split("\n      --").skip(1).collect();
    assert!(options.len() > 5, "must have found the options: {help}");
    for option in options {
        let name = option.split([' ', '\n']).next().unwrap();
        let row = text
            .lines()
            .find(|line| line.starts_with('|') && line.contains(&format!("`--{name}`")));
        let row = row.unwrap_or_else(|| panic!("docs/configuration.md must list --{name}"));
        if let Some((_, rest)) = option.split_once("[default: ") {
            let default = rest.split(']').next().unwrap();
            assert!(
                row.contains(&format!("`{default}`")),
                "--{name}: the default is {default}: {row}"
            );
        }
    }
}

/// The shipped Envoy with the documents' filter, relay, cluster and settings instead of its own.
async fn own_envoy(plugin: Option<String>) -> Stack {
    let wasm = binaries::wasm().display().to_string();
    let yaml = move |name: &str| -> Value {
        let text = snippet("yaml", name).replace("/etc/envoy/holdfast.wasm", &wasm);
        serde_norway::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let mut filter = yaml("# http_filters:")[0].clone();
    if let Some(text) = plugin {
        filter["typed_config"]["config"]["configuration"]["value"] = json!(text);
    }
    let (relay, cluster) = (yaml("# bootstrap_extensions:"), yaml("# clusters:")[0].clone());
    let (listener, settings) = (yaml("# listener:"), yaml("# http_connection_manager:"));
    let router = json!({"name": "envoy.filters.http.router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}});
    let password = json!({"name": "envoy.filters.http.basic_auth", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.basic_auth.v3.BasicAuth",
        "users": {"inline_string": "test:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M="}}});
    Stack::builder()
        .target(Target::http("web"))
        .envoy(move |envoy| {
            let envoy = envoy.env("HOLDFAST_TOKEN", "change-me");
            let envoy = envoy.patch(HTTP_FILTERS, json!([password, filter, router])).patch("/bootstrap_extensions", relay);
            let settings = settings.as_object().unwrap().clone();
            let envoy = settings.into_iter().fold(envoy, |envoy, (name, value)| envoy.hcm(&name, value));
            let fields = listener.as_object().unwrap().clone().into_iter();
            let envoy = fields.fold(envoy, |envoy, (name, value)| {
                envoy.patch(&format!("/static_resources/listeners/0/{name}"), value)
            });
            let port = envoy.control_port();
            let mut cluster = cluster;
            cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
                ["port_value"] = json!(port);
            envoy.patch("/static_resources/clusters/0", cluster)
        })
        .start()
        .await
}

fn configuration() -> String {
    document("docs/configuration.md")
}

fn document(path: &str) -> String {
    std::fs::read_to_string(binaries::root().join(path)).unwrap()
}

/// The fenced block of that language which begins with `start`.
fn snippet(language: &str, start: &str) -> String {
    let text = document("docs/standalone.md") + &configuration();
    let fence = format!("```{language}\n");
    let mut blocks = text
        .split(&fence)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let block = blocks.find(|block| block.starts_with(start));
    block
        .unwrap_or_else(|| panic!("no document has a block in {language} that begins with {start}"))
        .to_owned()
}
