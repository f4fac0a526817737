//! Bodies that no handler reads never delay other requests: their messages wait in windows of their own.

use std::sync::Arc;
use std::time::Duration;

use extproc::{Body, BodyMode, BodyReply, Exchange, Http2};
use futures_util::future::join_all;
use harness::{Upload, holds_for};
use tokio::sync::Semaphore;

use crate::world::{Filter, Front, SOON, World, serve};

const UPLOADS: usize = 10;
const LENGTH: u64 = 4 << 20;

/// Ten uploads wait for their handler, and ten requests without a body pass it meanwhile, over the same connection. The control: with a
/// connection window as HTTP/2 has it by default they do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_uploads_do_not_delay_other_requests() {
    let gate = Arc::new(Semaphore::new(0));
    let of_handlers = gate.clone();
    let processor = || {
        let gate = of_handlers.clone();
        extproc::processor::<()>("waits").on_request_body(move |_: Exchange<()>, _: Body| {
            let gate = gate.clone();
            async move {
                let _place = gate.acquire().await?;
                Ok(BodyReply::unchanged())
            }
        })
    };
    let wide = serve(processor(), |server| server).await;
    let narrow = Http2 {
        connection_window: 65_535,
        ..Http2::default()
    };
    let narrow = serve(processor(), |server| server.http2(narrow)).await;
    let modes = [BodyMode::Streamed, BodyMode::FullDuplex];
    let fronts = modes.map(|mode| Filter::new(&wide).bodies(mode, BodyMode::None));
    let control = Filter::new(&narrow).bodies(BodyMode::FullDuplex, BodyMode::None);
    let world = World::start_with(fronts.into_iter().chain([control]).map(Front::new), |_| {}).await;
    let upload = |front: usize, number: usize| {
        let upload = Upload::new(LENGTH, 1);
        let call = world.client(front).call(http::Method::POST, "/take").body(upload);
        call.header("x-test-id", format!("{front} {number}")).spawn()
    };
    for front in 0..2 {
        let uploads: Vec<_> = (0..UPLOADS).map(|number| upload(front, number)).collect();
        harness::eventually("the uploads have reached the processor", SOON, || async {
            world.counter(front, "stream_msgs_sent").await >= 2 * UPLOADS as u64
        })
        .await;
        let others = (0..10).map(|_| world.client(front).get("/take").send());
        let others = tokio::time::timeout(SOON, join_all(others)).await;
        let others = others.expect("requests without a body wait behind bodies that are not read");
        assert!(others.iter().all(|reply| reply.status == 200));
        assert!(
            uploads.iter().all(|upload| !upload.is_finished()),
            "they still wait"
        );
        gate.add_permits(1);
        for (number, upload) in uploads.into_iter().enumerate() {
            assert_eq!(upload.reply().await.status, 200);
            assert_eq!(
                world.origin.seen(&format!("{front} {number}")).await.length,
                LENGTH
            );
        }
        gate.forget_permits(1);
    }
    // Envoy has a connection for each worker: enough uploads that each is full.
    let uploads: Vec<_> = (0..2 * UPLOADS).map(|number| upload(2, number)).collect();
    harness::eventually("the connections are full", SOON, || async {
        world.counter(2, "stream_msgs_sent").await >= 2 * UPLOADS as u64
    })
    .await;
    let others: Vec<_> = (0..10).map(|_| world.client(2).get("/take").spawn()).collect();
    holds_for(
        "some request waits behind the bodies",
        Duration::from_millis(300),
        || async { others.iter().any(|other| !other.is_finished()) },
    )
    .await;
    gate.add_permits(1);
    for pending in uploads.into_iter().chain(others) {
        assert_eq!(pending.reply().await.status, 200);
    }
    world.clean().await;
}
