//! Times: what Envoy is asked for before its time-out is over, and how long a call may say nothing.

use std::time::Duration;

use tonic::Code;

use crate::driver::tests::losses::opened;
use crate::driver::tests::support::line;
use crate::modes::{BodyMode, ModeOverride};
use crate::processor::Processor;
use crate::reply::{BodyReply, HeadersReply};
use crate::testing::{Call, request_body};
use crate::{Body, Deadlines, Exchange, Headers, Needs, Prolong, Reply};

struct Nothing;

impl Processor for Nothing {
    type State = ();
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_is_asked_for_also_after_more_time_was() {
    struct Slow;
    impl Processor for Slow {
        type State = ();
        fn needs(&self) -> Needs {
            Needs {
                ask: Some(ModeOverride {
                    request_body: Some(BodyMode::Buffered),
                    ..ModeOverride::default()
                }),
                ..Needs::default()
            }
        }
        async fn request_headers(&self, x: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
            x.more_time(crate::Direction::Request, Duration::from_secs(2));
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(HeadersReply::unchanged())
        }
    }
    let mut call = Call::new(Slow);
    call.send(opened(BodyMode::None, BodyMode::None));
    assert_eq!(line(&call.next().await.unwrap().unwrap()), "nothing time 2.000");
    assert_eq!(
        line(&call.next().await.unwrap().unwrap()),
        "request_headers override 2/0"
    );
}

#[tokio::test(start_paused = true)]
async fn time_is_prolonged_for_the_chunk_that_needs_it() {
    struct Slow;
    impl Processor for Slow {
        type State = ();
        fn needs(&self) -> Needs {
            let prolong = Prolong {
                message_timeout: Duration::from_millis(200),
                to: Duration::from_secs(5),
            };
            Needs {
                deadlines: Deadlines {
                    prolong: Some(prolong),
                    ..Deadlines::default()
                },
                ..Needs::default()
            }
        }
        async fn request_body(&self, _: &Exchange<()>, mut body: Body) -> Reply<BodyReply> {
            body.inspect().await?;
            body.inspect().await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(BodyReply::unchanged())
        }
    }
    let mut call = Call::new(Slow);
    call.send(opened(BodyMode::Streamed, BodyMode::None));
    call.send(request_body("ab", false));
    assert_eq!(line(&call.next().await.unwrap().unwrap()), "request_headers");
    assert_eq!(line(&call.next().await.unwrap().unwrap()), "request_body");
    // The client pauses: Envoy waits for nothing, and is asked for nothing.
    let waiting = tokio::time::timeout(Duration::from_secs(1), call.next()).await;
    assert!(waiting.is_err(), "{waiting:?}");
    call.send(request_body("cd", true));
    assert_eq!(line(&call.next().await.unwrap().unwrap()), "nothing time 5.000");
    assert_eq!(line(&call.next().await.unwrap().unwrap()), "request_body");
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_message_ends_with_a_stop_or_after_a_while() {
    let mut call = Call::new(Nothing);
    assert_eq!(call.next().await.unwrap_err().code(), Code::DeadlineExceeded);
    let mut call = Call::new(Nothing);
    assert_eq!(call.now().await.unwrap(), None);
    call.stop(crate::driver::settings::Phase::Cut);
    assert_eq!(call.next().await.unwrap_err().code(), Code::Unavailable);
}
