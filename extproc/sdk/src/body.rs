//! A body: one handle for every mode in which Envoy may send it.

mod memory;
mod pipe;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) use memory::BodyMemory;
pub(crate) use pipe::joined;
pub(crate) use pipe::{Answer, Pipe, Used};

use crate::immediate::Immediate;
use crate::modes::BodyMode;
use crate::stop::{Reply, Stop};
pub(crate) use pipe::Take;

/// The largest piece that [`BodyWriter`] takes of one `poll_write`, and that goes to Envoy in one message: 64 KiB.
pub(crate) const PIECE: usize = 64 << 10;

/// The body of a request or a response. A handler may take it as a whole ([`collect`](Self::collect)), look at it as it passes
/// ([`inspect`](Self::inspect)), or read and write it in pieces ([`split`](Self::split)); what it returns says what goes on.
///
/// | Envoy's mode | what becomes of reads and writes |
/// |---|---|
/// | BUFFERED, BUFFERED_PARTIAL | one chunk comes in; everything written is the replacement |
/// | STREAMED | a chunk is answered when the handler asks for the next or returns; what was written since replaces it |
/// | FULL_DUPLEX_STREAMED | chunks come and pieces go independently; a write waits until Envoy has taken the one before |
#[derive(Debug)]
pub struct Body {
    pipe: Arc<Pipe>,
    mode: BodyMode,
    size_hint: Option<u64>,
}

/// What [`Body::collect_up_to`] does with a body that is too large.
#[derive(Clone, Debug)]
pub enum OnTooLarge {
    /// The client gets this answer.
    Respond(Box<Immediate>),
    /// The exchange fails.
    Fail,
}

impl Body {
    pub(crate) fn new(pipe: Arc<Pipe>, mode: BodyMode, size_hint: Option<u64>) -> Self {
        Self {
            pipe,
            mode,
            size_hint,
        }
    }

    /// The mode in which Envoy sends it.
    #[must_use]
    pub fn mode(&self) -> BodyMode {
        self.mode
    }

    /// Its length in bytes by `content-length`, where the headers had one and were shown.
    #[must_use]
    pub fn size_hint(&self) -> Option<u64> {
        self.size_hint
    }

    /// The whole body. It is kept, so that [`BodyReply::unchanged`](crate::BodyReply::unchanged) sends it on without a copy.
    ///
    /// # Errors
    /// A body larger than [`Limits::collect`](crate::Limits) is answered 413, and 503 where the server's memory for bodies is
    /// used up. Pass errors on with `?`.
    pub async fn collect(&mut self) -> Reply<Bytes> {
        self.collect_up_to(
            self.pipe.collect_limit(),
            OnTooLarge::Respond(Box::new(too_large())),
        )
        .await
    }

    /// The whole body, if it has at most `limit` bytes. The server's memory for bodies bounds it as well. Nothing is lost where it
    /// fails, or where its future is dropped: with [`BodyReply::unchanged`](crate::BodyReply::unchanged) all of it still passes.
    ///
    /// # Errors
    /// As `too_large` says; see [`collect`](Self::collect).
    pub async fn collect_up_to(&mut self, limit: usize, on_too_large: OnTooLarge) -> Reply<Bytes> {
        loop {
            if self.pipe.reserve_gathered()? > limit {
                return Err(match on_too_large {
                    OnTooLarge::Respond(answer) => Stop::Respond(answer),
                    OnTooLarge::Fail => Stop::limit(
                        "collect",
                        format!("the body has more than the {limit} bytes that may be collected"),
                    ),
                });
            }
            // The pipe keeps the chunk: it is not lost where this future is dropped, or ends with an error.
            if poll_fn(|cx| self.pipe.poll_chunk(cx, Take::Collect))
                .await?
                .is_none()
            {
                return Ok(self.pipe.gathered());
            }
        }
    }

