//! The state machine of one exchange: messages of Envoy in, answers out, handlers in between.
//!
//! One future for each exchange, no task and no channel: it is polled where the answers are sent, so that a message is read only
//! when the answer before was taken. Two [lanes](lane), because messages of the response may come while the handler of the
//! request's body waits for more. The first answer is awaited before the call is answered at all ("lazy headers"): an Envoy
//! that is configured to retry then replays an exchange whose processor died before it answered.

mod conclude;
mod handler;
mod lane;
pub(crate) mod lane_body;
mod link;
pub(crate) mod settings;
pub(crate) mod stats;
#[cfg(test)]
pub(crate) mod tests;
mod trace;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tonic::Status;
use tracing::Instrument;

use crate::exchange::{Call, Core, Exchange};
use crate::modes::{Direction, Modes};
use crate::needs::Needs;
use crate::processor::{End, Processor};
use crate::stop::FailureKind;
use crate::wire::processing_request::Request;
use crate::wire::{ProcessingRequest, ProcessingResponse};

use conclude::{conclude, is_reset, reset, unreadable};
use lane::{Finish, Lane};
pub(crate) use link::Link;
use link::Message;
use settings::{Phase, Settings};

/// Rounds in one poll before other tasks get their turn.
const ROUNDS: u32 = 64;

/// How long a call may be open without its first message.
const FIRST_MESSAGE_WITHIN: Duration = Duration::from_secs(30);

type Run = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

/// The answers of one exchange, in their order.
pub(crate) struct Answers {
    core: Arc<Core>,
    run: Option<Run>,
    /// The first answer, which was awaited before the call was answered.
    first: Option<ProcessingResponse>,
    failed: Option<Status>,
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers")
            .field("core", &self.core)
            .finish_non_exhaustive()
    }
}

/// Runs one exchange. Returns when the first answer is there (or at once, where Envoy only shows or the server wants it so).
///
/// # Errors
/// The status with which an exchange ended that was answered nothing.
pub(crate) async fn process<P: Processor>(
    processor: Arc<P>,
    settings: Arc<Settings>,
    call: Call,
    input: impl Stream<Item = Result<ProcessingRequest, Status>> + Send + Unpin + 'static,
) -> Result<Answers, Status> {
    let core = Core::new(Link::default(), settings.memory.clone(), call);
    let eager = settings.eager_headers;
    let run = Box::pin(run(processor, settings, core.clone(), input));
    let mut answers = Answers {
        core,
        run: Some(run),
        first: None,
        failed: None,
    };
    if eager {
        return Ok(answers);
    }
    let first = poll_fn(|cx| match Pin::new(&mut answers).poll_next(cx) {
        Poll::Ready(first) => Poll::Ready(first.transpose()),
        Poll::Pending if answers.core.link.is_observing() => Poll::Ready(Ok(None)),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    answers.first = first;
    Ok(answers)
}

impl Stream for Answers {
    type Item = Result<ProcessingResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take().or_else(|| self.core.link.take_answer()) {
            return Poll::Ready(Some(Ok(first)));
        }
        if let Some(run) = &mut self.run {
            match run.as_mut().poll(cx) {
                Poll::Pending => {
                    return match self.core.link.take_answer() {
                        Some(answer) => Poll::Ready(Some(Ok(answer))),
                        None => Poll::Pending,
                    };
                }
                Poll::Ready(result) => {
                    self.run = None;
                    self.failed = result.err();
                    if let Some(answer) = self.core.link.take_answer() {
                        return Poll::Ready(Some(Ok(answer)));
                    }
                }
            }
        }
        Poll::Ready(self.failed.take().map(Err))
    }
}

/// Tells the processor that the exchange has ended, exactly once, also where it is dropped. Declared before the lanes, so that
/// their handlers are gone by then.
struct EndGuard<'a, P: Processor> {
    processor: &'a P,
    exchange: &'a Exchange<P::State>,
    settings: &'a Settings,
    end: Option<End>,
}

impl<P: Processor> Drop for EndGuard<'_, P> {
    fn drop(&mut self) {
        let link = &self.exchange.core.link;
        // Dropped on the way: Envoy reset the call. That is how it ends most of them.
        let end = self.end.unwrap_or(if link.is_idle() {
            End::Completed
        } else {
            End::Cancelled
        });
        self.settings.stats.end(end);
        self.exchange.core.cancel();
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.processor.ended(self.exchange, end)
        }));
        if told.is_err() {
            self.settings.stats.failure(FailureKind::Panic);
            tracing::error!(processor = %self.processor.name(), "the handler of the exchange's end panicked");
        }
    }
}

