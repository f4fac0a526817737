//! A chain is to a client and an upstream what a filter for each of its processors would be.

mod bodies;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::driver::settings::Settings;
use crate::driver::tests::support::lines;
use crate::modes::{BodyMode, ModeOverride, Modes};
use crate::processor::{End, Processor};
use crate::reply::{BodyReply, HeadersReply, TrailersReply};
use crate::testing::{Call, Modal, messages, request_body, request_headers, response_headers, with_modes};
use crate::wire::ProcessingRequest;
use crate::{Body, Chain, Deadlines, Erased, Exchange, Headers, Immediate, Needs, Reply, Stop, chain};

type Log = Arc<Mutex<Vec<String>>>;

const ALL_MODES: [BodyMode; 3] = [BodyMode::Buffered, BodyMode::Streamed, BodyMode::FullDuplex];

fn opened(mode: BodyMode, headers: &[(&str, &str)]) -> ProcessingRequest {
    let modes = Modes {
        request: mode,
        response: mode,
    };
    with_modes(request_headers(headers.iter().copied()), modes)
}

fn post(mode: BodyMode) -> ProcessingRequest {
    opened(mode, &[(":method", "POST"), (":path", "/")])
}

/// What a body handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Ignore,
    Inspect,
    Collect,
    Suffix(u8),
    Whole(u8),
    Replace(&'static str),
    AfterBody(u8),
    Deny,
    Hang,
}

/// Writes down what it sees, and sets a header of its name to how many values of `x-seen` it saw.
struct Link {
    name: &'static str,
    how: How,
    log: Log,
}

impl Link {
    fn note(&self, text: impl AsRef<str>) {
        self.log
            .lock()
            .unwrap()
            .push(format!("{} {}", self.name, text.as_ref()));
    }

    async fn body(&self, mut body: Body) -> Reply<BodyReply> {
        Ok(match self.how {
            How::Ignore => BodyReply::unchanged(),
            How::Inspect => {
                let mut bytes = 0;
                while let Some(chunk) = body.inspect().await? {
                    bytes += chunk.len();
                }
                self.note(format!("inspected {bytes}"));
                BodyReply::unchanged()
            }
            How::Collect => {
                let all = body.collect().await?;
                self.note(format!("collected {}", String::from_utf8_lossy(&all)));
                BodyReply::unchanged()
            }
            How::Suffix(suffix) => {
                let (mut reader, mut writer) = body.split();
                while let Some(chunk) = reader.next().await? {
                    writer.send([&chunk[..], &[suffix]].concat()).await?;
                }
                BodyReply::written()
            }
            How::Whole(suffix) => BodyReply::replace([&body.collect().await?[..], &[suffix]].concat()),
            How::Replace(with) => BodyReply::replace(with),
            How::AfterBody(suffix) => {
                let all = body.collect().await?;
                BodyReply::replace([&all[..], &[suffix]].concat())
                    .set(format!("x-{}", self.name), all.len().to_string())
            }
            How::Deny => return Err(Immediate::new(403).into()),
            How::Hang => std::future::pending().await,
        })
    }
}

impl Processor for Link {
    type State = u32;

    fn name(&self) -> std::borrow::Cow<'_, str> {
        self.name.into()
    }

    fn needs(&self) -> Needs {
        Needs {
            deadlines: Deadlines {
                body_progress: Duration::from_secs(5),
                ..Deadlines::default()
            },
            ..Needs::default()
        }
    }

    async fn request_headers(&self, exchange: &Exchange<u32>, headers: &Headers) -> Reply<HeadersReply> {
        *exchange.state() += 1;
        let seen = headers.get_all("x-seen").count().to_string();
        self.note(format!("sees {seen} at {:?}", exchange.path()));
        let reply = HeadersReply::unchanged()
            .set(format!("x-{}", self.name), &seen)
            .append("x-seen", self.name)
            .set(":path", format!("/{}", self.name));
        Ok(if matches!(self.how, How::AfterBody(_)) {
            reply.after_body()
        } else {
            reply
        })
    }

    async fn request_body(&self, _: &Exchange<u32>, body: Body) -> Reply<BodyReply> {
        self.body(body).await
    }

    async fn request_trailers(&self, _: &Exchange<u32>, trailers: &Headers) -> Reply<TrailersReply> {
        self.note(format!("trailers {:?}", trailers.text("x-t")));
        Ok(TrailersReply::unchanged().set("x-t", self.name))
    }

    async fn response_headers(&self, exchange: &Exchange<u32>, headers: &Headers) -> Reply<HeadersReply> {
        *exchange.state() += 10;
        self.note(format!("response after {:?}", headers.text("x-last")));
        Ok(HeadersReply::unchanged().set("x-last", self.name))
    }

    async fn response_body(&self, _: &Exchange<u32>, body: Body) -> Reply<BodyReply> {
        self.body(body).await
    }

    fn ended(&self, exchange: &Exchange<u32>, end: End) {
        self.note(format!("{} with {}", end.name(), *exchange.state()));
    }
}

fn linked(hows: &[How]) -> (Chain, Log) {
    let log = Log::default();
    let names = ["a", "b", "c"];
    let links = hows.iter().zip(names).map(|(how, name)| {
        Erased::new(Link {
            name,
            how: *how,
            log: log.clone(),
        })
    });
    (Chain::of(links), log.clone())
}

fn noted(log: &Log) -> Vec<String> {
    log.lock().unwrap().clone()
}