    /// Whether what came is the whole body. False only in BUFFERED_PARTIAL, after a body larger than Envoy's buffer: the rest
    /// passes unseen.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.pipe.is_complete()
    }

    /// The next chunk, which passes on unchanged when the handler asks for the one after it or returns (with
    /// [`unchanged`](crate::BodyReply::unchanged) or [`written`](crate::BodyReply::written)): for digests and meters, in constant
    /// memory. A handler that returns an error instead lets this chunk not pass. None at the end.
    ///
    /// # Errors
    /// When the exchange is over.
    pub async fn inspect(&mut self) -> Reply<Option<Bytes>> {
        poll_fn(|cx| self.pipe.poll_chunk(cx, Take::Inspect)).await
    }

    /// The pipe itself, for a chain, which reads and writes for several processors.
    pub(crate) fn into_pipe(self) -> Arc<Pipe> {
        self.pipe
    }

    /// Reads and writes in pieces, M of one for N of the other. Return [`BodyReply::written`](crate::BodyReply::written).
    #[must_use]
    pub fn split(self) -> (BodyReader, BodyWriter) {
        (
            BodyReader {
                pipe: self.pipe.clone(),
                rest: Bytes::new(),
            },
            BodyWriter { pipe: self.pipe },
        )
    }
}

fn too_large() -> Immediate {
    let mut answer = Immediate::new(413)
        .details("extproc_body_too_large")
        .body("The body is larger than this processor takes.\n");
    answer.limit = Some("collect");
    answer
}

/// The reading half of a body.
#[derive(Debug)]
pub struct BodyReader {
    pipe: Arc<Pipe>,
    /// What `AsyncRead` has not handed out of the last chunk.
    rest: Bytes,
}

impl BodyReader {
    /// The next chunk; none at the end. Envoy sends at most its buffer limit in one (1 MiB by default).
    ///
    /// # Errors
    /// When the exchange is over.
    pub async fn next(&mut self) -> Reply<Option<Bytes>> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Reply<Option<Bytes>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.rest))));
        }
        self.pipe.poll_chunk(cx, Take::Own)
    }
}

impl Stream for BodyReader {
    type Item = Reply<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_chunk(cx).map(Result::transpose)
    }
}

impl AsyncRead for BodyReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.pipe.poll_chunk(cx, Take::Own)).map_err(io_error)? {
                Some(chunk) => self.rest = chunk,
                None => return Poll::Ready(Ok(())),
            }
        }
        let bytes = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest.split_to(bytes));
        Poll::Ready(Ok(()))
    }
}

/// The writing half of a body. Its end is the handler's return: there is nothing to close.
#[derive(Debug)]
pub struct BodyWriter {
    pipe: Arc<Pipe>,
}

impl BodyWriter {
    /// Writes a piece of any size. In FULL_DUPLEX_STREAMED it waits until Envoy has taken the one before, in pieces of at most
    /// 64 KiB; in the other modes it gathers what replaces the present chunk, up to [`Limits::written`](crate::Limits).
    ///
    /// # Errors
    /// Over that limit; 503 where the server's memory for bodies is used up; and when the exchange is over.
    pub async fn send(&mut self, piece: impl Into<Bytes>) -> Reply<()> {
        poll_fn(|cx| self.pipe.poll_room(cx)).await?;
        self.pipe.write(piece.into())
    }
}

impl Sink<Bytes> for BodyWriter {
    type Error = Stop;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        self.pipe.poll_room(cx)
    }

    fn start_send(self: Pin<&mut Self>, piece: Bytes) -> Result<(), Stop> {
        self.pipe.write(piece)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BodyWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.pipe.poll_room(cx)).map_err(io_error)?;
        let piece = buf.get(..PIECE).unwrap_or(buf);
        self.pipe.write(Bytes::copy_from_slice(piece)).map_err(io_error)?;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn io_error(stop: Stop) -> io::Error {
    match stop {
        Stop::Fail(failure) => io::Error::other(failure.to_string()),
        Stop::Respond(answer) => io::Error::other(format!("the client is answered {}", answer.status())),
    }
}
