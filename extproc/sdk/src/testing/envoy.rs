//! A simulated Envoy: one request through the external processing filter, with the client and the upstream at its ends.
//!
//! It does with answers what Envoy 1.40 was seen to do, traps included: it is for tests that would be green against a friendlier
//! peer. What is not simulated: routes, retries, other filters, a response that overtakes its request, time but for time-outs.

mod duplex;
mod fields;
mod filter;
mod got;
mod http;
mod pass;
mod side;
#[cfg(test)]
mod tests;
mod transport;

use std::future::IntoFuture;
use std::pin::Pin;
use std::time::Duration;

use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::modes::{BodyMode, Direction, ModeOverride, Modes};
use crate::processor::Processor;
use crate::testing::call::Call;

pub use got::{Got, Violation, ViolationKind};
pub use http::{Outgoing, Seen, get, post, reply, request};

use filter::Filter;
use side::{Halt, Side};
use transport::{Remote, Transport};

type Upstream = Box<dyn FnOnce(&Seen) -> Outgoing + Send>;

/// One request through the external processing filter of a simulated Envoy 1.40. Await it for what came of it.
///
/// ```
/// use extproc::testing::{Envoy, get, reply};
/// use extproc::{BodyMode, Exchange, Headers, HeadersReply};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let processor = extproc::processor::<()>("hello").on_request_headers(
///     async |_: Exchange<()>, _: Headers| Ok(HeadersReply::unchanged().set("x-hello", "world")),
/// );
/// let got = Envoy::new(processor)
///     .modes(BodyMode::FullDuplex)
///     .request(get("/"))
///     .upstream(|request| reply(200).body(request.header("x-hello").unwrap_or("nothing").to_owned()))
///     .await;
/// assert_eq!(got.client().text(), "world");
/// # });
/// ```
#[must_use = "it does nothing until it is awaited"]
pub struct Envoy {
    transport: Transport,
    filter: Filter,
    request: Outgoing,
    upstream: Upstream,
    is_lenient: bool,
    closes: bool,
}

impl Envoy {
    /// With `processor` in memory, in a server as it is by default, without the chain header.
    pub fn new(processor: impl Processor) -> Self {
        Self::with(Transport::Memory(Box::new(Call::new(processor))))
    }

    /// With a processor in any language, by its address: `http://127.0.0.1:50051`. The connection is made when it is needed.
    ///
    /// # Errors
    /// Where it is not the address of a server.
    pub fn connect(address: impl Into<String>) -> Result<Self, tonic::transport::Error> {
        Ok(Self::over(Endpoint::from_shared(address.into())?.connect_lazy()))
    }

    /// With a processor over a channel of one's own: for TLS, or a unix socket.
    pub fn over(channel: Channel) -> Self {
        Self::with(Transport::Remote(Remote::new(channel)))
    }

    fn with(transport: Transport) -> Self {
        Self {
            transport,
            filter: Filter::default(),
            request: get("/"),
            upstream: Box::new(|request| reply(200).chunked(request.body().clone())),
            is_lenient: false,
            closes: false,
        }
    }

    /// The modes in which both bodies are shown. Trailers are shown as well where full duplex needs them. NONE without this.
    pub fn modes(self, mode: BodyMode) -> Self {
        self.modes_of(Modes {
            request: mode,
            response: mode,
        })
    }

    /// The modes in which the bodies are shown.
    pub fn modes_of(mut self, modes: Modes) -> Self {
        self.filter.set_modes(modes);
        self
    }

    /// What else is shown: both headers and no trailers without this.
    pub fn show(mut self, what: ModeOverride) -> Self {
        self.filter.show(what);
        self
    }

    /// Bytes of a chunk of a body. 16 KiB, as frames of HTTP/2 are.
    pub fn chunk(mut self, bytes: usize) -> Self {
        self.filter.chunk = bytes;
        self
    }

    /// Bodies without trailers end with an empty chunk, as those of HTTP/1 do.
    pub fn http1(mut self) -> Self {
        self.filter.ends_with_empty_chunk = true;
        self
    }

