//! How the simulated Envoy talks with a processor: in memory, or over a gRPC channel.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use http::uri::PathAndQuery;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::testing::call::Call;
use crate::wire::{METHOD, ProcessingRequest, ProcessingResponse};

/// Messages on their way to a remote processor: more wait for it to read.
const IN_FLIGHT: usize = 1;

/// An answer; none where the call ended with OK; or the status with which it ended.
pub(super) type Next = Result<Option<ProcessingResponse>, Status>;

pub(super) enum Transport {
    Memory(Box<Call>),
    Remote(Remote),
    #[cfg(test)]
    Canned(super::tests::Canned),
}

type Starting = Pin<Box<dyn Future<Output = Result<Response<Streaming<ProcessingResponse>>, Status>> + Send>>;

/// A call over a channel. Its answer is there only when the processor's first answer is: until then it starts.
pub(super) struct Remote {
    input: Option<mpsc::Sender<ProcessingRequest>>,
    state: RemoteState,
}

enum RemoteState {
    Starting(Starting),
    Running(Box<Streaming<ProcessingResponse>>),
    Over,
}

struct Input(mpsc::Receiver<ProcessingRequest>);

impl Stream for Input {
    type Item = ProcessingRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ProcessingRequest>> {
        self.0.poll_recv(cx)
    }
}

impl Remote {
    pub(super) fn new(channel: Channel) -> Self {
        let (input, messages) = mpsc::channel(IN_FLIGHT);
        let starting = async move {
            let mut grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
            grpc.ready()
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?;
            let request = Request::new(Input(messages));
            grpc.streaming(request, PathAndQuery::from_static(METHOD), Wire)
                .await
        };
        Self {
            input: Some(input),
            state: RemoteState::Starting(Box::pin(starting)),
        }
    }

    async fn next(&mut self) -> Next {
        if let RemoteState::Starting(starting) = &mut self.state {
            match starting.as_mut().await {
                Ok(response) => self.state = RemoteState::Running(Box::new(response.into_inner())),
                Err(status) => {
                    self.state = RemoteState::Over;
                    return Err(status);
                }
            }
        }
        let RemoteState::Running(answers) = &mut self.state else {
            return Ok(None);
        };
        let next = answers.message().await;
        if !matches!(next, Ok(Some(_))) {
            self.state = RemoteState::Over;
        }
        next
    }
}

impl Transport {
    /// Sends a message. Dropped where the call has ended.
    pub(super) async fn send(&mut self, message: ProcessingRequest) {
        match self {
            Self::Memory(call) => call.send(message),
            #[cfg(test)]
            Self::Canned(canned) => canned.send(message),
            Self::Remote(remote) => {
                if let Some(input) = &remote.input {
                    let _ = input.send(message).await;
                }
            }
        }
    }

    /// The next answer; none where the call ended cleanly. Nothing is lost where its future is dropped.
    pub(super) async fn next(&mut self) -> Next {
        match self {
            Self::Memory(call) => call.next().await,
            #[cfg(test)]
            Self::Canned(canned) => canned.next().await,
            Self::Remote(remote) => remote.next().await,
        }
    }

    /// The next answer, or, where `wants_room`, none as soon as there is room for another message.
    pub(super) async fn next_or_room(&mut self, wants_room: bool) -> Option<Next> {
        match self {
            Self::Remote(Remote {
                input: Some(input), ..
            }) if wants_room => {
                let input = input.clone();
                tokio::select! {
                    biased;
                    next = self.next() => Some(next),
                    // An error says that the call has ended, and `next` tells how.
                    _ = input.reserve() => None,
                }
            }
            Self::Remote(_) => Some(self.next().await),
            _ if wants_room => self.now().await,
            _ => Some(self.next().await),
        }
    }

    /// What is there without waiting: an answer, or the end of the call.
    pub(super) async fn now(&mut self) -> Option<Next> {
        let mut next = std::pin::pin!(self.next());
        poll_fn(|cx| match next.as_mut().poll(cx) {
            Poll::Ready(next) => Poll::Ready(Some(next)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    /// Whether the processor is in this process, so that it has done all that it can do by the time that it is waited for.
    pub(super) fn is_exact(&self) -> bool {
        !matches!(self, Self::Remote(_))
    }

    /// Ends the call as Envoy ends most of them.
    pub(super) async fn reset(&mut self) {
        match self {
            Self::Memory(call) => {
                call.fail(super::reset());
                let _ = call.rest().await;
            }
            Self::Remote(remote) => remote.state = RemoteState::Over,
            #[cfg(test)]
            Self::Canned(_) => {}
        }
    }

    /// Sends nothing more.
    pub(super) fn close(&mut self) {
        match self {
            Self::Memory(call) => call.close(),
            Self::Remote(remote) => remote.input = None,
            #[cfg(test)]
            Self::Canned(_) => {}
        }
    }
}

/// Messages as they are on the wire, from Envoy's end.
#[derive(Clone, Copy, Debug)]
struct Wire;

impl Codec for Wire {
    type Encode = ProcessingRequest;
    type Decode = ProcessingResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Wire {
    type Item = ProcessingRequest;
    type Error = Status;

    fn encode(&mut self, item: ProcessingRequest, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(to)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Wire {
    type Item = ProcessingResponse;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<ProcessingResponse>, Status> {
        ProcessingResponse::decode(from)
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}
