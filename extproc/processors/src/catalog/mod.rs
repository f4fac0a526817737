//! The processors by their names, and how each is set up by [`Settings`].
//!
//! A processor is found by its short name, by its class in the Python SDK, and by that with its module in front, as the SDK's
//! command line has it: `trivial`, `TrivialExtProcService`, `examples.TrivialExtProcService`.

mod make;

use extproc::Erased;
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
    make: fn(&mut Settings) -> Result<Erased, SettingError>,
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
        make: |_| Ok(Erased::new(Noop)),
    },
    Entry {
        name: "trivial",
        class: "TrivialExtProcService",
        about: "repeats x-request-id as x-extra-request-id, up and down",
        settings: &[],
        make: |_| Ok(Erased::new(Trivial)),
    },
    Entry {
        name: "timer",
        class: "TimerExtProcService",
        about: "x-request-started up and down, x-duration-ns down",
        settings: &[],
        make: |_| Ok(Erased::new(Timer)),
    },
    Entry {
        name: "digest",
        class: "DigestExtProcService",
        about: "SHA-256 of tenant, method, path and body as x-request-digest, up and down",
        settings: &[],
        make: |_| Ok(Erased::new(Digest)),
    },
    Entry {
        name: "decorated",
        class: "DecoratedExtProcService",
        about: "the same, put together from closures",
        settings: &[],
        make: |_| Ok(Erased::new(decorated())),
    },
    Entry {
        name: "echo",
        class: "EchoExtProcService",
        about: "answers with the request's own headers and body where x-echo-only says so",
        settings: &[],
        make: |_| Ok(Erased::new(Echo)),
    },
    Entry {
        name: "ctx",
        class: "CtxExtProcService",
        about: "checks by x-context-id that phases of one request share their state",
        settings: &[],
        make: |_| Ok(Erased::new(Ctx)),
    },
    Entry {
        name: "data",
        class: "DataExtProcService",
        about: "gives each request a random id, and shows it as x-extproc-custom-data",
        settings: &[],
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
        make: make::redirect,
    },
    Entry {
        name: "observe",
        class: "ObserveExtProcService",
        about: "an access log on standard output, a line of JSON for each exchange",
        settings: &[],
        make: make::observe,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use extproc::Processor;

    use super::*;

    #[test]
    fn a_processor_is_found_by_each_of_its_names() {
        for name in [
            "trivial",
            "TrivialExtProcService",
            "examples.TrivialExtProcService",
        ] {
            assert_eq!(find(name).unwrap().name, "trivial", "{name}");
        }
        assert_eq!(find("envoy_extproc_sdk.BaseExtProcService").unwrap().name, "noop");
        for name in ["", "trivia", "Trivial", "examples."] {
            assert_eq!(find(name).unwrap_err(), NoSuchProcessor(name.into()));
        }
    }

    #[test]
    fn names_are_their_own() {
        let names: BTreeSet<_> = CATALOG
            .iter()
            .flat_map(|entry| [entry.name, entry.class])
            .collect();
        assert_eq!(names.len(), 2 * CATALOG.len());
    }

    #[test]
    fn the_chain_header_names_classes_of_the_python_sdk() {
        for name in ["noop", "trivial", "timer", "digest", "decorated", "echo", "ctx"] {
            let entry = find(name).unwrap();
            let made = entry.make(&mut Settings::default()).unwrap();
            assert_eq!(made.name(), entry.class);
        }
    }

    #[test]
    fn every_setting_is_taken() {
        check("noop", &[]);
        check("dedup", &["capacity=5", "refuse-when-full=true"]);
        check(
            "masker",
            &[
                "request=a.b",
                "response=$.c[*]",
                "mask=null",
                "pass-unreadable=true",
            ],
        );
        check("compress", &["level=9", "shortest=0"]);
        check("decompress", &["direction=request", "ratio=20", "total=1000000"]);
        check(
            "checksum",
            &["required=true", "hex-header=X-Sum", "algorithm=crc32"],
        );
        let every = [
            "pattern=a",
            "pattern=b",
            "ignore-case=true",
            "direction=both",
            "status=451",
            "pass-encoded=false",
        ];
        let file = concat!("patterns=", env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        check("scan", &[&every[..], &[file]].concat());
        let every = [
            "request-set=a: b",
            "request-append=a: b",
            "request-set-if-absent=a: b",
            "request-remove=a",
            "response-set=a: b",
            "response-append=a: b",
            "response-set-if-absent=a: b",
            "response-remove=a",
        ];
        check("headers", &every);
        check(
            "redirect",
            &["to=https://example.com{path}", "from=/old", "status=301"],
        );
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_refused_with_its_key() {
        for (name, settings, key) in [
            ("dedup", &["capacity=0"][..], "capacity"),
            ("masker", &["request=a..b"], "request"),
            ("masker", &["mask=****"], "mask"),
            ("compress", &["level=10"], "level"),
            ("decompress", &["direction=up"], "direction"),
            ("checksum", &["algorithm=crc32"], "hex-header"),
            ("checksum", &["hex-header=x", "algorithm=md5"], "algorithm"),
            ("scan", &[], "pattern"),
            ("scan", &["pattern="], "pattern"),
            ("scan", &["pattern=a", "status=200"], "status"),
            ("scan", &["patterns=/does/not/exist"], "patterns"),
            ("headers", &["request-set=a"], "request-set"),
            ("headers", &[], "request-set"),
            ("redirect", &[], "to"),
            ("redirect", &["to=/a b"], "to"),
            ("redirect", &["to=/a", "status=200"], "to"),
        ] {
            let made = find(name).unwrap().make(&mut Settings::parse(settings).unwrap());
            let refused = made.map(|_| ()).unwrap_err().to_string();
            assert!(
                refused.contains(key) && refused.lines().count() == 1,
                "{name}: {refused}"
            );
        }
    }

    /// All of `given` must be taken, and documented.
    fn check(name: &str, given: &[&str]) {
        let entry = find(name).unwrap();
        let mut settings = Settings::parse(given).unwrap();
        assert!(entry.make(&mut settings).is_ok(), "{name}");
        assert_eq!(settings.finish(), Ok(()), "{name}");
        let keys: BTreeSet<_> = given.iter().map(|text| text.split('=').next().unwrap()).collect();
        let documented: BTreeSet<_> = entry.settings.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, documented, "{name}");
    }
}
