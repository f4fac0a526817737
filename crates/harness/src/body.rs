//! Request bodies that a test can watch, and check on the other side.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use sha2::{Digest as _, Sha256};
use tokio::time::Sleep;

/// What is given to the connection at once.
const PIECE: u64 = 16 * 1024;

/// A body of known content, made piece by piece as the connection takes it.
pub struct Upload {
    length: u64,
    declared: bool,
    seed: u8,
    sent: Arc<AtomicU64>,
    /// A pause before each piece but the first.
    pace: Option<(Duration, Pin<Box<Sleep>>)>,
}

/// Tells how much of an [`Upload`] the connection has taken: a client that is blocked stays where it is.
#[derive(Clone)]
pub struct Progress(Arc<AtomicU64>);

impl Upload {
    /// `length` bytes that differ with `seed`; the length is declared.
    pub fn new(length: u64, seed: u8) -> Self {
        Self {
            length,
            declared: true,
            seed,
            sent: Arc::default(),
            pace: None,
        }
    }

    /// Its length is not said beforehand: chunked over HTTP/1.
    #[must_use]
    pub fn undeclared(mut self) -> Self {
        self.declared = false;
        self
    }

    /// A client on a slow line: one piece of 16 KiB in each `period`.
    #[must_use]
    pub fn slowly(mut self, period: Duration) -> Self {
        self.pace = Some((period, Box::pin(tokio::time::sleep(Duration::ZERO))));
        self
    }

    /// How much of it has been taken, now and later.
    pub fn progress(&self) -> Progress {
        Progress(self.sent.clone())
    }

    /// What the upstream's `/echo` must say, in hexadecimal.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        let mut at = 0;
        while at < self.length {
            let piece = self.piece(at);
            at += piece.len() as u64;
            hash.update(&piece);
        }
        hexadecimal(&hash.finalize())
    }

    fn piece(&self, at: u64) -> Bytes {
        let length = PIECE.min(self.length - at);
        // Differs from piece to piece, so that a lost or doubled one changes the hash.
        let salt = (at / PIECE).to_le_bytes();
        (0..length)
            .map(|i| (i as u8) ^ salt[i as usize % 8] ^ self.seed)
            .collect::<Vec<u8>>()
            .into()
    }
}

/// The hash of a whole body, in hexadecimal.
pub fn sha256(body: &[u8]) -> String {
    hexadecimal(&Sha256::digest(body))
}

fn hexadecimal(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Progress {
    /// Bytes that the connection has taken.
    pub fn sent(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let at = self.sent.load(Ordering::Relaxed);
        if at == self.length {
            return Poll::Ready(None);
        }
        if let Some((period, sleep)) = &mut self.pace {
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let next = sleep.deadline() + *period;
            sleep.as_mut().reset(next);
        }
        let piece = self.piece(at);
        self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent.load(Ordering::Relaxed) == self.length
    }

    fn size_hint(&self) -> SizeHint {
        if self.declared {
            SizeHint::with_exact(self.length - self.sent.load(Ordering::Relaxed))
        } else {
            SizeHint::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn sends_what_it_says() {
        let upload = Upload::new(PIECE * 3 + 7, 5);
        let (expected, progress) = (upload.sha256(), upload.progress());
        let sent = upload.collect().await.unwrap().to_bytes();
        assert_eq!(
            super::sha256(&sent),
            expected,
            "the hash must be that of the body"
        );
        assert_eq!(progress.sent(), sent.len() as u64, "all must be counted");
    }
}
