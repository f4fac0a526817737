//! Whole processors through it: the same bytes in every mode.

use std::time::Duration;

use serde_json::json;

use super::{bytes, kinds, large};
use crate::modes::{BodyMode, ModeOverride};
use crate::processor::Processor;
use crate::reply::{BodyReply, HeadersReply, TrailersReply};
use crate::testing::{Envoy, Got, ViolationKind, get, post, reply};
use crate::{Body, Exchange, Headers, Immediate, Reply, Stop};

const MODES: [BodyMode; 5] = [
    BodyMode::None,
    BodyMode::Buffered,
    BodyMode::BufferedPartial,
    BodyMode::Streamed,
    BodyMode::FullDuplex,
];

#[derive(Clone, Copy, Debug)]
enum How {
    Pass,
    Inspect,
    Collect,
    Forward,
    Upper,
    Length,
    Digest,
}

struct Handler(How);

impl Handler {
    async fn body(&self, mut body: Body) -> Reply<BodyReply> {
        match self.0 {
            How::Pass | How::Digest => {}
            How::Inspect => while body.inspect().await?.is_some() {},
            How::Collect => drop(body.collect().await?),
            How::Forward => {
                let (mut reader, mut writer) = body.split();
                while let Some(chunk) = reader.next().await? {
                    writer.send(chunk).await?;
                }
                return Ok(BodyReply::written());
            }
            How::Upper => {
                let all = body.collect().await?;
                return Ok(BodyReply::replace([&all[..], b"!"].concat()));
            }
            How::Length => {
                let all = body.collect().await?;
                return Ok(BodyReply::unchanged().set("x-length", all.len().to_string()));
            }
        }
        Ok(BodyReply::unchanged())
    }
}

impl Processor for Handler {
    type State = ();

    async fn request_headers(&self, _: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        let reply = HeadersReply::unchanged().set("x-seen", "up");
        Ok(match self.0 {
            How::Length => reply.after_body(),
            How::Digest => reply.metadata("ns", "key", 7),
            _ => reply,
        })
    }

    async fn request_body(&self, _: &Exchange<()>, body: Body) -> Reply<BodyReply> {
        self.body(body).await
    }

    async fn request_trailers(&self, _: &Exchange<()>, _: &Headers) -> Reply<TrailersReply> {
        Ok(TrailersReply::unchanged().set("x-trailer", "up"))
    }

    async fn response_headers(&self, _: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        Ok(HeadersReply::unchanged().set("x-seen", "down"))
    }

    async fn response_body(&self, _: &Exchange<()>, body: Body) -> Reply<BodyReply> {
        self.body(if matches!(self.0, How::Length) {
            return Ok(BodyReply::unchanged());
        } else {
            body
        })
        .await
    }
}

