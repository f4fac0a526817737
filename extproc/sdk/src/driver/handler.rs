//! One call of a handler: its panic is caught, its time is bounded, and Envoy is asked for more time where it needs some.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use prost_types::Duration as WireDuration;
use tokio::time::{Sleep, sleep};

use crate::driver::link::Link;
use crate::modes::Direction;
use crate::needs::Prolong;
use crate::stop::{Failure, FailureKind, Reply, Stop};
use crate::wire::ProcessingResponse;

/// Polls a handler; a panic in it is a failure. After that it must not be polled again.
pub(super) fn poll_guarded<T>(
    handler: Pin<&mut impl Future<Output = Reply<T>>>,
    cx: &mut Context<'_>,
) -> Poll<Reply<T>> {
    match catch_unwind(AssertUnwindSafe(|| handler.poll(cx))) {
        Ok(poll) => poll,
        Err(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no text".to_owned());
            let failure = Failure::new(FailureKind::Panic, format!("a handler panicked: {text}"));
            Poll::Ready(Err(Stop::Fail(failure)))
        }
    }
}

/// The handler is over its time.
#[derive(Debug)]
pub(super) struct Late;

/// The times of one call of a handler. Nothing is registered with the runtime until the handler has to be waited for.
pub(super) struct Times<'a> {
    link: &'a Link,
    direction: Direction,
    limit: Duration,
    prolong: Option<Prolong>,
    deadline: Pin<&'a mut Option<Sleep>>,
    before_timeout: Pin<&'a mut Option<Sleep>>,
    /// What the handler had done when the deadline was set: it starts anew when it has done more.
    progress: u64,
    prolonged: bool,
}

impl<'a> Times<'a> {
    /// `timers` is the place for them: `(pin!(None), pin!(None))`.
    pub(super) fn new(
        link: &'a Link,
        direction: Direction,
        limit: Duration,
        prolong: Option<Prolong>,
        timers: (Pin<&'a mut Option<Sleep>>, Pin<&'a mut Option<Sleep>>),
    ) -> Self {
        Self {
            link,
            direction,
            limit,
            prolong,
            deadline: timers.0,
            before_timeout: timers.1,
            progress: 0,
            prolonged: false,
        }
    }

    /// To be called whenever the handler has to be waited for. `progress` is what it has done so far; none while it is Envoy that
    /// it waits for: that time does not count. `owes` says whether Envoy waits for an answer: only then has it a time-out.
    pub(super) fn poll(&mut self, progress: Option<u64>, owes: bool, cx: &mut Context<'_>) -> Poll<Late> {
        if owes {
            self.ask_for_time(cx);
        } else {
            self.before_timeout.set(None);
        }
        let Some(progress) = progress else {
            self.deadline.set(None);
            return Poll::Pending;
        };
        if self.deadline.is_none() || progress != self.progress {
            self.progress = progress;
            self.deadline.set(Some(sleep(self.limit)));
        }
        match self.deadline.as_mut().as_pin_mut() {
            Some(deadline) => deadline.poll(cx).map(|()| Late),
            None => Poll::Pending,
        }
    }

    /// A message of this phase was answered, or came: Envoy's time-out begins anew.
    pub(super) fn restart(&mut self) {
        self.before_timeout.set(None);
        self.prolonged = false;
    }

    /// Asks Envoy for more time: where the handler says so, and before the message's time-out is over.
    fn ask_for_time(&mut self, cx: &mut Context<'_>) {
        if let Some(time) = self.link.take_time(self.direction) {
            self.ask(time);
        }
        let Some(prolong) = self.prolong.filter(|_| !self.prolonged) else {
            return;
        };
        if self.before_timeout.is_none() {
            // Half of it: Envoy counts from when it sent the message, the driver from when it waits for the handler.
            self.before_timeout.set(Some(sleep(prolong.message_timeout / 2)));
        }
        let is_over = match self.before_timeout.as_mut().as_pin_mut() {
            Some(timer) => timer.is_elapsed() || timer.poll(cx).is_ready(),
            None => false,
        };
        if is_over && self.link.is_free() {
            self.ask(prolong.to);
        }
    }

    fn ask(&mut self, time: Duration) {
        self.prolonged = true;
        let time = WireDuration {
            seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(time.subsec_nanos()).unwrap_or_default(),
        };
        self.link.answer(ProcessingResponse {
            override_message_timeout: Some(time),
            ..Default::default()
        });
    }
}

/// What a handler asked for and did not need is not asked for in a later phase.
impl Drop for Times<'_> {
    fn drop(&mut self) {
        self.link.forget_time(self.direction);
    }
}

/// Runs a handler of headers or trailers to its end, or until it is over its time.
pub(super) async fn run<T>(
    handler: impl Future<Output = Reply<T>>,
    mut times: Times<'_>,
) -> Result<Reply<T>, Late> {
    let mut handler = pin!(handler);
    poll_fn(|cx| match poll_guarded(handler.as_mut(), cx) {
        Poll::Ready(reply) => Poll::Ready(Ok(reply)),
        Poll::Pending => times.poll(Some(0), true, cx).map(Err),
    })
    .await
}
