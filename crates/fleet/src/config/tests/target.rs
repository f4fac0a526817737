//! What is asked of a target that has been read.

use super::*;
use crate::config::Process;

#[test]
fn a_confirm_that_asks_lacks_an_authority_until_it_is_said_or_derived() {
    let with = |confirm: &str| check_ok(&format!("{}\n  confirm: {confirm}", minimal("web", "web")));
    let authority = |target: &ScaleTarget| match &target.confirm {
        protocol::Confirm::Http { authority, .. } | protocol::Confirm::Grpc { authority, .. } => {
            authority.clone()
        }
        protocol::Confirm::Off { .. } | protocol::Confirm::Unknown => None,
    };
    let derived = || "derived.example.com".parse().unwrap();
    for (confirm, lacks, then) in [
        ("{path: /x}", true, Some("derived.example.com")),
        ("{grpc: true}", true, Some("derived.example.com")),
        ("{authority: said}", false, Some("said")),
        ("{grpc: true, authority: said}", false, Some("said")),
        ("{enabled: false}", false, None),
    ] {
        let mut target = with(confirm);
        assert_eq!(target.lacks_authority(), lacks, "{confirm}");
        target.derive_authority(derived());
        assert_eq!(authority(&target).as_deref(), then, "{confirm}");
        assert!(!target.lacks_authority(), "{confirm}: must lack none now");
    }
}

#[test]
fn a_process_is_the_same_whatever_is_said_of_its_beginning_and_its_end() {
    let process = |rest: &str| {
        let process = format!("{{command: [web, -v], ready: {{tcp: {{port: 80}}}}{rest}}}");
        mk_process(&process)
    };
    let usual = process("");
    assert!(usual.runs_as(&usual), "must be itself");
    let same =
        process(", stopGrace: 1s, startTimeout: 2s, stopSignal: SIGINT, restart: always, autostart: true");
    assert!(usual.runs_as(&same), "what runs is the same");
    for other in [
        process(", env: {A: b}"),
        process(", dir: /tmp"),
        mk_process("{command: [web], ready: {tcp: {port: 80}}}"),
        mk_process("{command: [other, -v], ready: {tcp: {port: 80}}}"),
        mk_process("{command: [web, -v], ready: {tcp: {port: 81}}}"),
    ] {
        assert!(!usual.runs_as(&other), "must be another: {other:?}");
    }
    let asked = mk_process("{command: [web, -v], ready: {http: {port: 80}}}");
    assert!(
        usual.runs_as(&asked),
        "how it is asked changes nothing of what runs"
    );
}

#[test]
fn a_probe_says_where_it_asks_and_how() {
    let longest = "x".repeat(255);
    let named = format!("grpc 127.0.0.1:9 {longest}");
    for (ready, shown) in [
        ("{tcp: {port: 9}}".to_owned(), "tcp 127.0.0.1:9"),
        ("{http: {port: 9, path: /up}}".to_owned(), "http://127.0.0.1:9/up"),
        ("{grpc: {port: 9, address: '::1'}}".to_owned(), "grpc [::1]:9"),
        (
            format!("{{grpc: {{port: 9, service: {longest}}}}}"),
            named.as_str(),
        ),
    ] {
        let process = mk_process(&format!("{{command: [a], ready: {ready}}}"));
        assert_eq!(process.ready.to_string(), shown);
    }
}

fn mk_process(process: &str) -> Process {
    let body =
        format!("metadata: {{name: w}}\nspec:\n  match: {{hosts: [w]}}\n  workload: {{process: {process}}}");
    match check_ok(&body).workload {
        Workload::Process(process) => process,
        other => panic!("must be a process: {other:?}"),
    }
}