#[tokio::test]
async fn handlers_that_change_nothing_change_nothing_in_any_mode() {
    for how in [How::Pass, How::Inspect, How::Collect, How::Forward] {
        for mode in MODES {
            for with_empty_chunk in [false, true] {
                let mut envoy = Envoy::new(Handler(how)).modes(mode).request(large());
                if with_empty_chunk {
                    envoy = envoy.http1();
                }
                let got = envoy.await;
                assert_eq!(got.upstream().header("x-seen"), Some("up"), "{how:?} {mode:?}");
                assert!(got.upstream().body() == &bytes(), "{how:?} {mode:?}");
                assert!(got.client().body() == &bytes(), "{how:?} {mode:?}");
                assert_eq!(
                    (got.client().status(), got.client().header("x-seen")),
                    (200, Some("down"))
                );
                let length = got.upstream().header("content-length");
                let stays = matches!(mode, BodyMode::None | BodyMode::Buffered);
                assert_eq!(length, stays.then_some("40000"), "{how:?} {mode:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_handler_makes_of_a_body_arrives_in_every_mode() {
    for mode in &MODES[1..] {
        let got = Envoy::new(Handler(How::Upper))
            .modes(*mode)
            .request(post("/").body("abc"))
            .await;
        assert_eq!(got.upstream().text(), "abc!", "{mode:?}");
        assert_eq!(got.client().text(), "abc!!", "{mode:?}");
    }
    for mode in [BodyMode::Buffered, BodyMode::FullDuplex] {
        let got = Envoy::new(Handler(How::Length))
            .modes(mode)
            .request(large())
            .await;
        assert_eq!(got.upstream().header("x-length"), Some("40000"), "{mode:?}");
        assert!(got.upstream().body() == &bytes(), "{mode:?}");
    }
}

#[tokio::test]
async fn trailers_pass_and_are_changed_where_they_are_shown() {
    let request = || post("/").chunked("abc").trailer("t", "1");
    for (mode, is_shown) in [
        (BodyMode::FullDuplex, true),
        (BodyMode::Streamed, false),
        (BodyMode::Buffered, true),
    ] {
        let show = ModeOverride {
            request_trailers: Some(is_shown),
            ..ModeOverride::default()
        };
        let got = Envoy::new(Handler(How::Inspect))
            .modes(mode)
            .show(show)
            .request(request())
            .await;
        assert_eq!(got.upstream().text(), "abc", "{mode:?}");
        assert_eq!(got.upstream().trailer("t"), Some("1"), "{mode:?}");
        assert_eq!(
            got.upstream().trailer("x-trailer"),
            is_shown.then_some("up"),
            "{mode:?}"
        );
    }
}

#[tokio::test]
async fn the_upstream_answers_what_it_got() {
    let got = Envoy::new(Handler(How::Digest))
        .request(get("/path").header("X-A", "1").header("x-a", "2"))
        .upstream(|request| {
            reply(201)
                .json(json!({ "path": request.header(":path"), "a": request.header_values("x-a").count() }))
        })
        .await;
    assert_eq!(got.client().status(), 201);
    assert_eq!(got.client().json().unwrap(), json!({ "path": "/path", "a": 2 }));
    assert_eq!(got.metadata().get("ns"), Some(&json!({ "key": 7 })));
    assert_eq!(got.counts(), (2, 2));
    assert!(got.immediate().is_none() && got.details().is_none() && !got.client().is_reset());
}

/// Ends requests in different ways.
struct Ends(&'static str);

impl Processor for Ends {
    type State = ();

    async fn request_headers(&self, x: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        match self.0 {
            "deny" => Err(Immediate::new(403)
                .header("x-why", "no")
                .body("denied")
                .details("not yours")
                .into()),
            "grpc" => Err(Immediate::grpc(tonic::Code::PermissionDenied, "no").into()),
            "fail" => Err(Stop::fail("as planned")),
            "done" => Ok(HeadersReply::unchanged().set("x-seen", "1").done()),
            "replace" => Ok(HeadersReply::unchanged().replace_body("instead")),
            "slow" => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(HeadersReply::unchanged())
            }
            "more" => {
                x.more_time(crate::Direction::Request, Duration::from_secs(5));
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(HeadersReply::unchanged())
            }
            "override" => Ok(HeadersReply::unchanged().mode(ModeOverride {
                request_body: Some(BodyMode::Streamed),
                ..ModeOverride::default()
            })),
            _ => Ok(HeadersReply::unchanged()),
        }
    }

    async fn request_body(&self, _: &Exchange<()>, mut body: Body) -> Reply<BodyReply> {
        match self.0 {
            "override" => Ok(BodyReply::replace("a body of another length")),
            "half" => {
                body.inspect().await?;
                Err(Stop::fail("in the middle"))
            }
            _ => Ok(BodyReply::unchanged()),
        }
    }

    async fn response_body(&self, _: &Exchange<()>, mut body: Body) -> Reply<BodyReply> {
        if self.0 == "late" {
            body.inspect().await?;
            body.inspect().await?;
            return Err(Immediate::new(403).into());
        }
        Ok(BodyReply::unchanged())
    }
}

async fn ends(how: &'static str, mode: BodyMode) -> Got {
    Envoy::new(Ends(how)).modes(mode).request(large()).await
}

#[tokio::test]
async fn answers_of_the_processor_take_the_place_of_the_upstreams() {
    let got = ends("deny", BodyMode::FullDuplex).await;
    assert!(!got.reached_upstream());
    assert_eq!((got.immediate(), got.details()), (Some(403), Some("not_yours")));
    let client = got.client();
    assert_eq!(
        (client.status(), client.header("x-why"), client.text().as_str()),
        (403, Some("no"), "denied")
    );
    assert_eq!(
        (client.header("content-length"), client.header("content-type")),
        (Some("6"), Some("text/plain"))
    );
    let call = post("/s/m")
        .header("content-type", "application/grpc")
        .chunked("abc");
    let got = Envoy::new(Ends("grpc")).request(call).await;
    assert_eq!(
        (got.client().status(), got.client().header("grpc-status")),
        (200, Some("7"))
    );
    // With the headers of the response on their way, the client is reset.
    for (mode, is_reset) in [(BodyMode::Streamed, true), (BodyMode::FullDuplex, true)] {
        let got = ends("late", mode).await;
        assert_eq!(
            (got.immediate(), got.client().is_reset()),
            (Some(403), is_reset),
            "{mode:?}"
        );
    }
}

#[tokio::test]
async fn what_becomes_of_a_request_whose_processor_fails_is_the_filters_choice() {
    for mode in MODES {
        let got = ends("fail", mode).await;
        assert_eq!(
            (got.client().status(), got.reached_upstream()),
            (500, false),
            "{mode:?}"
        );
        let got = Envoy::new(Ends("fail"))
            .failure_mode_allow()
            .request(large())
            .await;
        assert!(got.upstream().body() == &bytes(), "{mode:?}");
    }
    // In full duplex there is no going on once a part of the body is with the processor; in 1:1 there is.
    for (mode, status) in [(BodyMode::FullDuplex, 500), (BodyMode::Streamed, 200)] {
        let got = Envoy::new(Ends("half"))
            .modes(mode)
            .failure_mode_allow()
            .request(large())
            .await;
        assert_eq!(got.client().status(), status, "{mode:?}");
        assert_eq!(got.reached_upstream(), status == 200);
    }
}

#[tokio::test]
async fn a_processor_that_is_done_is_not_asked_again() {
    let got = ends("done", BodyMode::Streamed).await;
    assert_eq!(got.upstream().header("x-seen"), Some("1"));
    assert_eq!(got.counts(), (1, 1));
    assert_eq!(got.ended(), Some(tonic::Code::Ok));
    let got = ends("replace", BodyMode::Streamed).await;
    assert_eq!(got.upstream().text(), "instead");
}

#[tokio::test(start_paused = true)]
async fn messages_have_a_timeout_where_one_is_set() {
    let with = |how| {
        Envoy::new(Ends(how))
            .message_timeout(Duration::from_millis(200))
            .request(large())
    };
    let got = with("slow").await;
    assert_eq!((got.client().status(), got.reached_upstream()), (504, false));
    assert!(with("slow").failure_mode_allow().await.reached_upstream());
    let got = with("more").await;
    assert_eq!((got.client().status(), got.prolonged()), (200, 1));
}

#[tokio::test]
async fn overrides_are_taken_where_the_filter_allows_them() {
    let got = Envoy::new(Ends("override")).request(large()).await;
    assert!(got.upstream().body() == &bytes());
    // The driver takes content-length away: Envoy would cut the body to it.
    let got = Envoy::new(Ends("override"))
        .allow_mode_override()
        .request(large())
        .await;
    assert_eq!(got.upstream().text(), "a body of another length");
    assert_eq!(got.upstream().header("content-length"), None);
}

#[tokio::test]
async fn a_body_larger_than_the_buffer_is_413_and_partly_shown_in_buffered_partial() {
    let got = Envoy::new(Handler(How::Pass))
        .modes(BodyMode::Buffered)
        .buffer_limit(10_000)
        .request(large())
        .await;
    assert_eq!((got.client().status(), got.reached_upstream()), (413, false));
    let got = Envoy::new(Handler(How::Upper))
        .modes(BodyMode::BufferedPartial)
        .buffer_limit(10_000)
        .request(large())
        .await;
    let all = bytes();
    assert!(got.upstream().body()[..] == [&all[..10_000], b"!", &all[10_000..]].concat());
}

#[tokio::test]
#[should_panic(expected = "Refused")]
async fn violations_fail_a_test_that_does_not_ask_for_them() {
    struct Wrong;
    impl Processor for Wrong {
        type State = ();
        async fn request_body(&self, _: &Exchange<()>, _: Body) -> Reply<BodyReply> {
            Ok(BodyReply::replace("x").set("content-length", "7"))
        }
    }
    let _ = Envoy::new(Wrong).modes(BodyMode::Buffered).request(large()).await;
}

#[tokio::test]
async fn a_length_that_a_processor_sets_wrong_is_refused() {
    struct Wrong;
    impl Processor for Wrong {
        type State = ();
        async fn request_body(&self, _: &Exchange<()>, _: Body) -> Reply<BodyReply> {
            Ok(BodyReply::replace("x").set("content-length", "7"))
        }
    }
    let got = Envoy::new(Wrong)
        .modes(BodyMode::Buffered)
        .request(large())
        .lenient()
        .await;
    assert_eq!(kinds(got.violations()), [ViolationKind::Refused]);
    assert_eq!(got.client().status(), 500);
}