#[tokio::test]
async fn requests_go_in_order_and_responses_in_reverse() {
    let (chain, log) = linked(&[How::Ignore; 3]);
    let script = [
        opened(BodyMode::None, &[(":method", "GET"), (":path", "/")]).ends(),
        response_headers([(":status", "200")]).ends(),
    ];
    let (answers, ended) = messages(chain, script).await;
    assert_eq!(ended.code(), tonic::Code::Ok);
    assert_eq!(
        lines(&answers),
        [
            "request_headers :path=/c x-a=0 x-b=1 x-c=2 x-seen=c",
            "response_headers x-last=a"
        ]
    );
    assert_eq!(
        noted(&log),
        [
            "a sees 0 at Some(\"/\")",
            "b sees 1 at Some(\"/a\")",
            "c sees 2 at Some(\"/b\")",
            "c response after None",
            "b response after Some(\"c\")",
            "a response after Some(\"b\")",
            "a completed with 11",
            "b completed with 11",
            "c completed with 11",
        ]
    );
}

fn named(settings: &mut Settings) {
    settings.chain_header = Some("x-chain".to_owned());
}

#[tokio::test]
async fn the_chain_header_has_the_names_in_the_order_of_the_filter() {
    let (chain, _) = linked(&[How::Ignore; 3]);
    let mut call = Call::with(chain, named);
    call.send(post(BodyMode::None).ends());
    call.send(response_headers([(":status", "200"), ("x-chain", "z")]).ends());
    call.close();
    let (answers, _) = call.rest().await;
    assert!(lines(&answers)[1].contains("x-chain=a,b,c,z"), "{answers:?}");
}

#[tokio::test]
async fn an_answer_of_one_ends_it_for_all_and_names_those_before_it() {
    struct Deny;
    impl Processor for Deny {
        type State = ();
        async fn request_headers(&self, _: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
            Err(Immediate::new(403).into())
        }
    }
    let log = Log::default();
    let link = |name| Link {
        name,
        how: How::Ignore,
        log: log.clone(),
    };
    let mut call = Call::with(chain!(link("a"), Deny, link("c")), named);
    call.send(post(BodyMode::None).ends());
    let (answers, ended) = call.rest().await;
    assert_eq!(lines(&answers), ["immediate 403 x-chain=a,Deny"]);
    assert_eq!(ended.code(), tonic::Code::Ok);
    assert_eq!(
        noted(&log),
        [
            "a sees 0 at Some(\"/\")",
            "a responded with 1",
            "c responded with 0"
        ]
    );
    for mode in ALL_MODES {
        let (chain, _) = linked(&[How::Inspect, How::Deny, How::Collect]);
        let (answers, _) = messages(chain, [post(mode), request_body("x", true)]).await;
        assert_eq!(lines(&answers).last().unwrap(), "immediate 403", "{mode:?}");
    }
}

#[tokio::test]
async fn a_body_replaced_with_the_headers_goes_through_those_behind() {
    struct Canned;
    impl Processor for Canned {
        type State = ();
        async fn request_headers(&self, _: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
            Ok(HeadersReply::unchanged().replace_body("canned"))
        }
    }
    let log = Log::default();
    let link = Link {
        name: "b",
        how: How::Whole(b'!'),
        log: log.clone(),
    };
    let (answers, _) = messages(chain!(Canned, link), [post(BodyMode::Buffered)]).await;
    let answer = &lines(&answers)[0];
    assert!(answer.contains("content-length=7"), "{answer}");
    assert!(answer.ends_with("and-replace body \"canned!\""), "{answer}");
}

#[tokio::test]
async fn what_is_done_for_one_goes_on_for_the_others() {
    struct Brief(Log);
    impl Processor for Brief {
        type State = ();
        async fn request_headers(&self, _: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
            Ok(HeadersReply::unchanged().done())
        }
        async fn response_headers(&self, _: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
            Err(Stop::fail("is done"))
        }
        fn ended(&self, _: &Exchange<()>, _: End) {
            self.0.lock().unwrap().push("brief ended".to_owned());
        }
    }
    let log = Log::default();
    let link = Link {
        name: "b",
        how: How::Ignore,
        log: log.clone(),
    };
    let script = || {
        [
            post(BodyMode::None).ends(),
            response_headers([(":status", "200")]).ends(),
        ]
    };
    let (answers, ended) = messages(chain!(Brief(log.clone()), link), script()).await;
    assert_eq!(answers.len(), 2);
    assert_eq!(ended.code(), tonic::Code::Ok);
    let (answers, _) = messages(chain!(Brief(log.clone()), Brief(log.clone())), script()).await;
    assert_eq!(answers.len(), 1);
    let ended = noted(&log).iter().filter(|line| *line == "brief ended").count();
    assert_eq!(ended, 3);
}

#[tokio::test]
async fn a_panic_at_the_end_of_one_leaves_none_of_the_others_untold() {
    struct Panics;
    impl Processor for Panics {
        type State = ();
        fn ended(&self, _: &Exchange<()>, _: End) {
            panic!("at the end");
        }
    }
    let log = Log::default();
    let link = Link {
        name: "b",
        how: How::Ignore,
        log: log.clone(),
    };
    let mut call = Call::new(chain!(Panics, link));
    call.send(post(BodyMode::None).ends());
    call.close();
    call.rest().await;
    assert!(noted(&log).contains(&"b completed with 1".to_owned()));
    assert_eq!(call.stats.panics(), 1);
}

#[tokio::test]
async fn a_header_that_envoy_would_refuse_fails_with_its_name() {
    struct Bad;
    impl Processor for Bad {
        type State = ();
        async fn request_headers(&self, _: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
            let mode = ModeOverride::default();
            Ok(HeadersReply::unchanged().set("bad name", "1").mode(mode))
        }
    }
    let (answers, ended) = messages(chain!(Bad, Bad), [post(BodyMode::None)]).await;
    assert!(answers.is_empty());
    assert_eq!(ended.code(), tonic::Code::Internal);
}
