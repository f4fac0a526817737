//! One call of the service: sends a phase's messages, waits for their answers, and applies them.

use std::collections::VecDeque;
use std::pin::Pin;

use bytes::{Buf, Bytes, BytesMut};
use extproc::{
    BodyMode, Server,
    wire::{
        HttpBody, HttpHeaders, HttpTrailers, METHOD, ProcessingRequest, ProcessingResponse,
        ProtocolConfiguration, processing_mode::BodySendMode, processing_request::Request,
    },
};
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message as _;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tonic::body::Body;
use tower::ServiceExt as _;

use super::{Said, Talk, said::to_wire};

enum Call {
    Waits(Pin<Box<dyn Future<Output = http::Response<Body>> + Send>>),
    Answers(Body),
    Ended,
}

/// A conversation that goes on.
pub(crate) struct Open {
    talk: Talk,
    /// None once Envoy has said all.
    sender: Option<UnboundedSender<Bytes>>,
    call: Call,
    buffer: BytesMut,
    said: Said,
    is_first: bool,
}

impl Open {
    /// Opens the call. Nothing is sent yet.
    pub(super) fn new(talk: Talk) -> Self {
        let (sender, mut receiver) = unbounded_channel::<Bytes>();
        let frames = stream::poll_fn(move |cx| {
            receiver
                .poll_recv(cx)
                .map(|bytes| bytes.map(|bytes| Ok::<_, std::io::Error>(Frame::data(bytes))))
        });
        let call = http::Request::post(METHOD)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(StreamBody::new(frames))
            .unwrap();
        let service = Server::new(talk.processor.clone()).into_service();
        let call = Box::pin(async move { service.oneshot(call).await.unwrap() });
        Self {
            said: Said::new(&talk.request, &talk.response, &talk.trailers),
            talk,
            sender: Some(sender),
            call: Call::Waits(call),
            buffer: BytesMut::new(),
            is_first: true,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.said.has_ended()
    }

    /// Headers, body and trailers of the request or of the response.
    pub(super) async fn direction(&mut self, is_request: bool, body: Option<Bytes>) {
        let (mode, fields, trailers) = if is_request {
            (self.talk.modes.request, self.talk.request.clone(), Vec::new())
        } else {
            (
                self.talk.modes.response,
                self.talk.response.clone(),
                self.talk.trailers.clone(),
            )
        };
        let headers = HttpHeaders {
            headers: Some(to_wire(&fields)),
            end_of_stream: body.is_none() && trailers.is_empty(),
        };
        self.send(if is_request {
            Request::RequestHeaders(headers)
        } else {
            Request::ResponseHeaders(headers)
        });
        let is_duplex = mode == BodyMode::FullDuplex && body.is_some();
        if !is_duplex && !self.wait().await {
            return;
        }
        let ends_with_body = trailers.is_empty();
        let chunks = body.map(|body| self.chunks(mode, body)).unwrap_or_default();
        let mut chunks = VecDeque::from(chunks);
        while let Some(chunk) = chunks.pop_front() {
            let is_last = chunks.is_empty() && ends_with_body && !self.talk.is_partial;
            let passed = chunk.clone();
            let message = HttpBody {
                body: chunk,
                end_of_stream: is_last,
            };
            if mode == BodyMode::None {
                self.said.pass(is_request, passed, is_last);
                continue;
            }
            self.send(if is_request {
                Request::RequestBody(message)
            } else {
                Request::ResponseBody(message)
            });
            if !is_duplex {
                self.said.unanswered.push_back((passed, is_last));
                if !self.wait().await {
                    return;
                }
            }
        }
        if !trailers.is_empty() {
            self.send(Request::ResponseTrailers(HttpTrailers {
                trailers: Some(to_wire(&trailers)),
            }));
            self.wait_for(|said| said.trailers_answered).await;
        } else if is_duplex {
            self.wait_for(|said| {
                if is_request {
                    said.upstream_ended
                } else {
                    said.client_ended
                }
            })
            .await;
        }
    }

    fn chunks(&self, mode: BodyMode, mut body: Bytes) -> Vec<Bytes> {
        if !matches!(mode, BodyMode::Streamed | BodyMode::FullDuplex) {
            return vec![body];
        }
        let mut chunks = Vec::new();
        while body.len() > self.talk.chunk {
            chunks.push(body.split_to(self.talk.chunk));
        }
        chunks.push(body);
        chunks
    }

    fn send(&mut self, message: Request) {
        let mode = |mode: BodyMode| match mode {
            BodyMode::None => BodySendMode::None,
            BodyMode::Streamed => BodySendMode::Streamed,
            BodyMode::Buffered => BodySendMode::Buffered,
            BodyMode::BufferedPartial => BodySendMode::BufferedPartial,
            BodyMode::FullDuplex => BodySendMode::FullDuplexStreamed,
        };
        let config = std::mem::take(&mut self.is_first).then(|| ProtocolConfiguration {
            request_body_mode: mode(self.talk.modes.request).into(),
            response_body_mode: mode(self.talk.modes.response).into(),
            ..Default::default()
        });
        let message = ProcessingRequest {
            request: Some(message),
            protocol_config: config,
            ..Default::default()
        };
        let message = message.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let frame = [&[0], &length[..], &message].concat();
        // A processor that has answered itself reads no more.
        let _ = self.sender.as_ref().unwrap().send(frame.into());
    }

    /// Takes one answer. False if there is none to come.
    async fn wait(&mut self) -> bool {
        match self.next().await {
            Some(answer) => self.said.take(answer),
            None => return false,
        }
        !self.said.has_ended()
    }

    async fn wait_for(&mut self, is_done: impl Fn(&Said) -> bool) {
        while !is_done(&self.said) && self.wait().await {}
    }

    /// The next answer, or none at the end of the call.
    async fn next(&mut self) -> Option<ProcessingResponse> {
        loop {
            if let Some(message) = self.buffered() {
                return Some(message);
            }
            match &mut self.call {
                Call::Waits(call) => {
                    let (head, body) = call.await.into_parts();
                    self.said.read_status(&head.headers);
                    self.call = Call::Answers(body);
                }
                Call::Answers(body) => match body.frame().await {
                    Some(frame) => match frame.unwrap().into_data() {
                        Ok(data) => self.buffer.extend_from_slice(&data),
                        Err(frame) => self.said.read_status(frame.trailers_ref().unwrap()),
                    },
                    None => self.call = Call::Ended,
                },
                Call::Ended => return None,
            }
        }
    }

    fn buffered(&mut self) -> Option<ProcessingResponse> {
        let length = self.buffer.get(1..5)?;
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if self.buffer.len() < 5 + length {
            return None;
        }
        self.buffer.advance(5);
        Some(ProcessingResponse::decode(self.buffer.split_to(length)).unwrap())
    }

    pub(super) async fn end(mut self) -> Said {
        self.sender = None;
        while let Some(answer) = self.next().await {
            self.said.take(answer);
        }
        self.said
    }
}
