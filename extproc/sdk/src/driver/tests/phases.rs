//! Each message has one answer of its kind; what handlers change is in it.

use std::sync::{Arc, Mutex};

use crate::driver::tests::losses::{handler, opened};
use crate::driver::tests::support::lines;
use crate::modes::{BodyMode, ModeOverride, Modes};
use crate::processor::{End, Processor};
use crate::reply::{BodyReply, HeadersReply, TrailersReply};
use crate::sync::lock;
use crate::testing::{
    Call, Modal, messages, request_body, request_headers, request_trailers, response_body, response_headers,
    response_trailers, with_modes,
};
use crate::{Body, Exchange, Headers, Immediate, Reply};

const GET: [(&str, &str); 3] = [(":method", "GET"), (":path", "/a?b=1&c"), (":authority", "host")];
const OK: [(&str, &str); 1] = [(":status", "200")];

fn buffered() -> Modes {
    Modes {
        request: BodyMode::Buffered,
        response: BodyMode::Buffered,
    }
}

struct Nothing;

impl Processor for Nothing {
    type State = ();
}

#[tokio::test]
async fn a_processor_without_handlers_lets_everything_pass() {
    let (answers, ended) = messages(
        Nothing,
        [
            with_modes(request_headers(GET), buffered()),
            request_body("body", false),
            request_trailers([("t", "1")]),
            response_headers(OK),
            response_body("answer", true),
        ],
    )
    .await;
    assert_eq!(
        lines(&answers),
        [
            "request_headers",
            "request_body",
            "request_trailers",
            "response_headers",
            "response_body"
        ]
    );
    assert_eq!(ended.code(), tonic::Code::Ok);
}

/// Six handlers that each say what they saw.
struct Six(Arc<Mutex<Vec<String>>>);

#[derive(Default)]
struct Seen(u32);

impl Six {
    fn note(&self, x: &Exchange<Seen>, what: &str) {
        x.state().0 += 1;
        let count = x.state().0;
        lock(&self.0).push(format!("{count} {what} {:?} {:?}", x.path(), x.status()));
    }
}

impl Processor for Six {
    type State = Seen;

    async fn request_headers(&self, x: &Exchange<Seen>, headers: &Headers) -> Reply<HeadersReply> {
        self.note(x, "request headers");
        assert_eq!(headers.text("host-is"), None);
        Ok(HeadersReply::unchanged()
            .set("X-One", "1")
            .remove("gone")
            .clear_route_cache())
    }

    async fn request_body(&self, x: &Exchange<Seen>, mut body: Body) -> Reply<BodyReply> {
        let all = body.collect().await?;
        self.note(x, &format!("request body {}", all.len()));
        Ok(BodyReply::replace([&all[..], b"!"].concat()))
    }

    async fn request_trailers(&self, x: &Exchange<Seen>, trailers: &Headers) -> Reply<TrailersReply> {
        self.note(x, &format!("request trailers {:?}", trailers.text("t")));
        Ok(TrailersReply::unchanged().set("x-three", "3"))
    }

    async fn response_headers(&self, x: &Exchange<Seen>, _: &Headers) -> Reply<HeadersReply> {
        self.note(x, "response headers");
        Ok(HeadersReply::unchanged().metadata("ns", "key", 1))
    }

    async fn response_body(&self, x: &Exchange<Seen>, mut body: Body) -> Reply<BodyReply> {
        self.note(x, &format!("response body {:?}", body.size_hint()));
        body.collect().await?;
        Ok(BodyReply::unchanged().set("x-five", "5"))
    }

    async fn response_trailers(&self, x: &Exchange<Seen>, _: &Headers) -> Reply<TrailersReply> {
        self.note(x, "response trailers");
        Ok(TrailersReply::unchanged())
    }

    fn ended(&self, x: &Exchange<Seen>, end: End) {
        self.note(x, end.name());
    }
}

#[tokio::test]
async fn six_phases_share_a_state_and_each_is_answered() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (answers, _) = messages(
        Six(seen.clone()),
        [
            with_modes(
                request_headers(GET.into_iter().chain([("content-length", "4")])),
                buffered(),
            ),
            request_body("body", false),
            request_trailers([("t", "1")]),
            response_headers([(":status", "200"), ("content-length", "6")]),
            response_body("answer", false),
            response_trailers([("t", "2")]),
        ],
    )
    .await;
    assert_eq!(
        lines(&answers),
        [
            "request_headers x-one=1 -gone clear-route",
            "request_body content-length=5 body \"body!\"",
            "request_trailers x-three=3",
            "response_headers metadata 1",
            "response_body x-five=5",
            "response_trailers",
        ]
    );
    assert_eq!(
        *lock(&seen),
        [
            "1 request headers Some(\"/a\") None",
            "2 request body 4 Some(\"/a\") None",
            "3 request trailers Some(\"1\") Some(\"/a\") None",
            "4 response headers Some(\"/a\") Some(200)",
            "5 response body Some(6) Some(\"/a\") Some(200)",
            "6 response trailers Some(\"/a\") Some(200)",
            "7 completed Some(\"/a\") Some(200)",
        ]
    );
}

struct Deny;

impl Processor for Deny {
    type State = ();

    async fn request_headers(&self, _: &Exchange<()>, headers: &Headers) -> Reply<HeadersReply> {
        if !headers.contains("authorization") {
            return Err(Immediate::new(403).header("x-why", "no token").body("no").into());
        }
        Ok(HeadersReply::unchanged())
    }
}

