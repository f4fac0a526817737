//! The `workload.process` part of a targets file.

use super::super::spec::{Restart, StopSignal};
use super::*;

#[test]
fn reads_how_a_process_is_asked_ended_and_started_again() {
    let with = |process: &str| {
        let process = format!("{{command: [a], {process}}}");
        format!("metadata: {{name: w}}\nspec:\n  match: {{hosts: [w]}}\n  workload: {{process: {process}}}")
    };
    let process = |text: &str| match check_ok(&with(text)).workload {
        Workload::Process(process) => process,
        other => panic!("must be a process: {other:?}"),
    };
    let usual = process("ready: {tcp: {port: 1}}");
    assert_eq!(
        (usual.stop_signal, usual.restart),
        (StopSignal::SigTerm, Restart::OnFailure),
        "must have its defaults"
    );
    let unusual =
        process("ready: {grpc: {port: 9, service: shop.Web}}, stopSignal: SIGUSR2, restart: always");
    assert_eq!(
        (unusual.stop_signal, unusual.restart),
        (StopSignal::SigUsr2, Restart::Always),
        "must take what is written"
    );
    let address = "127.0.0.1:9".parse().unwrap();
    assert_eq!(
        unusual.ready,
        Probe::Grpc(address, "shop.Web".to_owned()),
        "must ask over gRPC"
    );
    for signal in ["SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1"] {
        let text = format!("ready: {{tcp: {{port: 1}}}}, stopSignal: {signal}");
        assert_eq!(process(&text).stop_signal.name(), signal, "must be taken");
    }
    for (text, expected) in [
        (
            "stopSignal: SIGKILL",
            "process.stopSignal: unknown variant `SIGKILL`, expected one of `SIGTERM`",
        ),
        ("stopSignal: 15", "process.stopSignal: "),
        (
            "restart: never",
            "process.restart: unknown variant `never`, expected `onFailure` or `always`",
        ),
    ] {
        check_refused(&with(&format!("ready: {{tcp: {{port: 1}}}}, {text}")), expected);
    }
    check_refused(
        &with("ready: {grpc: {port: 1}, tcp: {port: 1}}"),
        "process.ready: write exactly one of http, tcp and grpc",
    );
    let long = "x".repeat(256);
    check_refused(
        &with(&format!("ready: {{grpc: {{port: 1, service: {long}}}}}")),
        "process.ready.grpc.service: is longer than 255 bytes",
    );
}

#[test]
fn refuses_what_no_process_can_be_given() {
    let with = |process: &str| {
        let process = format!("{{ready: {{tcp: {{port: 1}}}}, {process}}}");
        format!("metadata: {{name: w}}\nspec:\n  match: {{hosts: [w]}}\n  workload: {{process: {process}}}")
    };
    for (process, expected) in [
        (
            "command: [a, \"b\\0c\"]",
            "process.command: a word of it holds a NUL",
        ),
        ("command: [\"\\0\"]", "process.command: a word of it holds a NUL"),
        ("command: [a], dir: \"/t\\0mp\"", "process.dir: it holds a NUL"),
        (
            "command: [a], env: {A: \"\\0\"}",
            "process.env: a name or a value holds a NUL",
        ),
        (
            "command: [a], env: {\"A\\0\": b}",
            "process.env: a name or a value holds a NUL",
        ),
        (
            "command: [a], env: {A=B: c}",
            "process.env: \"A=B\" is no name of a variable",
        ),
        (
            "command: [a], env: {\"\": c}",
            "process.env: \"\" is no name of a variable",
        ),
    ] {
        check_refused(&with(process), expected);
    }
}
