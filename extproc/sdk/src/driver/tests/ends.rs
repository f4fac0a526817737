//! However an exchange ends, it ends once, with the right status, and nothing is passed unprocessed in silence.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tonic::{Code, Status};

use crate::driver::settings::Phase;
use crate::driver::tests::support::{line, lines};
use crate::modes::{BodyMode, Direction, Modes};
use crate::needs::{Deadlines, Needs, OnDeadline, Prolong};
use crate::processor::{End, Processor};
use crate::reply::{BodyReply, HeadersReply};
use crate::sync::lock;
use crate::testing::{Call, Modal, request_body, request_headers, response_headers, with_modes};
use crate::wire::ProcessingRequest;
use crate::{Body, Exchange, Headers, Immediate, Reply, Stop};

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Does {
    #[default]
    Pass,
    Fail,
    Panic,
    Hang,
    HangInBody,
    WaitForInput,
    ReadThenHang,
    AskForTime,
    Misuse,
}

struct Handler {
    does: Does,
    then: OnDeadline,
    prolong: Option<Prolong>,
    ended: Arc<Mutex<Vec<End>>>,
}

impl Processor for Handler {
    type State = ();

    fn needs(&self) -> Needs {
        let deadlines = Deadlines {
            then: self.then.clone(),
            prolong: self.prolong,
            ..Deadlines::default()
        };
        Needs {
            deadlines,
            ..Needs::default()
        }
    }

    async fn request_headers(&self, x: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        match self.does {
            Does::Fail => Err(Stop::fail("secret words")),
            Does::Panic => panic!("a bug"),
            Does::Hang => pending().await,
            Does::AskForTime => {
                x.more_time(Direction::Request, Duration::from_millis(1500));
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(HeadersReply::unchanged())
            }
            Does::Misuse => Ok(HeadersReply::unchanged().set("transfer-encoding", "chunked")),
            _ => Ok(HeadersReply::unchanged()),
        }
    }

    async fn request_body(&self, _: &Exchange<()>, mut body: Body) -> Reply<BodyReply> {
        match self.does {
            Does::HangInBody => pending().await,
            Does::WaitForInput => {
                body.collect().await?;
            }
            Does::ReadThenHang => {
                body.inspect().await?;
                pending::<()>().await;
            }
            _ => {}
        }
        Ok(BodyReply::unchanged())
    }

    fn ended(&self, _: &Exchange<()>, end: End) {
        lock(&self.ended).push(end);
    }
}

struct Tried {
    call: Call,
    ended: Arc<Mutex<Vec<End>>>,
}

fn tried(does: Does, change: impl FnOnce(&mut Handler)) -> Tried {
    let ended = Arc::new(Mutex::new(Vec::new()));
    let mut handler = Handler {
        does,
        then: OnDeadline::Fail,
        prolong: None,
        ended: ended.clone(),
    };
    change(&mut handler);
    Tried {
        call: Call::new(handler),
        ended,
    }
}

fn opened(mode: BodyMode) -> ProcessingRequest {
    with_modes(
        request_headers([(":method", "POST")]),
        Modes {
            request: mode,
            response: BodyMode::None,
        },
    )
}

fn reset() -> Status {
    Status::from_error(Box::new(std::io::Error::other("reset")))
}

#[tokio::test]
async fn failures_end_with_an_error_and_say_nothing_of_themselves() {
    for (does, kind) in [
        (Does::Fail, "handler"),
        (Does::Panic, "panic"),
        (Does::Misuse, "misuse"),
    ] {
        let Tried { mut call, ended } = tried(does, |_| {});
        call.send(opened(BodyMode::None));
        let status = call.next().await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::Internal, "the processor failed"),
            "{does:?}"
        );
        assert_eq!(*lock(&ended), [End::Failed]);
        assert_eq!(call.stats.failures().get(kind), Some(&1));
    }
}

#[tokio::test]
async fn a_failure_may_be_answered_instead() {
    let ended = Arc::default();
    let handler = Handler {
        does: Does::Fail,
        then: OnDeadline::Fail,
        prolong: None,
        ended,
    };
    let mut call = Call::with(handler, |settings| settings.on_fail = Some(Immediate::new(502)));
    call.send(opened(BodyMode::None));
    assert_eq!(lines(&call.rest().await.0), ["immediate 502"]);
}

