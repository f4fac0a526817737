//! A conversation with a processor as Envoy has it, without Envoy and without a socket: what the tests of processors are made of.
//!
//! Messages are sent as Envoy 1.40 sends them in each mode, one phase after the other, and answers are applied as it applies them.

mod open;
mod said;

use bytes::Bytes;
use extproc::{BodyMode, Erased, Modes, Processor};

pub(crate) use open::Open;
use said::Fields;
pub(crate) use said::Said;

pub(crate) const NONE: Modes = both(BodyMode::None);
pub(crate) const BUFFERED: Modes = both(BodyMode::Buffered);
pub(crate) const PARTIAL: Modes = both(BodyMode::BufferedPartial);
pub(crate) const STREAMED: Modes = both(BodyMode::Streamed);
pub(crate) const FULL_DUPLEX: Modes = both(BodyMode::FullDuplex);

const fn both(mode: BodyMode) -> Modes {
    Modes {
        request: mode,
        response: mode,
    }
}

/// A conversation to come.
pub(crate) struct Talk {
    processor: Erased,
    modes: Modes,
    request: Fields,
    response: Fields,
    trailers: Fields,
    body: Option<Bytes>,
    chunk: usize,
    is_partial: bool,
}

impl Talk {
    pub(crate) fn new(processor: impl Processor) -> Self {
        Self {
            processor: Erased::new(processor),
            modes: BUFFERED,
            request: Vec::new(),
            response: Vec::new(),
            trailers: Vec::new(),
            body: None,
            chunk: usize::MAX,
            is_partial: false,
        }
    }

    pub(crate) fn modes(mut self, modes: Modes) -> Self {
        self.modes = modes;
        self
    }

    /// The most bytes of one chunk.
    pub(crate) fn chunk(mut self, bytes: usize) -> Self {
        self.chunk = bytes;
        self
    }

    /// What BUFFERED_PARTIAL shows is not all.
    pub(crate) fn partial(mut self) -> Self {
        self.is_partial = true;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request.push((name.into(), value.into()));
        self
    }

    pub(crate) fn response_header(mut self, name: &str, value: &str) -> Self {
        self.response.retain(|(known, _)| known != name);
        self.response.push((name.into(), value.into()));
        self
    }

    pub(crate) fn response_trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.into(), value.into()));
        self
    }

    /// A request without a body.
    pub(crate) fn get(self, path: &str) -> Self {
        self.request_line("GET", path)
    }

    pub(crate) fn put(self, path: &str, body: &str) -> Self {
        self.put_bytes(path, Bytes::copy_from_slice(body.as_bytes()))
    }

    pub(crate) fn put_bytes(mut self, path: &str, body: Bytes) -> Self {
        self.body = Some(body);
        self.request_line("PUT", path)
    }

    fn request_line(mut self, method: &str, path: &str) -> Self {
        let line = [
            (":method", method),
            (":scheme", "http"),
            (":authority", "example.com"),
            (":path", path),
        ];
        let line = line.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.request.splice(..0, line);
        self
    }

    /// The whole conversation, where the upstream answers so. Without a body the response ends with its headers.
    pub(crate) async fn reply(self, status: u16, body: &str) -> Said {
        self.reply_bytes(status, Bytes::copy_from_slice(body.as_bytes()))
            .await
    }

    pub(crate) async fn reply_bytes(mut self, status: u16, body: Bytes) -> Said {
        self.response.insert(0, (":status".into(), status.to_string()));
        let mut open = self.open().await;
        if !open.has_ended() {
            let body = Some(body).filter(|body| !body.is_empty());
            open.direction(false, body).await;
        }
        open.end().await
    }

    /// The conversation up to the response.
    pub(crate) async fn open(self) -> Open {
        let body = self.body.clone();
        let mut open = Open::new(self);
        open.direction(true, body).await;
        open
    }
}

/// Waits until something is so, for what other threads do.
pub(crate) async fn eventually(mut is_so: impl FnMut() -> bool) {
    for _ in 0..5_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    panic!("must come true");
}