    /// `per_connection_buffer_limit_bytes`: what BUFFERED takes. 1 MiB.
    pub fn buffer_limit(mut self, bytes: usize) -> Self {
        self.filter.buffer_limit = bytes;
        self
    }

    /// `allow_mode_override: true`.
    pub fn allow_mode_override(mut self) -> Self {
        self.filter.allow_mode_override = true;
        self
    }

    /// `failure_mode_allow: true`.
    pub fn failure_mode_allow(mut self) -> Self {
        self.filter.failure_mode_allow = true;
        self
    }

    /// `message_timeout`. Envoy's is 200 ms; without this there is none, because tests run on busy machines.
    pub fn message_timeout(mut self, time: Duration) -> Self {
        self.filter.message_timeout = Some(time);
        self
    }

    /// An attribute of `request_attributes`, sent with the first message.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.filter.attributes.push((name.into(), value.into()));
        self
    }

    /// The client's request. Without it: `GET /`.
    pub fn request(mut self, request: Outgoing) -> Self {
        self.request = request;
        self
    }

    /// What the upstream answers to the request as it gets it. Without it: 200 with the request's body.
    pub fn upstream(mut self, upstream: impl FnOnce(&Seen) -> Outgoing + Send + 'static) -> Self {
        self.upstream = Box::new(upstream);
        self
    }

    /// At the end the call is half-closed and not reset (the runtime flag `ext_proc_graceful_grpc_close`): [`Got::ended`] tells
    /// how the processor ends it.
    pub fn graceful(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Violations are only told ([`Got::violations`]). Without this they fail the test.
    pub fn lenient(mut self) -> Self {
        self.is_lenient = true;
        self
    }

    #[allow(clippy::panic, reason = "it is for tests, which fail so")]
    async fn run(self) -> Got {
        let mut side = Side::new(self.transport, self.filter);
        side.is_grpc = self
            .request
            .headers
            .text("content-type")
            .is_some_and(|kind| kind.starts_with("application/grpc"));
        let passed = match side.pass(Direction::Request, self.request).await {
            Ok(request) => {
                let response = (self.upstream)(&request);
                side.got.upstream = Some(request);
                side.pass(Direction::Response, response).await
            }
            Err(halt) => Err(halt),
        };
        side.got.client = match passed {
            Ok(seen) | Err(Halt::Answer(seen)) => seen,
        };
        side.finish(self.closes).await;
        let got = side.got;
        if !self.is_lenient && !got.violations.is_empty() {
            let all: Vec<String> = got.violations.iter().map(ToString::to_string).collect();
            panic!(
                "the processor's answers are not as Envoy takes them:\n{}",
                all.join("\n")
            );
        }
        got
    }
}

impl Side {
    /// The response is through: Envoy ends the call.
    async fn finish(&mut self, closes: bool) {
        let immediate = self.got.immediate.is_some();
        if self.is_over && !immediate {
            return;
        }
        if closes || immediate {
            self.transport.close();
            match self.transport.next().await {
                Ok(None) => self.got.ended = Some(tonic::Code::Ok),
                Ok(Some(_)) => self.violates(ViolationKind::Spurious, "an answer after the last one"),
                Err(status) => self.got.ended = Some(status.code()),
            }
            return;
        }
        match self.transport.now().await {
            Some(Ok(Some(_))) => self.violates(ViolationKind::Spurious, "an answer after the last one"),
            Some(Ok(None)) => self.got.ended = Some(tonic::Code::Ok),
            Some(Err(status)) => self.got.ended = Some(status.code()),
            None => self.transport.reset().await,
        }
    }
}

impl IntoFuture for Envoy {
    type Output = Got;
    type IntoFuture = Pin<Box<dyn Future<Output = Got> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// What tonic reports where Envoy resets a call: an error that has the connection's as its source.
fn reset() -> Status {
    Status::from_error(Box::new(std::io::Error::other("the call was reset")))
}