#[tokio::test]
async fn after_an_immediate_response_the_call_ends() {
    let mut call = Call::new(Deny);
    call.send(with_modes(request_headers(GET), buffered()));
    call.send(request_body("never looked at", true));
    let (answers, ended) = call.rest().await;
    assert_eq!(lines(&answers), ["immediate 403 x-why=no token"]);
    assert_eq!(ended.code(), tonic::Code::Ok);
    assert_eq!(call.stats.ended(End::Responded), 1);
    assert_eq!(call.stats.immediates().get(&403), Some(&1));
}

#[tokio::test]
async fn responses_name_the_processors_and_immediate_ones_too() {
    let named = |settings: &mut crate::driver::settings::Settings| {
        settings.chain_header = Some("x-ext-procs-applied".to_owned());
    };
    let mut call = Call::with(Nothing, named);
    call.send(with_modes(request_headers(GET).ends(), buffered()));
    call.send(response_headers([(":status", "200"), ("x-ext-procs-applied", "Other")]).ends());
    call.close();
    let (answers, _) = call.rest().await;
    assert_eq!(
        lines(&answers),
        [
            "request_headers",
            "response_headers x-ext-procs-applied=Nothing,Other"
        ]
    );
    let mut call = Call::with(Deny, named);
    call.send(with_modes(request_headers(GET).ends(), buffered()));
    let (answers, _) = call.rest().await;
    assert_eq!(
        lines(&answers),
        ["immediate 403 x-ext-procs-applied=Deny x-why=no token"]
    );
}

struct Switch(ModeOverride);

impl Processor for Switch {
    type State = ();

    async fn request_headers(&self, _: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        Ok(HeadersReply::unchanged().mode(self.0))
    }
}

#[tokio::test]
async fn an_override_says_both_body_modes_and_takes_the_length_away() {
    let full_duplex = ModeOverride {
        request_body: Some(BodyMode::FullDuplex),
        ..ModeOverride::default()
    };
    let none_and_buffered = Modes {
        request: BodyMode::None,
        response: BodyMode::Buffered,
    };
    let (answers, _) = messages(
        Switch(full_duplex),
        [
            with_modes(
                request_headers([(":method", "POST"), ("content-length", "3")]),
                none_and_buffered,
            ),
            request_body("abc", true),
        ],
    )
    .await;
    assert_eq!(
        lines(&answers),
        [
            "request_headers -content-length override 4/2",
            "request_body streamed \"abc\" end"
        ]
    );
    // Envoy ignores it where a mode of the filter is full duplex: it is not sent.
    let base = Modes {
        request: BodyMode::None,
        response: BodyMode::FullDuplex,
    };
    let (answers, _) = messages(Switch(full_duplex), [with_modes(request_headers(GET), base)]).await;
    assert_eq!(lines(&answers), ["request_headers"]);
}

/// Seen on Envoy 1.40.0: in these modes it ignores a length that is set, and answers 500 to a body of another length than the one
/// that an override left standing.
#[tokio::test]
async fn the_length_goes_wherever_the_mode_may_change_it() {
    for base in [BodyMode::None, BodyMode::Buffered] {
        for (mode, number, answer) in [
            (BodyMode::Streamed, 1, "request_body body \"ABC\""),
            (BodyMode::BufferedPartial, 3, "request_body body \"ABC\""),
            (BodyMode::FullDuplex, 4, "request_body streamed \"ABC\" end"),
        ] {
            let wanted = ModeOverride {
                request_body: Some(mode),
                ..ModeOverride::default()
            };
            let base = Modes {
                request: base,
                response: BodyMode::None,
            };
            let first = request_headers([(":method", "POST"), ("content-length", "3")]);
            let messages = messages(
                Shout(wanted),
                [with_modes(first, base), request_body("abc", true)],
            );
            let (answers, _) = messages.await;
            assert_eq!(
                lines(&answers),
                [
                    format!("request_headers -content-length override {number}/0"),
                    answer.to_owned()
                ],
                "{base:?}, {mode:?}"
            );
        }
    }
}

struct Shout(ModeOverride);

impl Processor for Shout {
    type State = ();

    async fn request_headers(&self, _: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        Ok(HeadersReply::unchanged().mode(self.0))
    }

    async fn request_body(&self, _: &Exchange<()>, mut body: Body) -> Reply<BodyReply> {
        let whole = body.collect().await?;
        Ok(BodyReply::replace(whole.to_ascii_uppercase()))
    }
}

#[tokio::test]
async fn metadata_of_a_body_that_trailers_end_goes_with_them() {
    for mode in [BodyMode::Streamed, BodyMode::FullDuplex] {
        let tells = handler(async |_, mut body: Body| {
            while body.inspect().await?.is_some() {}
            Ok(BodyReply::unchanged().metadata("ns", "key", 1))
        });
        let script = [
            opened(mode, BodyMode::None),
            request_body("abc", false),
            request_trailers([("t", "1")]),
        ];
        let (answers, _) = messages(tells, script).await;
        let told: Vec<_> = lines(&answers)
            .into_iter()
            .filter(|line| line.contains("metadata"))
            .collect();
        assert_eq!(told.len(), 1, "{mode:?}: {:?}", lines(&answers));
    }
}
