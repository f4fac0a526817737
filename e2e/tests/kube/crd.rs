//! The `ScaleTarget` as a real API server takes it: what it refuses, what it fills in, what it prints, and what the
//! control plane writes into its status.

use std::time::Duration;

use e2e::kube::{Cluster, KubeStack, Workload};
use harness::{binaries, eventually, holds_for};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_refuses_what_is_wrong_and_names_the_field() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    cluster.apply(&definition()).await;
    let table = table();

    let mut wrong = Vec::new();
    for spec in entries(&table, "taken").chain(entries(&table, "refused_by_the_parser")) {
        let spec = spec.get("spec").unwrap_or(spec);
        if let Err(error) = dry_run(&cluster, spec).await {
            wrong.push(format!("must take {spec}: {error}"));
        }
    }
    for row in entries(&table, "refused").chain(entries(&table, "refused_in_a_cluster")) {
        let field = row["field"].as_str().unwrap();
        match dry_run(&cluster, &row["spec"]).await {
            Ok(_) => wrong.push(format!("must refuse {field}: {}", row["spec"])),
            Err(error) if !error.contains(field) => wrong.push(format!("must name {field}: {error}")),
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    fills_in_the_defaults(&cluster).await;
    serves_columns_for_people(&cluster).await;
    keeps_status_and_spec_apart(&cluster).await;
}

async fn fills_in_the_defaults(cluster: &Cluster) {
    let target = dry_run(cluster, &json!({})).await.unwrap();
    let spec = &target["spec"];
    assert_eq!(spec["idle"], json!({"after": "5m"}));
    assert_eq!(spec["replicas"], json!({"wake": 1}));
    assert_eq!(
        spec["hold"],
        json!({
            "timeout": "1m", "maxRequests": 1000, "maxBytes": "256Mi", "unknownBody": "1Mi",
            "onControlPlaneLoss": "hold",
        })
    );
    assert_eq!(spec["release"], json!({"concurrencyPerEndpoint": 100}));
    assert_eq!(
        spec["confirm"],
        json!({
            "enabled": true, "grpc": false, "path": "/", "timeout": "1s", "giveUp": "5s", "settle": "2s",
        })
    );
    assert_eq!(spec["match"], json!({"hosts": [], "clusters": []}));
    assert_eq!(spec["ignore"], json!({"paths": [], "userAgents": []}));
    assert_eq!(spec["suspend"], json!(false));
    let half = dry_run(cluster, &json!({"hold": {"timeout": "2s"}}))
        .await
        .unwrap();
    assert_eq!(
        half["spec"]["hold"]["maxRequests"], 1000,
        "what is left out of an object must be filled in too"
    );
}

async fn serves_columns_for_people(cluster: &Cluster) {
    let definitions = Api::<CustomResourceDefinition>::all(cluster.admin());
    let names = definitions
        .get("scaletargets.holdfast.dev")
        .await
        .unwrap()
        .spec
        .names;
    assert_eq!(names.short_names.unwrap(), ["stgt"]);
    assert_eq!(names.categories.unwrap(), ["holdfast"]);
    let columns = columns(cluster, "default").await;
    let shown = |priority: i64| -> Vec<&str> {
        let of_it = columns.iter().filter(|column| column["priority"] == priority);
        of_it.map(|column| column["name"].as_str().unwrap()).collect()
    };
    assert_eq!(
        shown(0),
        ["Name", "State", "Replicas", "Ready", "Last Wake", "Age"]
    );
    assert_eq!(shown(1), ["Took", "Reason"], "only with -o wide");
}

async fn keeps_status_and_spec_apart(cluster: &Cluster) {
    let api = targets(cluster);
    let mut target = mk_target(&json!({}));
    target.data["status"] = json!({"state": "Ready"});
    let target = api.create(&PostParams::default(), &target).await.unwrap();
    assert!(
        target.data["status"].is_null(),
        "who writes the spec must not write the status: {target:?}"
    );
    let patch = json!({"spec": {"suspend": true}, "status": {"state": "Asleep"}});
    let params = PatchParams::default();
    let target = api
        .patch_status("web", &params, &Patch::Merge(patch))
        .await
        .unwrap();
    assert_eq!(
        target.data["spec"]["suspend"],
        json!(false),
        "nor the other way round"
    );
    assert_eq!(
        target.metadata.generation,
        Some(1),
        "a status must not count as a change"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_says_what_goes_on_and_costs_nothing_while_nothing_does() {
    let workload = Workload::http("web").idle("1s");
    let Some(stack) = KubeStack::builder().workload(workload).start().await else {
        return;
    };

    shows(&stack, "it sleeps", |status| status["state"] == "Asleep").await;
    let reply = stack.client("web").get("/").send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let woken = shows(&stack, "it was woken", |status| status["state"] == "Ready").await;
    let wake = &woken["lastWake"];
    assert!(
        wake["by"].as_str().unwrap().starts_with("proxy "),
        "must say by whom: {wake}"
    );
    assert!(
        wake["duration"].as_str().unwrap().ends_with('s'),
        "must say how fast: {wake}"
    );
    let ready = condition(&woken, "Ready").unwrap();
    assert_eq!(
        (&ready["status"], &ready["reason"]),
        (&json!("True"), &json!("Ready"))
    );
    assert_eq!(woken["hosts"][0], "web", "must list what it is found by: {woken}");

    let asleep = shows(&stack, "it sleeps again", |status| status["state"] == "Asleep").await;
    let again = condition(&asleep, "Ready").unwrap();
    assert_eq!(
        (&again["status"], &again["reason"]),
        (&json!("False"), &json!("Asleep"))
    );
    assert_eq!(asleep["lastWake"], *wake, "the last wake must stay");
    shows(&stack, "the numbers follow", |status| {
        status["replicas"] == 0 && status["readyEndpoints"] == 0
    })
    .await;

    assert!(
        asleep["held"].is_null(),
        "what is held must be asked of the API: {asleep}"
    );

    names_an_unusable_spec(&stack).await;
    puts_right_what_somebody_else_writes(&stack).await;
    writes_nothing_while_nothing_changes(&stack).await;
}

async fn names_an_unusable_spec(stack: &KubeStack) {
    let api = targets(&stack.cluster);
    let patch = |confirm: Value| Patch::Merge(json!({"spec": {"confirm": confirm}}));
    let params = PatchParams::default();
    let wrong = patch(json!({"enabled": false, "path": "/up"}));
    api.patch("web", &params, &wrong).await.unwrap();
    let status = shows(stack, "it is invalid", |status| {
        condition(status, "Invalid").is_some()
    })
    .await;
    let message = condition(&status, "Invalid").unwrap()["message"]
        .as_str()
        .unwrap();
    assert!(
        message.starts_with("spec.confirm: "),
        "must name the field: {message}"
    );
    assert_eq!(
        status["state"], "Asleep",
        "what was wanted before must go on: {status}"
    );
    assert_eq!(
        status["observedGeneration"], 2,
        "must be about this spec: {status}"
    );

    api.patch("web", &params, &patch(json!({"enabled": true, "path": "/"})))
        .await
        .unwrap();
    shows(stack, "it is valid again", |status| {
        condition(status, "Invalid").is_none()
    })
    .await;
}

async fn puts_right_what_somebody_else_writes(stack: &KubeStack) {
    let patch = Patch::Merge(json!({"status": {"state": "Ready", "replicas": 7}}));
    targets(&stack.cluster)
        .patch_status("web", &PatchParams::default(), &patch)
        .await
        .unwrap();
    shows(stack, "it is put right", |status| {
        status["state"] == "Asleep" && status["replicas"] == 0
    })
    .await;
}

async fn writes_nothing_while_nothing_changes(stack: &KubeStack) {
    let version = || async { stack.scale_target("web").await["metadata"]["resourceVersion"].clone() };
    let leader = stack.leader().await;
    eventually("the status is settled", WITHIN, || async {
        leader.metric("holdfast_status_writes_waiting", &[]).await == 0.0
    })
    .await;
    let (before, written) = (
        version().await,
        leader.metric("holdfast_status_writes_total", &[]).await,
    );
    let mut audit = stack.cluster.audit();
    let known = audit.requests.len();

    // Longer than anything waits to be written.
    holds_for("the object stays as it is", Duration::from_secs(11), || async {
        version().await == before
    })
    .await;

    assert_eq!(
        leader.metric("holdfast_status_writes_total", &[]).await,
        written,
        "no write must have been tried"
    );
    audit.read();
    let asked: Vec<_> = audit.requests[known..]
        .iter()
        .filter(|request| request.user_agent.starts_with("holdfast-control-plane/"))
        .filter(|request| request.resource != "leases" && request.verb != "watch")
        .map(|request| (&request.verb, request.what()))
        .collect();
    assert!(asked.is_empty(), "nothing must have been asked: {asked:?}");
}

/// Waits until the status is as wanted, and returns it.
async fn shows(stack: &KubeStack, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(what, WITHIN, || async {
        let status = stack.scale_target("web").await["status"].clone();
        wanted(&status).then_some(status)
    })
    .await
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}

async fn columns(cluster: &Cluster, namespace: &str) -> Vec<Value> {
    let request = http::Request::get(format!(
        "/apis/holdfast.dev/v1alpha1/namespaces/{namespace}/scaletargets"
    ))
    .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
    .body(Vec::new())
    .unwrap();
    let table: Value = cluster.admin().request(request).await.unwrap();
    table["columnDefinitions"].as_array().unwrap().clone()
}

/// What the API server makes of a good spec with `overlay` over it, or its words.
async fn dry_run(cluster: &Cluster, overlay: &Value) -> Result<Value, String> {
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let made = targets(cluster).create(&params, &mk_target(overlay)).await;
    made.map(|target| target.data).map_err(|error| error.to_string())
}

fn targets(cluster: &Cluster) -> Api<DynamicObject> {
    Api::namespaced_with(cluster.admin(), "default", &resource())
}

fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("holdfast.dev", "v1alpha1", "ScaleTarget"))
}

fn mk_target(overlay: &Value) -> DynamicObject {
    let mut spec = json!({
        "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "service": {"name": "web"},
    });
    json_patch::merge(&mut spec, overlay);
    DynamicObject::new("web", &resource()).data(json!({"spec": spec}))
}

fn definition() -> String {
    read("kubernetes/base/crd.yaml")
}

/// The same table that the schema and the parser are tested with.
fn table() -> Value {
    serde_norway::from_str(&read("crates/cluster/src/crd/table.yaml")).unwrap()
}

fn entries<'a>(table: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    table[name].as_array().unwrap().iter()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(binaries::root().join(path)).unwrap()
}
