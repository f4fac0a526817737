//! Names, settings and refusals of all processors.

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
