//! Processors that stop or die: what is unanswered is answered by another, what is under way ends, nothing is cut as if it had ended.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use extproc::{Body, BodyMode, BodyReply, End, Exchange, Headers, HeadersReply, Server};
use harness::{Process, Upload, eventually, free_port};
use http::Method;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::world::{Content, Endpoint, Ends, Filter, Front, SOON, Worker, World, serve, sha256};

/// Set in a process that serves: its port.
const PORT: &str = "EXTPROC_E2E_PORT";
/// A file that opens the gate for requests with `x-hold`.
const GATE: &str = "EXTPROC_E2E_GATE";
/// A folder: for each request that is held there is a file that is named `<name>-<id>`.
const HELD: &str = "EXTPROC_E2E_HELD";
const NAME: &str = "EXTPROC_E2E_NAME";
/// Answers calls at once in place of together with the first answer.
const EAGER: &str = "EXTPROC_E2E_EAGER";

/// The test that a process is started with.
const TEST: &str = "stop::a_process_serves_until_it_is_told_to_stop";

/// A processor in a process of its own.
struct Child {
    name: &'static str,
    port: u16,
    process: Process,
}

impl Child {
    async fn start(name: &'static str, dir: &Path, eager: bool) -> Self {
        let port = free_port();
        let path = |name: &str| dir.join(name).display().to_string();
        let mut env = vec![
            (PORT, port.to_string()),
            (GATE, path("gate")),
            (HELD, path("held")),
        ];
        env.push((NAME, name.to_owned()));
        if eager {
            env.push((EAGER, "1".to_owned()));
        }
        std::fs::create_dir_all(dir.join("held")).unwrap();
        let env: Vec<_> = env
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        let args = ["--exact", TEST, "--nocapture"].map(str::to_owned);
        let program = std::env::current_exe().unwrap();
        let process = Process::start(name, &program, &args, &env, &dir.join(format!("{name}.log")));
        let child = Self { name, port, process };
        eventually("the processor listens", SOON, || async {
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        child
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], self.port)))
    }

    /// Requests that it held, or holds.
    fn held(&self, dir: &Path) -> usize {
        let files = std::fs::read_dir(dir.join("held")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.starts_with(&format!("{}-", self.name)))
            .count()
    }
}

