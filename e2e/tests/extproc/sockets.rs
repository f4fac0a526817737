//! Where a processor listens, and how Envoy speaks to it.

use extproc::{BodyMode, Exchange, Headers, HeadersReply};
use serde_json::json;

use crate::world::{Act, Content, Filter, Front, Worker, World, serve, serve_unix, sha256};

/// Over a unix socket everything is as over TCP; the peer has no address there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_serves_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let processor = || {
        extproc::processor::<()>("peer").on_request_headers(async |exchange: Exchange<()>, _: Headers| {
            let peer = exchange
                .peer()
                .map_or("-".to_owned(), |peer| peer.ip().to_string());
            let own = exchange
                .call_metadata()
                .get("x-own")
                .map_or(&b"-"[..], |own| own.as_bytes());
            Ok(HeadersReply::unchanged().set("x-peer", peer).set("x-own", own))
        })
    };
    let (unix, tcp) = (
        serve_unix(processor(), dir.path().join("socket")).await,
        serve(processor(), |server| server).await,
    );
    let bodies = serve_unix(Worker::default(), dir.path().join("bodies")).await;
    let initial = json!([{"key": "x-own", "value": "of the filter"}]);
    let told = |served| Filter::new(served).set("grpc_service/initial_metadata", initial.clone());
    let duplex = Filter::new(&bodies).bodies(BodyMode::FullDuplex, BodyMode::FullDuplex);
    let fronts = [told(&unix), told(&tcp), duplex].map(Front::new);
    let world = World::start(fronts).await;
    for (front, peer) in [(0, "-"), (1, "127.0.0.1")] {
        let id = format!("{front}");
        world
            .client(front)
            .get("/take")
            .header("x-test-id", &id)
            .send()
            .await;
        let seen = world.origin.seen(&id).await;
        assert_eq!(seen.headers["x-peer"], peer, "{id}");
        assert_eq!(seen.headers["x-own"], "of the filter", "{id}");
    }
    let content = Content::of(1_000_000, 1);
    let call = world
        .client(2)
        .post("/mirror", content.clone())
        .header("x-request-act", "Upper");
    let reply = call.send().await;
    assert_eq!(sha256(&reply.body), sha256(&Act::Upper.of(&content)));
    world.clean().await;
    unix.stopped().await;
    assert!(!dir.path().join("socket").exists(), "its file is gone with it");
}
