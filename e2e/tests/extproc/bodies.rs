//! One handler, every body mode: the same bytes reach the upstream and the client, whatever the mode, the size, the protocol.

use bytes::Bytes;
use extproc::{BodyMode, Direction, End};
use futures_util::{StreamExt as _, stream};
use harness::Client;

use crate::world::{Act, Content, Filter, Front, Served, Worker, World, frames, serve, sha256};

const MODES: [BodyMode; 4] = [
    BodyMode::Buffered,
    BodyMode::BufferedPartial,
    BodyMode::Streamed,
    BodyMode::FullDuplex,
];

/// One exchange of the matrix.
#[derive(Clone, Copy, Debug)]
struct Case {
    front: usize,
    act: Act,
    size: usize,
    /// With `content-length`, in both directions.
    declared: bool,
    http2: bool,
}

impl Case {
    /// Whether Envoy shows an empty body as a body: it knows of it only where the length was not said.
    fn has_body(self) -> bool {
        self.size > 0 || !self.declared
    }

    fn expected(self, body: &Bytes) -> Bytes {
        if self.has_body() {
            self.act.of(body)
        } else {
            body.clone()
        }
    }
}

async fn start(worker: &Worker) -> (World, Served) {
    let served = serve(worker.clone(), |server| server.max_message(64 << 20)).await;
    let fronts = MODES.map(|mode| Front::new(Filter::new(&served).bodies(mode, mode)).buffer(32 << 20));
    (World::start(fronts).await, served)
}

async fn exchange(world: &World, client: &Client, case: Case) {
    let id = format!("{:?} {case:?}", MODES[case.front]);
    let body = Content::of(case.size, 1);
    let word = format!("{:?}", case.act);
    let declared = if case.declared { "&declared" } else { "" };
    let path = format!("/give?bytes={}{declared}", case.size);
    let call = client.call(http::Method::POST, &path);
    let call = if case.declared {
        client.post(&path, body.clone())
    } else {
        call.body(frames(body.clone(), 16 << 10, None))
    };
    let call = call
        .header("x-test-id", &id)
        .header("x-request-act", &word)
        .header("x-response-act", &word);
    let reply = tokio::time::timeout(crate::world::SOON, call.try_send()).await;
    let reply = reply
        .unwrap_or_else(|_| panic!("{id}: no answer"))
        .unwrap_or_else(|error| panic!("{id}: {error:#}"));
    assert_eq!(reply.status, 200, "{id}: {reply:?}");
    let seen = world.origin.seen(&id).await;
    assert!(seen.whole, "{id}: the upstream's request was cut");
    let sent_back = Content::of(case.size, 77);
    if case.act == Act::First && case.size > 0 {
        // As much as came in the first piece.
        let length = usize::try_from(seen.length).unwrap();
        assert!(length > 0 && length <= body.len(), "{id}: {length}");
        assert_eq!(
            seen.sha256,
            sha256(&body[..length]),
            "{id}: the request's first piece"
        );
        assert!(
            !reply.body.is_empty() && sent_back.starts_with(&reply.body),
            "{id}: the response's first piece"
        );
        return;
    }
    let expected = case.expected(&body);
    assert_eq!(
        (seen.length, &seen.sha256),
        (expected.len() as u64, &sha256(&expected)),
        "{id}: what reached the upstream, which begins with {:?}",
        String::from_utf8_lossy(&seen.start[..seen.start.len().min(40)])
    );
    let expected = case.expected(&sent_back);
    assert_eq!(
        (reply.body.len(), sha256(&reply.body)),
        (expected.len(), sha256(&expected)),
        "{id}: what reached the client"
    );
}

/// Every act in every mode, for bodies of one size.
async fn matrix(sizes: &[usize], acts: &[Act]) {
    let worker = Worker::default();
    let (world, served) = start(&worker).await;
    let mut cases = Vec::new();
    for http2 in [false, true] {
        for front in 0..MODES.len() {
            for act in acts {
                for size in sizes {
                    for declared in [true, false] {
                        cases.push(Case {
                            front,
                            act: *act,
                            size: *size,
                            declared,
                            http2,
                        });
                    }
                }
            }
        }
    }
    let mut multiplexed = Vec::new();
    for front in 0..MODES.len() {
        multiplexed.push(world.client(front).http2().await);
    }
    let count = cases.len();
    let (world_of, clients) = (&world, &multiplexed);
    stream::iter(cases)
        .for_each_concurrent(4, |case| async move {
            let client = if case.http2 {
                clients[case.front].clone()
            } else {
                world_of.client(case.front)
            };
            exchange(world_of, &client, case).await;
        })
        .await;
    // Inspected bodies were seen whole, in both directions.
    let hashes = worker.log.lock().unwrap().hashes.clone();
    for (id, direction, hash) in hashes {
        let size = sizes
            .iter()
            .find(|size| id.contains(&format!("size: {size},")))
            .unwrap();
        let seed = if direction == Direction::Request { 1 } else { 77 };
        assert_eq!(
            hash,
            sha256(&Content::of(*size, seed)),
            "{id}: what was inspected"
        );
    }
    world.clean().await;
    served.stopped().await;
    let ends = worker.log.lock().unwrap().ends.clone();
    assert_eq!(
        ends,
        vec![End::Completed; count],
        "each exchange ended once, and well"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_bodies_are_the_same_in_every_mode() {
    matrix(&[0, 1, 100_000], &Act::ALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_are_the_same_in_every_mode() {
    matrix(
        &[3_000_000],
        &[
            Act::Pass,
            Act::Inspect,
            Act::Collect,
            Act::Replace,
            Act::Upper,
            Act::First,
        ],
    )
    .await;
}
