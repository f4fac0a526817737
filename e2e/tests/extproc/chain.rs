//! Several processors in one filter: bodies as if each had a filter of its own, whole in every mode.

use extproc::{BodyMode, End, chain};
use futures_util::{StreamExt as _, stream};
use http::Method;

use crate::world::{Act, Content, Filter, Front, SOON, Worker, World, frames, serve, sha256};

const MODES: [BodyMode; 4] = [
    BodyMode::Buffered,
    BodyMode::BufferedPartial,
    BodyMode::Streamed,
    BodyMode::FullDuplex,
];

/// Everything that a handler can do with a body, done twice by `chain!`: 130 KB both ways, four exchanges at a time. In two filters
/// users saw such bodies truncated (envoy#43983, envoy#41654).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processors_in_one_filter_lose_nothing() {
    let (first, second) = (Worker::default(), Worker::default());
    let served = serve(chain!(first.clone(), second.clone()), |server| {
        server.max_message(32 << 20)
    })
    .await;
    let fronts = MODES.map(|mode| Front::new(Filter::new(&served).bodies(mode, mode)).buffer(16 << 20));
    let world = World::start(fronts).await;
    let mut cases = Vec::new();
    for front in 0..MODES.len() {
        for act in Act::ALL.into_iter().filter(|act| *act != Act::First) {
            for size in [1, 130_000] {
                for http2 in [false, true] {
                    cases.push((front, act, size, http2));
                }
            }
        }
    }
    let count = cases.len();
    let world_of = &world;
    let each = stream::iter(cases).map(|(front, act, size, http2)| async move {
        let id = format!("{:?} {act:?} {size} {http2}", MODES[front]);
        let client = world_of.client(front);
        let client = if http2 { client.http2().await } else { client };
        let content = Content::of(size, 1);
        let call = client.call(Method::POST, &format!("/give?bytes={size}"));
        let call = call
            .body(frames(content.clone(), 7000, None))
            .header("x-test-id", &id);
        let word = format!("{act:?}");
        let call = call
            .header("x-request-act", &word)
            .header("x-response-act", &word);
        let reply = tokio::time::timeout(SOON, call.send()).await;
        let reply = reply.unwrap_or_else(|_| panic!("{id}: hung"));
        assert_eq!(reply.status, 200, "{id}: {reply:?}");
        assert_eq!(reply.header("x-ext-procs-applied"), Some("Worker,Worker"), "{id}");
        let seen = world_of.origin.seen(&id).await;
        let twice = |content| act.of(&act.of(&content));
        let expected = twice(content);
        assert_eq!(
            (seen.length, seen.sha256),
            (expected.len() as u64, sha256(&expected)),
            "{id}: request"
        );
        let expected = twice(Content::of(size, 77));
        assert_eq!(
            (reply.body.len(), sha256(&reply.body)),
            (expected.len(), sha256(&expected)),
            "{id}: response"
        );
    });
    each.buffer_unordered(4).collect::<Vec<()>>().await;
    world.clean().await;
    served.stopped().await;
    for worker in [first, second] {
        assert_eq!(worker.log.lock().unwrap().ends, vec![End::Completed; count]);
    }
}
