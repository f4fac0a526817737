//! The processors by their names, and how each is set up by [`Settings`].
//!
//! A processor is found by its short name, by its class in the Python SDK, and by that with its module in front, as the SDK's
//! command line has it: `trivial`, `TrivialExtProcService`, `examples.TrivialExtProcService`.

mod make;
#[cfg(test)]
mod tests;

use extproc::{BodyMode, Erased};
use thiserror::Error;

use crate::{
    processors::{Ctx, Data, Digest, Echo, Noop, Timer, Trivial, decorated},
    settings::{SettingError, Settings},
};

/// A processor that can be had by name.
#[derive(Debug)]
pub struct Entry {
    /// The short name.
    pub name: &'static str,
    /// The class, as the Python SDK calls its own.
    pub class: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Key and meaning of each setting.
    pub settings: &'static [(&'static str, &'static str)],
    /// What Envoy is best set up to send it, besides the headers. It works in other modes as well.
    pub wants: Wants,
    make: fn(&mut Settings) -> Result<Erased, SettingError>,
}

/// What Envoy sends a processor besides the headers of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// `request_body_mode`.
    pub request: BodyMode,
    /// `response_body_mode`.
    pub response: BodyMode,
    /// `response_trailer_mode`: its state lives until the response has ended.
    pub response_trailers: bool,
}

impl Wants {
    const fn bodies(request: BodyMode, response: BodyMode) -> Self {
        Self {
            request,
            response,
            response_trailers: false,
        }
    }

    /// What several in one filter want: the mode of the first that wants a body.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let first = |one, two| if one == BodyMode::None { two } else { one };
        Self {
            request: first(self.request, other.request),
            response: first(self.response, other.response),
            response_trailers: self.response_trailers || other.response_trailers,
        }
    }
}

/// There is no such processor.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no processor `{0}`; `extproc list` names them")]
pub struct NoSuchProcessor(String);

impl Entry {
    /// Sets it up, and takes its settings out of `settings`.
    ///
    /// # Errors
    /// One of [`SettingError`].
    pub fn make(&self, settings: &mut Settings) -> Result<Erased, SettingError> {
        (self.make)(settings)
    }
}

/// The processor of this name.
///
/// # Errors
/// [`NoSuchProcessor`].
pub fn find(name: &str) -> Result<&'static Entry, NoSuchProcessor> {
    let last = name.rsplit('.').next().unwrap_or(name);
    CATALOG
        .iter()
        .find(|entry| entry.name == last || entry.class == last)
        .ok_or_else(|| NoSuchProcessor(name.to_owned()))
}

