//! The manual backend, driven as a person would: by the script in `local-envoy/demo`.

use std::process::Command;

use harness::{Process, Stack, Target, binaries};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_says_what_sleeps() {
    let stack = Stack::builder()
        .target(Target::http("http").spec("match.hosts", ["http.example.com"].to_vec()))
        .target(Target::grpc("grpc").spec("match.hosts", ["grpc.example.com"].to_vec()))
        .control(|control| control.backend("manual"))
        .start()
        .await;
    let address = |name: &str| format!("127.0.0.1:{}", stack.target(name).port);
    let args = ["--http", &address("http"), "--grpc", &address("grpc")].map(str::to_owned);
    let log = stack.dir.path().join("upstream.log");
    let _upstream = Process::start("upstream", &binaries::upstream(), &args, &[], &log);

    let mut script = Command::new(binaries::root().join("local-envoy/demo/manual.sh"));
    script.env("CONTROL", format!("http://127.0.0.1:{}", stack.control.port()));
    script.env("ENVOY", format!("127.0.0.1:{}", stack.envoy.port()));
    script.env("GRPC_CLIENT", binaries::grpc_echo());
    let out = tokio::task::spawn_blocking(move || script.output().unwrap())
        .await
        .unwrap();

    let (said, complained) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert!(
        out.status.success(),
        "the script must end well: {said}{complained}"
    );
    assert!(
        said.contains("answered: hello from upstream"),
        "HTTP must be answered: {said}"
    );
    assert!(
        said.contains("answered: hello (from process"),
        "gRPC must be answered: {said}"
    );
}