/// One exchange from its first message to its end.
async fn run<P: Processor>(
    processor: Arc<P>,
    settings: Arc<Settings>,
    core: Arc<Core>,
    mut input: impl Stream<Item = Result<ProcessingRequest, Status>> + Send + Unpin + 'static,
) -> Result<(), Status> {
    let first = match first_message(&mut input, &settings, &core.link).await? {
        Some(Ok(first)) => first,
        None => return Ok(()),
        Some(Err(status)) if is_reset(&status) => return Err(reset()),
        Some(Err(status)) => return Err(unreadable(&status)),
    };
    let span = trace::span(&*processor, core.call(), &first);
    if !first.observability_mode {
        return drive(&*processor, &settings, &core, first, input)
            .instrument(span)
            .await;
    }
    // Envoy closes the call after its `deferred_close_timeout`, whether the handlers are done or not: a task of its own goes on.
    core.link.observe();
    let exchange = async move { drive(&*processor, &settings, &core, first, input).await };
    let task = tokio::spawn(exchange.instrument(span));
    task.await
        .unwrap_or_else(|_| Err(Status::internal("the exchange was aborted")))
}

/// The first message of a call. Envoy sends it with the call: a call without one is ended by a stop, and after a while.
async fn first_message(
    input: &mut (impl Stream<Item = Result<ProcessingRequest, Status>> + Unpin),
    settings: &Settings,
    link: &Link,
) -> Result<Option<Result<ProcessingRequest, Status>>, Status> {
    let mut phase = settings.phase.clone();
    tokio::select! {
        biased;
        first = poll_fn(|cx| Pin::new(&mut *input).poll_next(cx)) => Ok(first),
        _ = stop_of(&mut phase, settings, link) => Err(Status::unavailable("the processor stops")),
        () = tokio::time::sleep(FIRST_MESSAGE_WITHIN) => {
            Err(Status::deadline_exceeded("the call has sent no message"))
        }
    }
}