/// All processors, in the order of the list.
pub static CATALOG: &[Entry] = &[
    Entry {
        name: "noop",
        class: "BaseExtProcService",
        about: "lets everything pass unchanged",
        settings: &[],
        wants: Wants::bodies(BodyMode::None, BodyMode::None),
        make: |_| Ok(Erased::new(Noop)),
    },
    Entry {
        name: "trivial",
        class: "TrivialExtProcService",
        about: "repeats x-request-id as x-extra-request-id, up and down",
        settings: &[],
        wants: Wants::bodies(BodyMode::None, BodyMode::None),
        make: |_| Ok(Erased::new(Trivial)),
    },
    Entry {
        name: "timer",
        class: "TimerExtProcService",
        about: "x-request-started up and down, x-duration-ns down",
        settings: &[],
        wants: Wants::bodies(BodyMode::None, BodyMode::None),
        make: |_| Ok(Erased::new(Timer)),
    },
    Entry {
        name: "digest",
        class: "DigestExtProcService",
        about: "SHA-256 of tenant, method, path and body as x-request-digest, up and down",
        settings: &[],
        wants: Wants::bodies(BodyMode::Buffered, BodyMode::None),
        make: |_| Ok(Erased::new(Digest)),
    },
    Entry {
        name: "decorated",
        class: "DecoratedExtProcService",
        about: "the same, put together from closures",
        settings: &[],
        wants: Wants::bodies(BodyMode::Buffered, BodyMode::None),
        make: |_| Ok(Erased::new(decorated())),
    },
    Entry {
        name: "echo",
        class: "EchoExtProcService",
        about: "answers with the request's own headers and body where x-echo-only says so",
        settings: &[],
        wants: Wants::bodies(BodyMode::Buffered, BodyMode::None),
        make: |_| Ok(Erased::new(Echo)),
    },
    Entry {
        name: "ctx",
        class: "CtxExtProcService",
        about: "checks by x-context-id that phases of one request share their state",
        settings: &[],
        wants: Wants::bodies(BodyMode::Buffered, BodyMode::Buffered),
        make: |_| Ok(Erased::new(Ctx)),
    },
    Entry {
        name: "data",
        class: "DataExtProcService",
        about: "gives each request a random id, and shows it as x-extproc-custom-data",
        settings: &[],
        wants: Wants::bodies(BodyMode::None, BodyMode::None),
        make: |_| Ok(Erased::new(Data)),
    },
    Entry {
        name: "dedup",
        class: "DedupExtProcService",
        about: "409 for PUT, POST and PATCH while the same request is in flight",
        settings: &[
            ("capacity", "requests known at once (10000)"),
            ("refuse-when-full", "true: 503 beyond them, in place of passing"),
        ],
        wants: Wants {
            request: BodyMode::Buffered,
            response: BodyMode::None,
            response_trailers: true,
        },
        make: make::dedup,
    },
    Entry {
        name: "masker",
        class: "MaskerExtProcService",
        about: "masks values in JSON bodies",
        settings: &[
            (
                "request",
                "path in requests, such as $.users[*].ssn; repeatable (without any path: maskme, mask.me)",
            ),
            ("response", "path in responses; repeatable"),
            ("mask", "the JSON that stands there instead (\"****\")"),
            ("pass-unreadable", "true: what is called JSON and is none passes"),
        ],
        wants: Wants::bodies(BodyMode::Buffered, BodyMode::Buffered),
        make: make::masker,
    },
    Entry {
        name: "compress",
        class: "CompressExtProcService",
        about: "packs responses with gzip for clients that take it",
        settings: &[
            ("level", "0 to 9 (6)"),
            (
                "shortest",
                "bytes of content-length below which nothing is packed (256)",
            ),
        ],
        wants: Wants::bodies(BodyMode::None, BodyMode::FullDuplex),
        make: make::compress,
    },
    Entry {
        name: "decompress",
        class: "DecompressExtProcService",
        about: "unpacks gzip of requests, and of responses for clients that do not take it",
        settings: &[
            ("direction", "request, response or both (both)"),
            ("ratio", "bytes that may come out of one (100)"),
            ("total", "bytes that may come out of a body (no limit)"),
        ],
        wants: Wants::bodies(BodyMode::FullDuplex, BodyMode::FullDuplex),
        make: make::decompress,
    },
    Entry {
        name: "checksum",
        class: "ChecksumExtProcService",
        about: "checks requests against content-digest or repr-digest, and gives responses theirs",
        settings: &[
            ("required", "true: 400 for a body without a promise"),
            ("hex-header", "a header with one sum in hex instead"),
            ("algorithm", "of hex-header: sha-256, sha-512 or crc32 (sha-256)"),
        ],
        wants: Wants::bodies(BodyMode::FullDuplex, BodyMode::FullDuplex),
        make: make::checksum,
    },
    Entry {
        name: "scan",
        class: "ScanExtProcService",
        about: "lets no body pass that has a pattern in it",
        settings: &[
            ("pattern", "text to look for; repeatable"),
            ("patterns", "file with one on each line; repeatable"),
            ("ignore-case", "true: ASCII letters match in both cases"),
            ("direction", "request, response or both (both)"),
            ("status", "what a match is answered with (403)"),
            ("pass-encoded", "true: packed bodies pass unsearched"),
        ],
        wants: Wants::bodies(BodyMode::FullDuplex, BodyMode::FullDuplex),
        make: make::scan,
    },
    Entry {
        name: "headers",
        class: "HeadersExtProcService",
        about: "sets, adds and removes headers",
        settings: &[
            ("request-set", "NAME: VALUE; repeatable, as all of these"),
            ("request-append", "NAME: VALUE"),
            ("request-set-if-absent", "NAME: VALUE"),
            ("request-remove", "NAME"),
            ("response-set", "NAME: VALUE"),
            ("response-append", "NAME: VALUE"),
            ("response-set-if-absent", "NAME: VALUE"),
            ("response-remove", "NAME"),
        ],
        wants: Wants::bodies(BodyMode::None, BodyMode::None),
        make: make::headers,
    },
    Entry {
        name: "redirect",
        class: "RedirectExtProcService",
        about: "sends clients elsewhere",
        settings: &[
            ("to", "where to; {path} is the request's path and query"),
            ("from", "prefix of the path (all)"),
            ("status", "301, 302, 303, 307 or 308 (308)"),
        ],
        wants: Wants::bodies(BodyMode::None, BodyMode::None),
        make: make::redirect,
    },
    Entry {
        name: "observe",
        class: "ObserveExtProcService",
        about: "an access log on standard output, a line of JSON for each exchange",
        settings: &[],
        wants: Wants::bodies(BodyMode::Streamed, BodyMode::Streamed),
        make: make::observe,
    },
];
