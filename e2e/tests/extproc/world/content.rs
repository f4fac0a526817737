//! Bodies of known content, and ways to send them.

use std::convert::Infallible;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::StreamBody;
use hyper::body::{Body, Frame};
use sha2::{Digest as _, Sha256};

/// The content of a test's body: lower-case letters, no two stretches of which are alike.
pub(crate) struct Content;

impl Content {
    /// So many bytes; another `seed` gives others.
    pub(crate) fn of(length: usize, seed: u32) -> Bytes {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
        let bytes = (0..length).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + u8::try_from((state >> 24) % 26).unwrap()
        });
        bytes.collect()
    }
}

/// In hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A body whose length is not declared, in frames of `size` bytes, with trailers if there are any.
pub(crate) fn frames(
    content: Bytes,
    size: usize,
    trailers: Option<HeaderMap>,
) -> impl Body<Data = Bytes, Error = Infallible> + Send + 'static {
    let pieces = (0..content.len())
        .step_by(size)
        .map(move |at| Frame::data(content.slice(at..content.len().min(at + size))));
    let frames = pieces.chain(trailers.map(Frame::trailers)).map(Ok);
    StreamBody::new(futures_util::stream::iter(frames.collect::<Vec<_>>()))
}