/// What a [`Child`] runs.
async fn child(port: u16) {
    let var = |name| std::env::var(name).unwrap();
    let (gate, held, name) = (PathBuf::from(var(GATE)), PathBuf::from(var(HELD)), var(NAME));
    let processor =
        extproc::processor::<()>(&name).on_request_headers(move |_: Exchange<()>, headers: Headers| {
            let (gate, name) = (gate.clone(), name.clone());
            let held = headers.text("x-hold").map(|id| held.join(format!("{name}-{id}")));
            async move {
                if let Some(held) = held {
                    std::fs::write(held, "")?;
                    while !gate.exists() {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
                Ok(HeadersReply::unchanged().set("x-by", name))
            }
        });
    let server = Server::new(processor)
        .listen(SocketAddr::from(([127, 0, 0, 1], port)))
        .hand_over(true);
    let server = if std::env::var_os(EAGER).is_some() {
        server.eager_headers()
    } else {
        server
    };
    server.serve().await.unwrap();
}

/// Also the processor of the other tests here: they start this test with a port in its environment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_serves_until_it_is_told_to_stop() {
    if let Ok(port) = std::env::var(PORT) {
        child(port.parse().unwrap()).await;
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let only = Child::start("only", dir.path(), false).await;
    let world = World::start([Front::new(Filter::to([only.endpoint()]))]).await;
    world.client(0).get("/take").header("x-test-id", "1").send().await;
    assert_eq!(world.origin.seen("1").await.headers["x-by"], "only");
    assert!(only.process.stop(SOON).success(), "SIGTERM is a normal end");
    assert_eq!(
        world.client(0).get("/take").send().await.status,
        500,
        "fail closed, without a processor"
    );
    world.ended(&[("streams_failed", 1)]).await;
}

/// Envoy tries another processor, as long as it has no answer.
fn retries() -> Value {
    json!({
        "retry_on": "connect-failure,refused-stream,reset,unavailable",
        "num_retries": 5,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
        "retry_host_predicate": [{
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            },
        }],
        "host_selection_retry_max_attempts": "5",
    })
}

const HOLDS: usize = 20;

struct Pair {
    dir: tempfile::TempDir,
    first: Child,
    second: Child,
    world: World,
    held: Vec<(String, harness::Pending)>,
}

impl Pair {
    /// Two processors, and holds on both of them.
    async fn start(eager: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let first = Child::start("first", dir.path(), eager).await;
        let second = Child::start("second", dir.path(), eager).await;
        let filter = Filter::to([first.endpoint(), second.endpoint()])
            .set("message_timeout", "60s")
            .set("grpc_service/retry_policy", retries());
        let world = World::start([Front::new(filter)]).await;
        let mut held = Vec::new();
        for number in 0..HOLDS {
            let id = number.to_string();
            let call = if number % 2 == 0 {
                world.client(0).get("/take")
            } else {
                world.client(0).post("/take", Content::of(1000, 1))
            };
            held.push((
                id.clone(),
                call.header("x-test-id", &id).header("x-hold", &id).spawn(),
            ));
        }
        eventually("all are held", SOON, || async {
            first.held(dir.path()) + second.held(dir.path()) == HOLDS
        })
        .await;
        assert!(
            first.held(dir.path()) > 0 && second.held(dir.path()) > 0,
            "both hold some"
        );
        Self {
            dir,
            first,
            second,
            world,
            held,
        }
    }

    /// Waits until the second holds all, opens the gate, and compares the answers.
    async fn all_are_answered_by_the_second(self) {
        let Self {
            dir,
            first,
            second,
            world,
            held,
        } = self;
        let lost = first.held(dir.path());
        eventually("the second holds all", SOON, || async {
            second.held(dir.path()) == HOLDS
        })
        .await;
        assert!(held.iter().all(|(_, call)| !call.is_finished()));
        std::fs::write(dir.path().join("gate"), "").unwrap();
        for (id, call) in held {
            let reply = call.reply().await;
            assert_eq!(reply.status, 200, "{id}: {reply:?}");
            let seen = world.origin.seen(&id).await;
            assert_eq!(seen.headers["x-by"], "second", "{id}");
            let length = if id.parse::<usize>().unwrap() % 2 == 0 {
                0
            } else {
                1000
            };
            assert_eq!(seen.length, length, "{id}");
        }
        let retried = world.stat("cluster.processor0-0.upstream_rq_retry").await;
        assert!(retried >= lost as u64, "{retried} of {lost} were tried again");
        world.clean().await;
    }
}

/// `kill -9` of one of two processors: what it held is held by the other, and every client gets its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_survive_their_processor() {
    let pair = Pair::start(false).await;
    pair.first.process.kill();
    pair.all_are_answered_by_the_second().await;
}

/// SIGTERM with hand-over: the same, and the process ends at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_are_handed_over_at_a_stop() {
    let pair = Pair::start(false).await;
    pair.first.process.signal(Signal::SIGTERM);
    eventually("the process has ended", SOON, || async {
        pair.first.process.exited().is_some()
    })
    .await;
    assert!(pair.first.process.exited().unwrap().success());
    pair.all_are_answered_by_the_second().await;
}

/// The control: with answers that begin at once Envoy cannot try again, and the clients of the processor that died are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eager_answers_cannot_be_replayed() {
    let pair = Pair::start(true).await;
    let lost = pair.first.held(pair.dir.path());
    pair.first.process.kill();
    std::fs::write(pair.dir.path().join("gate"), "").unwrap();
    let mut refused = 0;
    for (_, call) in pair.held {
        match call.reply().await.status {
            200 => {}
            500 => refused += 1,
            other => panic!("status {other}"),
        }
    }
    assert_eq!(refused, lost);
    pair.world.ended(&[("streams_failed", lost as u64)]).await;
}