/// Drives both lanes until the exchange ends.
async fn drive<P: Processor>(
    processor: &P,
    settings: &Settings,
    core: &Arc<Core>,
    first: ProcessingRequest,
    mut input: impl Stream<Item = Result<ProcessingRequest, Status>> + Send + Unpin,
) -> Result<(), Status> {
    let link = &core.link;
    let exchange: Exchange<P::State> = Exchange::new(core.clone());
    settings.stats.begin();
    let mut guard = EndGuard {
        processor,
        exchange: &exchange,
        settings,
        end: None,
    };
    let needs = processor.needs();
    let finish = match begin(processor, &needs, core, first, settings) {
        Err(finish) => Err(finish),
        Ok(()) => {
            let mut request =
                pin!(Lane::new(processor, &exchange, settings, &needs, Direction::Request).run());
            let mut response =
                pin!(Lane::new(processor, &exchange, settings, &needs, Direction::Response).run());
            let mut running = (true, true);
            let mut phase = settings.phase.clone();
            let mut stopped = pin!(async move { stop_of(&mut phase, settings, link).await });
            poll_fn(|cx| {
                link.set_waker(cx.waker());
                if let Poll::Ready(end) = stopped.as_mut().poll(cx) {
                    return Poll::Ready(Err(Ended::Stopped(end)));
                }
                for _ in 0..ROUNDS {
                    if link.may_read() {
                        read(&mut input, core, settings, cx)?;
                    }
                    poll_lane(request.as_mut(), &mut running.0, cx)?;
                    poll_lane(response.as_mut(), &mut running.1, cx)?;
                    if running == (false, false) {
                        return Poll::Ready(Ok(()));
                    }
                    if !link.is_worth_another_round() {
                        return Poll::Pending;
                    }
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await
        }
    };
    let (end, result) = conclude(processor, &exchange, settings, finish).await;
    guard.end = end;
    result
}

/// How both lanes came to an end before their input did.
enum Ended {
    Finished(Finish),
    Stopped(End),
    /// Envoy reset the call.
    Reset,
}

impl From<Finish> for Ended {
    fn from(finish: Finish) -> Self {
        Self::Finished(finish)
    }
}

fn poll_lane(
    lane: Pin<&mut impl Future<Output = Result<(), Finish>>>,
    running: &mut bool,
    cx: &mut Context<'_>,
) -> Result<(), Ended> {
    if *running && let Poll::Ready(result) = lane.poll(cx) {
        *running = false;
        result?;
    }
    Ok(())
}

/// Reads one message, if there is one, and holds it for its lane.
fn read(
    input: &mut (impl Stream<Item = Result<ProcessingRequest, Status>> + Unpin),
    core: &Core,
    settings: &Settings,
    cx: &mut Context<'_>,
) -> Result<(), Ended> {
    match Pin::new(input).poll_next(cx) {
        Poll::Pending => Ok(()),
        Poll::Ready(Some(Ok(message))) => Ok(take(core, message, settings)?),
        Poll::Ready(None) => {
            core.link.end_input();
            Ok(())
        }
        Poll::Ready(Some(Err(status))) if is_reset(&status) => {
            if core.link.is_observing() {
                core.link.end_input();
                return Ok(());
            }
            Err(Ended::Reset)
        }
        Poll::Ready(Some(Err(status))) => Err(Finish::Refuse(unreadable(&status)).into()),
    }
}

/// Looks at the first message: the modes, and whether the processor can work in them.
fn begin(
    processor: &impl Processor,
    needs: &Needs,
    core: &Core,
    first: ProcessingRequest,
    settings: &Settings,
) -> Result<(), Ended> {
    let modes = match &first.protocol_config {
        Some(config) => Modes::from_wire(config).map_err(|mode| {
            Finish::Refuse(Status::failed_precondition(format!(
                "body mode {mode} is not supported by this processor"
            )))
        })?,
        None => needs.assume.unwrap_or(Modes {
            request: crate::modes::BodyMode::Streamed,
            response: crate::modes::BodyMode::Streamed,
        }),
    };
    for (direction, accepts) in [
        (Direction::Request, needs.request),
        (Direction::Response, needs.response),
    ] {
        let mode = modes.of(direction);
        if !accepts.accepts(mode) {
            let (direction, mode, name) = (direction.name(), mode.name(), processor.name());
            let text = format!(
                "{name} cannot work with {direction}_body_mode {mode}: set one of {accepts:?} in the filter's processing_mode"
            );
            return Err(Finish::Refuse(Status::failed_precondition(text)).into());
        }
    }
    core.link.set_base(modes);
    take(core, first, settings)?;
    Ok(())
}

/// Holds a message for its lane.
fn take(core: &Core, message: ProcessingRequest, settings: &Settings) -> Result<(), Finish> {
    use stats::Phase;
    if !message.attributes.is_empty() || message.metadata_context.is_some() {
        core.add_context(message.attributes, message.metadata_context);
    }
    let (direction, phase, message) = match message.request {
        Some(Request::RequestHeaders(headers)) => (
            Direction::Request,
            Phase::RequestHeaders,
            Message::Headers(headers),
        ),
        Some(Request::ResponseHeaders(headers)) => (
            Direction::Response,
            Phase::ResponseHeaders,
            Message::Headers(headers),
        ),
        Some(Request::RequestBody(body)) => (Direction::Request, Phase::RequestBody, Message::Body(body)),
        Some(Request::ResponseBody(body)) => (Direction::Response, Phase::ResponseBody, Message::Body(body)),
        Some(Request::RequestTrailers(trailers)) => (
            Direction::Request,
            Phase::RequestTrailers,
            Message::Trailers(trailers),
        ),
        Some(Request::ResponseTrailers(trailers)) => (
            Direction::Response,
            Phase::ResponseTrailers,
            Message::Trailers(trailers),
        ),
        None => {
            return Err(Finish::Refuse(Status::unimplemented(
                "a message of no phase that this processor knows",
            )));
        }
    };
    settings.stats.message(phase);
    core.link.hold(direction, message);
    Ok(())
}

/// Ends when the server says that this exchange is to end.
async fn stop_of(phase: &mut tokio::sync::watch::Receiver<Phase>, settings: &Settings, link: &Link) -> End {
    loop {
        match *phase.borrow_and_update() {
            Phase::Serve => {}
            Phase::HandOver if link.is_replayable() && !settings.eager_headers => return End::HandedOver,
            Phase::HandOver => {}
            Phase::Cut => return End::Stopped,
        }
        if phase.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
