//! What the parser of targets files takes, and how it words what it refuses.

mod forms;
mod process;
mod target;

use super::file::{Needs, TargetsFile};
use super::target::{Probe, ScaleTarget, Workload};

const HEAD: &str = "apiVersion: holdfast.dev/v1alpha1\nkind: ScaleTarget\n";

#[test]
fn reads_a_whole_document() {
    let target = check_ok(
        "metadata: {name: web, namespace: shop}
spec:
  workload: {process: {command: [web, --port, '80'], env: {A: b}, ready: {http: {port: 8080, path: /up}}, stopGrace: 3s}}
  match: {hosts: [Web.example.com, '*.web.example.com'], clusters: [web]}
  replicas: {wake: 1}
  idle: {after: 5m}
  hold: {timeout: 10s, maxRequests: 5, maxBytes: 1Mi, unknownBody: 1Ki, onControlPlaneLoss: refuse}
  release: {concurrencyPerEndpoint: 7}
  confirm: {path: /x, authority: 'web.internal:8443', timeout: 2s, giveUp: 3s}
  ignore: {paths: [/healthz], userAgents: [kube-probe]}
  suspend: true",
    );
    assert_eq!(
        target.id.as_str(),
        "shop/web",
        "must be named by namespace and name"
    );
    assert_eq!(target.hold.max_bytes, 1 << 20, "must read sizes");
    assert_eq!(target.keys.hosts.len(), 2, "must keep both hosts");
    assert!(target.suspend, "must be suspended");
    assert_eq!(
        target.confirm,
        protocol::Confirm::Http {
            path: "/x".to_owned(),
            authority: Some("web.internal:8443".to_owned()),
            timeout_ms: 2_000,
            give_up_ms: 3_000
        },
        "must ask as it is told to"
    );
    let Workload::Process(process) = target.workload else {
        panic!("must be a process")
    };
    assert_eq!(
        process.ready,
        Probe::Http("127.0.0.1:8080".parse().unwrap(), "/up".to_owned()),
        "must be local"
    );
    assert_eq!(
        (process.program.as_str(), process.args.len()),
        ("web", 2),
        "must split the command"
    );
}

#[test]
fn fills_in_defaults() {
    let target = check_ok(&minimal("web", "web.example.com"));
    assert_eq!(
        target.id.as_str(),
        "default/web",
        "must be in the default namespace"
    );
    assert_eq!(target.idle_after.as_secs(), 300, "must sleep after five minutes");
    assert_eq!(target.hold.timeout_ms, 60_000, "must hold for a minute");
    assert_eq!(
        target.confirm,
        protocol::Confirm::Http {
            path: "/".to_owned(),
            authority: None,
            timeout_ms: 1_000,
            give_up_ms: 5_000
        },
        "must confirm over HTTP"
    );
}

#[test]
fn reads_each_kind_of_confirm() {
    let with = |confirm: &str| check_ok(&format!("{}\n  confirm: {confirm}", minimal("web", "web"))).confirm;
    let (timeout_ms, give_up_ms) = (1_000, 5_000);
    assert_eq!(
        with("{grpc: true}"),
        protocol::Confirm::Grpc {
            authority: None,
            timeout_ms,
            give_up_ms
        },
        "must ask grpc"
    );
    assert_eq!(
        with("{grpc: true, authority: '[::1]:50051'}"),
        protocol::Confirm::Grpc {
            authority: Some("[::1]:50051".to_owned()),
            timeout_ms,
            give_up_ms
        },
        "must ask grpc under this name"
    );
    assert_eq!(
        with("{enabled: false}"),
        protocol::Confirm::Off { settle_ms: 2_000 },
        "must be off"
    );
    assert_eq!(
        with("{enabled: false, settle: 1s}"),
        protocol::Confirm::Off { settle_ms: 1_000 },
        "must settle"
    );
}

#[test]
fn takes_documents_in_any_order_and_empty_ones() {
    let text = format!(
        "# a comment\n---\n{HEAD}{}\n---\n{HEAD}{}\n---\n",
        minimal("b", "b"),
        minimal("a", "a")
    );
    let ids: Vec<_> = file()
        .parse(&text)
        .unwrap()
        .into_iter()
        .map(|t| t.id.to_string())
        .collect();
    assert_eq!(ids, ["default/a", "default/b"], "must be in order of ids");
}