/// A stop without hand-over: what is under way ends within the grace, held requests and bodies alike, and new calls go elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_ends_within_the_grace() {
    let gate = Arc::new(Semaphore::new(0));
    let (opens, ends) = (gate.clone(), Ends::default());
    let told = ends.clone();
    let processor = extproc::processor::<()>("first")
        .on_request_headers(move |_: Exchange<()>, headers: Headers| {
            let gate = opens.clone();
            async move {
                if headers.contains("x-hold") {
                    let _open = gate.acquire().await?;
                }
                Ok(HeadersReply::unchanged().set("x-by", "first"))
            }
        })
        .on_ended(move |_, end| told.add(end));
    let mut first = serve(processor, |server| server.grace(SOON)).await;
    let second = serve(Worker::default(), |server| server).await;
    let both = Filter::to([first.endpoint(), second.endpoint()])
        .bodies(BodyMode::FullDuplex, BodyMode::FullDuplex)
        .set("grpc_service/retry_policy", retries());
    let only = Filter::new(&first).bodies(BodyMode::FullDuplex, BodyMode::FullDuplex);
    let world = World::start([Front::new(only), Front::new(both)]).await;
    let held = world
        .client(0)
        .get("/take")
        .header("x-test-id", "held")
        .header("x-hold", "1")
        .spawn();
    let upload = Upload::new(1 << 20, 1).slowly(Duration::from_millis(10));
    let (hash, progress) = (upload.sha256(), upload.progress());
    let upload = world
        .client(0)
        .call(Method::POST, "/mirror")
        .body(upload)
        .header("x-test-id", "upload")
        .spawn();
    eventually("both are under way", SOON, || async {
        progress.sent() > 100_000 && world.counter(0, "streams_started").await == 2
    })
    .await;
    first.stop();
    assert!(!upload.is_finished() && !held.is_finished());
    // New calls: the one that stops does not take them.
    for _ in 0..10 {
        assert_eq!(world.client(1).get("/take").send().await.status, 200);
    }
    let reply = upload.reply().await;
    assert_eq!((reply.body.len(), sha256(&reply.body)), (1 << 20, hash));
    assert!(!held.is_finished(), "it is still held");
    gate.add_permits(1);
    assert_eq!(held.reply().await.status, 200);
    assert_eq!(world.origin.seen("held").await.headers["x-by"], "first");
    tokio::time::timeout(SOON, first.stopped())
        .await
        .expect("it ends when its calls have");
    ends.are(&[(End::Completed, ends.count())]).await;
    world.clean().await;
}

/// When the grace is over calls end with an error, never cleanly: a clean end would let bodies pass unprocessed, or truncate them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_outlasts_the_grace_is_refused() {
    let ends = Ends::default();
    let told = ends.clone();
    let processor = extproc::processor::<()>("waits")
        .on_request_body(async |_: Exchange<()>, mut body: Body| {
            body.inspect().await?;
            std::future::pending::<()>().await;
            Ok(BodyReply::unchanged())
        })
        .on_ended(move |_, end| told.add(end));
    let modes = [BodyMode::Buffered, BodyMode::Streamed, BodyMode::FullDuplex];
    let mut served = serve(processor, |server| server.grace(Duration::from_millis(300))).await;
    let world = World::start(modes.map(|mode| Front::new(Filter::new(&served).bodies(mode, mode)))).await;
    let mut pending = Vec::new();
    for (front, mode) in modes.into_iter().enumerate() {
        let id = format!("{mode:?}");
        let call = world
            .client(front)
            .post("/take", Content::of(200_000, 1))
            .header("x-test-id", &id);
        pending.push((id, call.spawn()));
        eventually("its body is there", SOON, || async {
            world.counter(front, "stream_msgs_sent").await >= 2
        })
        .await;
    }
    served.stop();
    for (id, call) in pending {
        assert_eq!(call.reply().await.status, 500, "{id}");
        if world.origin.has_arrived(&id) {
            assert!(!world.origin.seen(&id).await.whole, "{id}");
        }
    }
    served.stopped().await;
    ends.are(&[(End::Stopped, 3)]).await;
    world
        .ended(&[
            ("streams_failed", 1),
            ("1.streams_failed", 1),
            ("2.streams_failed", 1),
        ])
        .await;
}
