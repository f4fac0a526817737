//! One call of a processor, with the test in the place of Envoy.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use tokio::sync::{mpsc, watch};
use tonic::Status;

use crate::body::BodyMemory;
use crate::driver::settings::{Phase, Settings};
use crate::driver::stats::Stats;
use crate::driver::{self, Answers};
use crate::exchange::Call as CallInfo;
use crate::processor::Processor;
use crate::wire::{ProcessingRequest, ProcessingResponse};

type Item = Result<ProcessingRequest, Status>;

/// How a call ended.
#[derive(Debug)]
pub enum Ended {
    /// With the status OK.
    Cleanly,
    /// With another status.
    With(Status),
}

impl Ended {
    /// The code of the status.
    #[must_use]
    pub fn code(&self) -> tonic::Code {
        match self {
            Self::Cleanly => tonic::Code::Ok,
            Self::With(status) => status.code(),
        }
    }
}

enum State {
    Starting(Pin<Box<dyn Future<Output = Result<Answers, Status>> + Send>>),
    Running(Box<Answers>),
    Over,
}

/// A call of a processor. Nothing runs unless the test asks for an answer: it is the test that stands for the connection.
pub struct Call {
    input: Option<mpsc::UnboundedSender<Item>>,
    state: State,
    #[cfg_attr(not(test), allow(dead_code, reason = "for the tests of this crate"))]
    phase: watch::Sender<Phase>,
    #[cfg_attr(not(test), allow(dead_code, reason = "for the tests of this crate"))]
    pub(crate) stats: Arc<Stats>,
    #[cfg_attr(not(test), allow(dead_code, reason = "for the tests of this crate"))]
    pub(crate) memory: Arc<BodyMemory>,
}

struct Input(mpsc::UnboundedReceiver<Item>);

impl Stream for Input {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Item>> {
        self.0.poll_recv(cx)
    }
}

impl Call {
    /// A call of `processor`, in a server as it is by default, without the chain header.
    pub fn new<P: Processor>(processor: P) -> Self {
        Self::with(processor, |_| {})
    }

    pub(crate) fn with<P: Processor>(processor: P, change: impl FnOnce(&mut Settings)) -> Self {
        let (phase, receiver) = watch::channel(Phase::Serve);
        let (input, messages) = mpsc::unbounded_channel();
        let mut settings = Settings {
            stats: Arc::default(),
            memory: BodyMemory::new(256 << 20),
            phase: receiver,
            chain_header: None,
            duration_header: None,
            on_fail: None,
            keep_headers: true,
            eager_headers: false,
        };
        change(&mut settings);
        let (stats, memory) = (settings.stats.clone(), settings.memory.clone());
        let call = CallInfo {
            keep_headers: settings.keep_headers,
            ..CallInfo::default()
        };
        let starting = driver::process(Arc::new(processor), Arc::new(settings), call, Input(messages));
        Self {
            input: Some(input),
            state: State::Starting(Box::pin(starting)),
            phase,
            stats,
            memory,
        }
    }

    /// Sends a message; it is read when the processor is ready for it.
    pub fn send(&mut self, message: ProcessingRequest) {
        self.put(Ok(message));
    }

    #[cfg_attr(not(test), allow(dead_code, reason = "for the tests of this crate"))]
    pub(crate) fn fail(&mut self, status: Status) {
        self.put(Err(status));
    }

    fn put(&mut self, item: Item) {
        if let Some(input) = &self.input {
            // Gone where the exchange has ended: then nothing is read any more.
            let _ = input.send(item);
        }
    }

    /// Sends nothing more (half-closes the call).
    pub fn close(&mut self) {
        self.input = None;
    }

    /// Whether the call has ended: no answer comes any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// The server tells its exchanges how far its stop is.
    #[cfg_attr(not(test), allow(dead_code, reason = "for the tests of this crate"))]
    pub(crate) fn stop(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// The next answer; none when the call has ended cleanly.
    ///
    /// # Errors
    /// The status with which the call ended.
    pub async fn next(&mut self) -> Result<Option<ProcessingResponse>, Status> {
        if let State::Starting(starting) = &mut self.state {
            match starting.as_mut().await {
                Ok(answers) => self.state = State::Running(Box::new(answers)),
                Err(status) => {
                    self.state = State::Over;
                    return Err(status);
                }
            }
        }
        let State::Running(answers) = &mut self.state else {
            return Ok(None);
        };
        let next = poll_fn(|cx| Pin::new(&mut **answers).poll_next(cx)).await;
        if !matches!(next, Some(Ok(_))) {
            self.state = State::Over;
        }
        next.transpose()
    }

    /// The answer that is there without more messages; none if the processor waits for one.
    ///
    /// # Errors
    /// The status with which the call ended.
    pub async fn now(&mut self) -> Result<Option<ProcessingResponse>, Status> {
        let next = std::pin::pin!(self.next());
        let mut next = Some(next);
        poll_fn(|cx| match next.as_mut().map(|next| next.as_mut().poll(cx)) {
            Some(std::task::Poll::Ready(answer)) => std::task::Poll::Ready(answer),
            _ => std::task::Poll::Ready(Ok(None)),
        })
        .await
    }

    /// Every answer that is still to come, and how the call ends.
    pub async fn rest(&mut self) -> (Vec<ProcessingResponse>, Ended) {
        let mut answers = Vec::new();
        loop {
            match self.next().await {
                Ok(Some(answer)) => answers.push(answer),
                Ok(None) => return (answers, Ended::Cleanly),
                Err(status) => return (answers, Ended::With(status)),
            }
        }
    }
}