#[test]
fn names_file_document_field_and_reason() {
    let body = |extra: &str| format!("{}\n  {extra}", minimal("web", "web"));
    check_refused(
        &body("idle: {after: 5 minutes}"),
        "document 1: spec.idle.after: \"5 minutes\" is not a duration",
    );
    check_refused(
        &body("idle: {afterwards: 5m}"),
        "document 1: spec.idle: unknown field `afterwards`",
    );
    check_refused(
        &body("hold: {maxRequests: 0}"),
        "document 1: spec.hold.maxRequests: invalid value",
    );
    check_refused(
        &body("hold: {maxBytes: 64MB}"),
        "document 1: spec.hold.maxBytes: \"64MB\" is not a size",
    );
    check_refused(
        &body("idle: {after: 0s}"),
        "document 1: spec.idle.after: \"0s\" must be longer than zero",
    );
    check_refused(
        &body("replicas: {wake: 2}"),
        "document 1 (default/web): spec.replicas.wake: a process",
    );
    check_refused(
        &body("confirm: {path: x}"),
        "document 1: spec.confirm.path: \"x\" is no path",
    );
    check_refused(
        &body("confirm: {authority: \"web\\nx: y\"}"),
        "document 1: spec.confirm.authority: \"web\\nx: y\" is no authority",
    );
    check_refused(
        &body(&format!("confirm: {{authority: {}}}", "w".repeat(256))),
        "document 1: spec.confirm.authority: is longer than 255 bytes",
    );
    check_refused(
        &body("confirm: {enabled: false, path: /x}"),
        "(default/web): spec.confirm: enabled: false leaves",
    );
    check_refused(
        &body("confirm: {settle: 1s}"),
        "(default/web): spec.confirm.settle: has a meaning only",
    );
    check_refused(
        &body("ignore: {userAgents: ['']}"),
        "spec.ignore.userAgents[0]: an empty prefix",
    );
    check_refused(
        &body("confirm: {grpc: true, path: /x}"),
        "(default/web): spec.confirm.path: has no meaning with grpc: true",
    );
    check_refused(&body("bogus: 1"), "document 1: spec: unknown field `bogus`");
}

#[test]
fn refuses_half_a_workload() {
    let with = |workload: &str| {
        format!("metadata: {{name: w}}\nspec:\n  match: {{hosts: [w]}}\n  workload: {workload}")
    };
    check_refused(
        &with("{kind: Deployment}"),
        "spec.workload: an object needs apiVersion, kind and name",
    );
    check_refused(
        &with("{process: {command: [], ready: {tcp: {port: 1}}}}"),
        "process.command: is empty",
    );
    check_refused(
        &with("{process: {command: [a], ready: {}}}"),
        "process.ready: write exactly one of http, tcp and grpc",
    );
    check_refused(
        &with("{apiVersion: apps/v1, kind: Deployment, name: w}"),
        "spec.workload.process: is missing",
    );
}

#[test]
fn refuses_what_is_nested_too_deep_before_it_is_parsed() {
    check_refused(
        &format!("metadata: {}", "{a: ".repeat(100_000)),
        "is nested more than 64 deep",
    );
}

#[test]
fn takes_as_many_documents_as_may_be() {
    let last = format!("{HEAD}{}", minimal("web", "web"));
    let with = |empty: usize| format!("{}{last}", "---\n".repeat(empty + 1));
    let most = super::file::MAX_DOCUMENTS;
    let targets = file().parse(&with(most - 1)).unwrap();
    assert_eq!(targets.len(), 1, "an empty one counts, and is none");
    assert_eq!(
        file().parse(&with(most)).unwrap_err().what,
        "holds more than 10000 documents",
        "must be bounded"
    );
}

#[test]
fn a_refusal_is_no_longer_than_a_line() {
    let long = "é".repeat(100_000);
    let error = file().parse(&format!("{long}: {long}")).unwrap_err().what;
    assert!(
        error.chars().count() <= 1_000 && error.ends_with("..."),
        "must be cut off: {} characters",
        error.chars().count()
    );
}

#[test]
fn refuses_what_no_request_could_match() {
    check_refused(
        "metadata: {name: w}\nspec: {}",
        "document 1 (default/w): spec.match: names neither",
    );
}

#[test]
fn refuses_a_key_of_two_targets() {
    let text = format!(
        "{HEAD}{}\n---\n{HEAD}{}",
        minimal("a", "same"),
        minimal("b", "same")
    );
    let error = file().parse(&text).unwrap_err().to_string();
    let expected = "targets.yaml: document 2 (default/b): spec.match.hosts: \"same\" already belongs to document 1 (default/a)";
    assert_eq!(error, expected, "must name both documents and the key");
}

#[test]
fn refuses_a_name_twice_and_an_empty_file() {
    let text = format!("{HEAD}{}\n---\n{HEAD}{}", minimal("a", "x"), minimal("a", "y"));
    assert!(
        file()
            .parse(&text)
            .unwrap_err()
            .what
            .contains("document 1 has the same name"),
        "must be refused"
    );
    assert_eq!(
        file().parse("").unwrap_err().what,
        "holds no ScaleTarget document",
        "must be refused"
    );
}

#[test]
fn refuses_names_that_kubernetes_would() {
    for name in ["Web", "a/b", "-a", "''"] {
        let text = format!("metadata: {{name: {name}}}\nspec: {{}}");
        check_refused(&text, "document 1: metadata.name: ");
    }
}

fn minimal(name: &str, host: &str) -> String {
    format!(
        "metadata: {{name: {name}}}\nspec:\n  match: {{hosts: [{host}]}}\n  workload: {{process: {{command: [a], ready: {{tcp: {{port: 1}}}}}}}}"
    )
}

fn file() -> TargetsFile {
    TargetsFile {
        path: "targets.yaml".into(),
        needs: Needs::Process,
    }
}

fn check_ok(body: &str) -> ScaleTarget {
    file().parse(&format!("{HEAD}{body}")).unwrap().remove(0)
}

fn check_refused(body: &str, expected: &str) {
    let error = file().parse(&format!("{HEAD}{body}")).unwrap_err().to_string();
    assert!(
        error.contains(expected),
        "must say {expected:?}, but says {error:?}"
    );
    assert!(
        error.starts_with("targets.yaml: ") && !error.contains('\n'),
        "must be one line: {error:?}"
    );
}
