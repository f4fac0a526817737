//! The program as it is started: its options, its environment, and how it ends.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Output, Stdio},
};

use extproc::wire::{
    HeaderMap, HeaderValue, HttpHeaders, METHOD, ProcessingRequest, ProcessingResponse, SERVICE,
    processing_request::Request, processing_response::Response,
};
use tonic::{client::Grpc, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_prost::ProstCodec;

#[test]
fn names_its_processors_and_their_settings() {
    let out = run(&["list"], &[]);
    let text = String::from_utf8(out.stdout).unwrap();
    for word in ["trivial", "BaseExtProcService", "--set pattern=", "compress"] {
        assert!(text.contains(word), "must name {word}: {text}");
    }
}

#[test]
fn prints_a_configuration_and_finds_traps_in_others() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("envoy.yaml");
    let printed = run(&["config", "-s", "digest,compress"], &[]);
    assert!(printed.status.success(), "{printed:?}");
    std::fs::write(&file, &printed.stdout).unwrap();
    let path = file.display().to_string();
    let clean = run(&["lint", &path], &[]);
    assert!(clean.status.success() && clean.stdout.is_empty(), "{clean:?}");
    let trap = String::from_utf8(printed.stdout)
        .unwrap()
        .replace("response_trailer_mode: SEND", "response_trailer_mode: SKIP");
    std::fs::write(&file, trap).unwrap();
    let found = run(&["lint", &path], &[]);
    let text = String::from_utf8(found.stdout).unwrap();
    assert!(
        !found.status.success() && text.contains("trailer") && text.starts_with(&path),
        "{text}"
    );
    let unknown = run(&["config", "-s", "digest", "--gateway", "other"], &[]);
    assert!(!unknown.status.success());
}

#[test]
fn calls_a_processor_as_envoy_would() {
    let program = Program::start(&["-s", "scan", "--set", "pattern=secret"], &[]);
    for mode in ["buffered", "streamed", "full-duplex"] {
        let call = |body| {
            run(
                &[
                    "call",
                    &program.address,
                    "/a?b",
                    "-d",
                    body,
                    "-H",
                    "X-A: 1",
                    "--mode",
                    mode,
                ],
                &[],
            )
        };
        let passes = call("nothing to hide");
        let text = String::from_utf8(passes.stdout.clone()).unwrap();
        assert!(passes.status.success(), "{passes:?}");
        for word in [
            ":path: /a?b",
            ":method: POST",
            "x-a: 1",
            ":status: 200",
            "nothing to hide",
        ] {
            assert!(text.contains(word), "{mode}: must show {word}: {text}");
        }
        let refused = call("a secret");
        let text = String::from_utf8(refused.stdout.clone()).unwrap();
        assert!(
            refused.status.success() && text.contains(":status: 403"),
            "{mode}: {refused:?}"
        );
        assert!(text.contains("answered by the processor"), "{mode}: {text}");
    }
    let away = run(&["call", "127.0.0.1:1"], &[]);
    let text = String::from_utf8(away.stderr).unwrap();
    assert!(!away.status.success() && text.contains("127.0.0.1:1"), "{text}");
}