#[tokio::test(start_paused = true)]
async fn handlers_have_deadlines_in_every_mode() {
    for mode in [BodyMode::Buffered, BodyMode::Streamed, BodyMode::FullDuplex] {
        let Tried { mut call, ended } = tried(Does::HangInBody, |_| {});
        let began = tokio::time::Instant::now();
        call.send(opened(mode));
        call.send(request_body("abc", false));
        let (answers, how) = call.rest().await;
        assert_eq!(lines(&answers), ["request_headers"]);
        assert_eq!(how.code(), Code::Internal, "{mode:?}");
        assert_eq!(began.elapsed().as_secs(), 60, "{mode:?}");
        assert_eq!(*lock(&ended), [End::Failed]);
    }
    let Tried { mut call, .. } = tried(Does::Hang, |_| {});
    let began = tokio::time::Instant::now();
    call.send(opened(BodyMode::None));
    assert_eq!(call.next().await.unwrap_err().code(), Code::Internal);
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn what_happens_at_a_deadline_is_the_processors_choice() {
    let respond = OnDeadline::Respond(Box::new(Immediate::new(504)));
    let Tried { mut call, .. } = tried(Does::Hang, |handler| handler.then = respond);
    call.send(opened(BodyMode::None));
    assert_eq!(lines(&call.rest().await.0), ["immediate 504"]);
    let Tried { mut call, .. } = tried(Does::HangInBody, |handler| handler.then = OnDeadline::Continue);
    call.send(opened(BodyMode::FullDuplex));
    call.send(request_body("abc", true));
    call.close();
    assert_eq!(
        lines(&call.rest().await.0),
        ["request_headers", "request_body streamed \"abc\" end"]
    );
    let Tried { mut call, .. } = tried(Does::ReadThenHang, |handler| handler.then = OnDeadline::Continue);
    call.send(opened(BodyMode::FullDuplex));
    call.send(request_body("abc", true));
    assert_eq!(call.rest().await.1.code(), Code::Internal);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_envoy_is_not_the_handlers_time() {
    let Tried { mut call, .. } = tried(Does::WaitForInput, |_| {});
    call.send(opened(BodyMode::FullDuplex));
    assert_eq!(line(&call.next().await.unwrap().unwrap()), "request_headers");
    call.send(request_body("abc", false));
    let waited = tokio::time::timeout(Duration::from_secs(600), call.next()).await;
    assert!(waited.is_err(), "{waited:?}");
    call.send(request_body("def", true));
    assert_eq!(
        line(&call.next().await.unwrap().unwrap()),
        "request_body streamed \"abcdef\" end"
    );
}

#[tokio::test(start_paused = true)]
async fn envoy_is_asked_for_more_time() {
    let Tried { mut call, .. } = tried(Does::AskForTime, |_| {});
    call.send(opened(BodyMode::None));
    assert_eq!(line(&call.next().await.unwrap().unwrap()), "nothing time 1.500");
    assert_eq!(line(&call.next().await.unwrap().unwrap()), "request_headers");
    let prolong = Prolong {
        message_timeout: Duration::from_millis(200),
        to: Duration::from_secs(5),
    };
    let Tried { mut call, .. } = tried(Does::HangInBody, |handler| handler.prolong = Some(prolong));
    call.send(opened(BodyMode::Buffered));
    call.send(request_body("abc", true));
    assert_eq!(line(&call.next().await.unwrap().unwrap()), "request_headers");
    let began = tokio::time::Instant::now();
    assert_eq!(line(&call.next().await.unwrap().unwrap()), "nothing time 5.000");
    assert_eq!(began.elapsed().as_millis(), 100);
    assert_eq!(call.next().await.unwrap_err().code(), Code::Internal);
}

#[tokio::test]
async fn a_reset_is_a_normal_end_and_one_in_the_middle_is_told_apart() {
    let Tried { mut call, ended } = tried(Does::Pass, |_| {});
    call.send(opened(BodyMode::None).ends());
    assert_eq!(line(&call.next().await.unwrap().unwrap()), "request_headers");
    call.fail(reset());
    assert_eq!(call.next().await.unwrap_err().code(), Code::Cancelled);
    assert_eq!(*lock(&ended), [End::Completed]);

    let Tried { mut call, ended } = tried(Does::Hang, |_| {});
    call.send(opened(BodyMode::None));
    assert_eq!(call.now().await.unwrap(), None);
    call.fail(reset());
    assert_eq!(call.next().await.unwrap_err().code(), Code::Cancelled);
    assert_eq!(*lock(&ended), [End::Cancelled]);

    let Tried { mut call, ended } = tried(Does::Hang, |_| {});
    call.send(opened(BodyMode::None));
    assert_eq!(call.now().await.unwrap(), None);
    drop(call);
    assert_eq!(*lock(&ended), [End::Cancelled]);
}

#[tokio::test]
async fn what_cannot_be_read_ends_with_an_error() {
    for first in [true, false] {
        let Tried { mut call, .. } = tried(Does::Pass, |_| {});
        if !first {
            call.send(opened(BodyMode::Buffered));
        }
        call.fail(Status::out_of_range("message length too large"));
        let (_, ended) = call.rest().await;
        assert_eq!(ended.code(), Code::OutOfRange);
    }
    let Tried { mut call, ended } = tried(Does::Pass, |_| {});
    call.send(opened(BodyMode::None));
    call.send(ProcessingRequest::default());
    assert_eq!(call.rest().await.1.code(), Code::Unimplemented);
    assert_eq!(*lock(&ended), [End::Failed]);
    let Tried { mut call, .. } = tried(Does::Pass, |_| {});
    call.send(opened(BodyMode::None));
    call.send(opened(BodyMode::None));
    assert_eq!(call.rest().await.1.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn full_duplex_never_ends_cleanly_before_its_body_has() {
    for does in [Does::Pass, Does::WaitForInput] {
        let Tried { mut call, .. } = tried(does, |_| {});
        call.send(opened(BodyMode::FullDuplex));
        call.send(request_body("abc", false));
        call.close();
        let (_, ended) = call.rest().await;
        assert_eq!(ended.code(), Code::Cancelled, "{does:?}");
    }
}

#[tokio::test]
async fn a_second_end_is_counted_and_ignored() {
    let Tried { mut call, .. } = tried(Does::Pass, |_| {});
    call.send(opened(BodyMode::FullDuplex));
    call.send(request_body("abc", true));
    call.send(request_body("", true));
    call.close();
    let (answers, ended) = call.rest().await;
    assert_eq!(
        lines(&answers),
        ["request_headers", "request_body streamed \"abc\" end"]
    );
    assert_eq!(ended.code(), Code::Ok);
    assert_eq!(call.stats.duplicate_ends(), 1);
}

#[tokio::test]
async fn a_stop_hands_over_what_is_unanswered_and_cuts_the_rest_last() {
    let Tried { mut call, ended } = tried(Does::Hang, |_| {});
    call.send(opened(BodyMode::None));
    assert_eq!(call.now().await.unwrap(), None);
    call.stop(Phase::HandOver);
    assert_eq!(call.next().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(*lock(&ended), [End::HandedOver]);

    let Tried { mut call, ended } = tried(Does::Pass, |_| {});
    call.send(opened(BodyMode::None));
    assert_eq!(line(&call.next().await.unwrap().unwrap()), "request_headers");
    call.stop(Phase::HandOver);
    call.send(response_headers([(":status", "200")]));
    assert_eq!(line(&call.next().await.unwrap().unwrap()), "response_headers");
    call.stop(Phase::Cut);
    assert_eq!(call.next().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(*lock(&ended), [End::Stopped]);
}

#[tokio::test(start_paused = true)]
async fn what_is_only_shown_is_not_answered() {
    let Tried { mut call, ended } = tried(Does::AskForTime, |_| {});
    let mut first = opened(BodyMode::Streamed);
    first.observability_mode = true;
    call.send(first);
    call.send(request_body("abc", true));
    call.fail(reset());
    let (answers, how) = call.rest().await;
    assert_eq!(answers, []);
    assert_eq!(how.code(), Code::Ok);
    assert_eq!(*lock(&ended), [End::Completed]);
    assert_eq!(call.stats.body_bytes(Direction::Request), 3);
}
