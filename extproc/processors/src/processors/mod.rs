//! The processors, one file each. Each works in every body mode unless it says otherwise, and never lets pass what it could
//! not process.
//!
//! The first seven are the examples of the Python SDK and behave as they do; its Go sibling adds [`Data`], [`Dedup`] and
//! [`Masker`]. Their class names are those that the chain header names.

mod checksum;
mod compress;
mod ctx;
mod data;
mod decompress;
mod decorated;
mod dedup;
mod digest;
mod echo;
mod headers;
mod masker;
mod noop;
mod observe;
mod redirect;
mod scan;
mod timer;
mod trivial;

pub use checksum::{Checksum, HexHeader};
pub use compress::Compress;
pub use ctx::Ctx;
pub use data::Data;
pub use decompress::Decompress;
pub use decorated::decorated;
pub use dedup::Dedup;
pub use digest::Digest;
pub use echo::Echo;
pub use headers::{Change, Field, HeaderChanges, NotAHeader};
pub use masker::Masker;
pub use noop::Noop;
pub use observe::{AccessLog, Observe};
pub use redirect::{Redirect, RedirectError};
pub use scan::Scan;
pub use timer::Timer;
pub use trivial::Trivial;

use extproc::{BodyMode, Direction, Exchange, Headers};

/// Which directions a processor works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Directions {
    /// Bodies of requests.
    pub request: bool,
    /// Bodies of responses.
    pub response: bool,
}

impl Default for Directions {
    /// Both.
    fn default() -> Self {
        Self {
            request: true,
            response: true,
        }
    }
}

/// When the headers of one direction can still be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeadersAfterBody {
    /// By the reply to the body: it comes as a whole, before the headers have gone on.
    Buffered,
    /// By the reply to the body, where the reply to the headers is `after_body`.
    Withheld,
    /// Not: the headers go on before the body, or there is no body to come.
    Never,
}

impl HeadersAfterBody {
    fn of<S>(exchange: &Exchange<S>, direction: Direction, headers: &Headers) -> Self {
        if headers.end_of_stream() {
            return Self::Never;
        }
        match exchange.modes().of(direction) {
            BodyMode::Buffered | BodyMode::BufferedPartial => Self::Buffered,
            BodyMode::FullDuplex => Self::Withheld,
            BodyMode::None | BodyMode::Streamed => Self::Never,
        }
    }
}

/// Whether the body of one direction is shown at all.
fn is_shown<S>(exchange: &Exchange<S>, direction: Direction, headers: &Headers) -> bool {
    !headers.end_of_stream() && exchange.modes().of(direction) != BodyMode::None
}

/// Whether a header says yes as the Python SDK reads it: `t`, `true`, `y` or `yes`, the first letter in either case.
pub(crate) fn is_truthy(value: &[u8]) -> bool {
    matches!(
        value,
        b"t" | b"T" | b"true" | b"True" | b"y" | b"Y" | b"yes" | b"Yes"
    )
}

/// Whether headers say that the body is packed in some way, so that what looks into it sees nothing.
fn is_encoded(headers: &Headers) -> bool {
    headers
        .get_all("content-encoding")
        .any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}

/// The media type without its parameters, in lower case; none where there is no content-type.
fn media_type(headers: &Headers) -> Option<String> {
    let whole = headers.text("content-type")?;
    let bare = whole.split(';').next().unwrap_or_default().trim();
    Some(bare.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_is_what_the_sdk_takes_for_it() {
        for yes in ["t", "T", "true", "True", "y", "Y", "yes", "Yes"] {
            assert!(is_truthy(yes.as_bytes()), "{yes}");
        }
        for no in [
            "", "1", "on", "TRUE", "tRue", "YES", "yes ", "no", "false", "\u{ff}",
        ] {
            assert!(!is_truthy(no.as_bytes()), "{no}");
        }
    }
}