#[tokio::test]
async fn serves_the_processor_that_was_named() {
    for service in [
        "trivial",
        "TrivialExtProcService",
        "examples.TrivialExtProcService",
    ] {
        let program = Program::start(&["-s", service], &[]);
        let headers = respond(&program.address).await;
        let expected = [
            ("x-extra-request-id", "7"),
            ("x-ext-procs-applied", "TrivialExtProcService"),
        ];
        assert_eq!(
            headers,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        program.stop().await;
    }
}

#[tokio::test]
async fn several_processors_may_share_one_filter() {
    let settings = ["--set", "headers.response-set=x-a: b"];
    let program = Program::start(
        &[
            &["-s", "trivial,headers,examples.DataExtProcService"],
            &settings[..],
        ]
        .concat(),
        &[],
    );
    let headers = respond(&program.address).await;
    let value = |wanted: &str| {
        headers
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(
        value("x-ext-procs-applied"),
        Some("TrivialExtProcService,headers,data")
    );
    assert_eq!(
        (value("x-extra-request-id"), value("x-a")),
        (Some("7"), Some("b"))
    );
    assert!(value("x-extproc-custom-data").is_some(), "{headers:?}");
}

#[tokio::test]
async fn the_chain_header_is_as_the_environment_says() {
    let named = Program::start(&[], &[("EXTPROCS_APPLIED_HEADER", "X-Chain")]);
    let expected = ("x-chain".to_owned(), "BaseExtProcService".to_owned());
    assert_eq!(respond(&named.address).await, [expected]);
    for no in ["False", "no", "0", ""] {
        let hidden = Program::start(&["serve"], &[("REVEAL_EXTPROC_CHAIN", no)]);
        assert_eq!(respond(&hidden.address).await, [], "{no:?}");
    }
}

#[tokio::test]
async fn health_and_metrics_are_served() {
    let mut program = Program::start(&["--metrics", "127.0.0.1:0"], &[]);
    let address = program.address.clone();
    respond(&address).await;
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut health = HealthClient::new(channel);
    let request = HealthCheckRequest {
        service: SERVICE.to_owned(),
    };
    let answer = health.check(request).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
    program.next_address();
    let metrics = program.address.replace("http://", "").replace("/metrics", "");
    let mut socket = TcpStream::connect(&metrics).unwrap();
    socket
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let counted = "extproc_streams_total{processor=\"BaseExtProcService\",end=\"completed\"} 1";
    assert!(text.contains(counted), "{text}");
}

#[tokio::test]
async fn with_tls_nothing_else_is_served() {
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(path("cert"), key.cert.pem()).unwrap();
    std::fs::write(path("key"), key.signing_key.serialize_pem()).unwrap();
    let arguments = ["--tls-cert", &path("cert"), "--tls-key", &path("key")];
    let program = Program::start(&arguments, &[]);
    let mut socket = TcpStream::connect(&program.address).unwrap();
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let mut first = [0];
    socket.read_exact(&mut first).unwrap();
    assert_eq!(first, [21], "must answer what is no TLS with an alert of TLS");
    let missing = run(
        &[
            "--tls-cert",
            &path("none"),
            "--tls-key",
            &path("key"),
            "--listen",
            "127.0.0.1:0",
        ],
        &[],
    );
    let text = String::from_utf8(missing.stderr).unwrap();
    assert!(
        !missing.status.success() && text.contains("none"),
        "must name the file: {text}"
    );
}

#[tokio::test]
async fn several_processors_have_a_port_each() {
    let mut command = command(
        &[
            "-s",
            "trivial=0",
            "-s",
            "headers=0",
            "--set",
            "headers.response-set=x-a: b",
        ],
        &[],
    );
    let mut program = Program::wait(command.stderr(Stdio::piped()).spawn().unwrap());
    let trivial = respond(&program.address).await;
    assert_eq!(trivial.len(), 2, "{trivial:?}");
    program.next_address();
    let headers = respond(&program.address).await;
    assert!(
        headers.contains(&("x-a".to_owned(), "b".to_owned())),
        "{headers:?}"
    );
}

#[test]
fn what_cannot_be_served_is_one_line() {
    for (arguments, word) in [
        (&["-s", "nothing"][..], "nothing"),
        (&["-s", "trivial,nothing"], "nothing"),
        (
            &["-s", "trivial,headers", "--set", "response-set=x-a: b"],
            "something to change",
        ),
        (&["-s", "scan"], "pattern"),
        (&["--set", "x=y"], "x"),
        (&["--set", "x"], "key=value"),
        (&["-s", "trivial", "-s", "timer=0"], "trivial=PORT"),
        (&["-s", "trivial=0", "-s", "timer=0", "--set", "x=y"], "x"),
        (&["-l", "--log-level", "LOUD"], "LOUD"),
    ] {
        let out = run(arguments, &[("GRPC_PORT", "0")]);
        let text = String::from_utf8(out.stderr).unwrap();
        let last = text.lines().rfind(|line| line.contains(word));
        assert!(!out.status.success() && last.is_some(), "{arguments:?}: {text}");
    }
}

/// A program that listens on 127.0.0.1, and is killed with the test.
struct Program {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
    address: String,
}

impl Program {
    fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = command(arguments, environment);
        command.args(["--listen", "127.0.0.1:0"]).stderr(Stdio::piped());
        Self::wait(command.spawn().unwrap())
    }

    fn wait(mut child: Child) -> Self {
        let said = BufReader::new(child.stderr.take().unwrap());
        let address = String::new();
        let mut program = Self { child, said, address };
        program.next_address();
        program
    }

    fn next_address(&mut self) {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        let (_, address) = line
            .trim()
            .rsplit_once(' ')
            .unwrap_or_else(|| panic!("must listen: {line}"));
        self.address = address
            .replace("[::]", "127.0.0.1")
            .replace("0.0.0.0", "127.0.0.1");
    }

    /// Ends at SIGTERM, and says that all is well. Waits aside: the client has to close its connection meanwhile.
    async fn stop(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        let ended = tokio::task::spawn_blocking(move || self.child.wait().unwrap());
        assert!(ended.await.unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_extproc"));
    command.args(arguments).envs(environment.iter().copied());
    command
}

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    command(arguments, environment).output().unwrap()
}

/// The headers that a response gets of a request with the id 7.
async fn respond(address: &str) -> Vec<(String, String)> {
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let headers = |name: &'static str, value: &'static str| HttpHeaders {
        headers: Some(HeaderMap {
            headers: vec![HeaderValue {
                key: name.into(),
                value: "".into(),
                raw_value: value.into(),
            }],
        }),
        end_of_stream: true,
    };
    let messages = [
        Request::RequestHeaders(headers("x-request-id", "7")),
        Request::ResponseHeaders(headers(":status", "200")),
    ];
    let messages = messages.map(|request| ProcessingRequest {
        request: Some(request),
        ..Default::default()
    });
    let codec = ProstCodec::<ProcessingRequest, ProcessingResponse>::default();
    let messages = tonic::Request::new(futures_util::stream::iter(messages));
    let mut answers = grpc
        .streaming(messages, METHOD.parse().unwrap(), codec)
        .await
        .unwrap()
        .into_inner();
    let mut set = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        if let Some(Response::ResponseHeaders(answer)) = answer.response {
            let mutation = answer.response.and_then(|common| common.header_mutation);
            set.extend(mutation.unwrap_or_default().set_headers);
        }
    }
    let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let headers = set.into_iter().map(|option| option.header.unwrap());
    headers
        .map(|header| (text(header.key), text(header.raw_value)))
        .collect()
}
