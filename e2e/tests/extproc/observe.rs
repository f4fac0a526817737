//! `observability_mode`: handlers see everything and change nothing, however long they take.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use extproc::{Body, BodyMode, BodyReply, End, Exchange, Headers, HeadersReply, Immediate, Processor, Reply};
use harness::eventually;

use crate::world::{Content, Ends, Filter, Front, SOON, World, serve, sha256};

#[derive(Clone, Default)]
struct Observer {
    ends: Ends,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Observer {
    fn note(&self, text: String) {
        self.seen.lock().unwrap().push(text);
    }

    async fn hash(&self, what: &str, mut body: Body) -> Reply<BodyReply> {
        let whole = body.collect().await?;
        self.note(format!("{what} {} {}", whole.len(), sha256(&whole)));
        Ok(BodyReply::replace("not this"))
    }
}

impl Processor for Observer {
    type State = ();

    async fn request_headers(&self, exchange: &Exchange<()>, headers: &Headers) -> Reply<HeadersReply> {
        assert!(exchange.observing());
        if headers.contains("x-slow") {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if headers.contains("x-deny") {
            return Err(Immediate::new(403).into());
        }
        Ok(HeadersReply::unchanged().set("x-seen", "1"))
    }

    async fn request_body(&self, _: &Exchange<()>, body: Body) -> Reply<BodyReply> {
        self.hash("request", body).await
    }

    async fn response_headers(&self, exchange: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        self.note(format!("status {}", exchange.status().unwrap()));
        Ok(HeadersReply::unchanged().set("x-seen", "1"))
    }

    async fn response_body(&self, _: &Exchange<()>, body: Body) -> Reply<BodyReply> {
        self.hash("response", body).await
    }

    fn ended(&self, _: &Exchange<()>, end: End) {
        self.ends.add(end);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_observed_is_seen_whole_and_passes_untouched() {
    let observer = Observer::default();
    let served = serve(observer.clone(), |server| server).await;
    let filter = Filter::new(&served)
        .bodies(BodyMode::Streamed, BodyMode::Streamed)
        .set("observability_mode", true)
        .set("deferred_close_timeout", "3s");
    let world = World::start([Front::new(filter)]).await;
    let content = Content::of(500_000, 1);
    for (number, header) in [(0, "x-none"), (1, "x-slow")] {
        let id = number.to_string();
        let call = world.client(0).post("/give?bytes=300000", content.clone());
        let reply = call.header("x-test-id", &id).header(header, "1").send().await;
        // The slow handler does not delay: it has not even ended.
        assert_eq!(observer.ends.count(), number, "{header}");
        assert_eq!(
            (
                reply.status,
                reply.header("x-seen"),
                reply.header("x-ext-procs-applied")
            ),
            (200, None, None)
        );
        assert_eq!(sha256(&reply.body), sha256(&Content::of(300_000, 77)));
        let seen = world.origin.seen(&id).await;
        assert_eq!(seen.sha256, sha256(&content));
        assert!(!seen.headers.contains_key("x-seen"));
        eventually("the handlers have seen all", SOON, || async {
            observer.seen.lock().unwrap().len() >= 3
        })
        .await;
        let mut noted = std::mem::take(&mut *observer.seen.lock().unwrap());
        noted.sort();
        let wanted = [
            format!("request 500000 {}", sha256(&content)),
            format!("response 300000 {}", sha256(&Content::of(300_000, 77))),
            "status 200".to_owned(),
        ];
        assert_eq!(noted, wanted, "{header}");
        observer.ends.are(&[(End::Completed, number + 1)]).await;
        observer.seen.lock().unwrap().clear();
    }
    // What would deny does not: Envoy only shows.
    let reply = world.client(0).get("/take").header("x-deny", "1").send().await;
    assert_eq!(reply.status, 200);
    world.clean().await;
}
