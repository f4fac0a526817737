//! Held against serde_json: what it takes is taken, what it refuses is refused, and what is written is what it writes.

use proptest::prelude::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::json::{Reader, Writer};

fn accepts(text: &[u8]) -> bool {
    let read = || {
        let mut reader = Reader::new(text)?;
        reader.skip()?;
        reader.end()
    };
    read().is_ok()
}

fn check(text: &str) {
    let theirs = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    assert_eq!(accepts(text.as_bytes()), theirs, "must agree on {text:?}");
}

#[test]
fn takes_and_refuses_what_serde_does() {
    for text in [
        "",
        " ",
        "null",
        "nul",
        "true",
        "false",
        "0",
        "-0",
        "01",
        "1.",
        "1.5",
        ".5",
        "1e5",
        "1e",
        "-",
        "+1",
        "\"a\"",
        "\"a",
        "\"\\u0041\"",
        "\"\\u004\"",
        "\"\\x\"",
        "\"\u{1}\"",
        "[]",
        "[1,]",
        "[1 2]",
        "[,]",
        "[1,[2]]",
        "{}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\":{\"b\":[true,null]}} ",
        "{} {}",
        "\t\r\n 1",
    ] {
        check(text);
    }
}

#[test]
fn strings_are_unescaped() {
    let read = |text: &str| {
        Reader::new(text.as_bytes())
            .and_then(|mut reader| reader.string())
            .ok()
    };
    assert_eq!(
        read(r#""a\n\"\\\/\u00e9\ud83d\ude00""#).as_deref(),
        Some("a\n\"\\/é😀")
    );
    for bad in [r#""\ud83d""#, r#""\ud83dx""#, r#""\ud83d\u0041""#, r#""\ude00""#] {
        assert_eq!(read(bad), None, "must refuse {bad}");
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(accepts(nested(32).as_bytes()));
    assert!(!accepts(nested(100_000).as_bytes()), "must not use the stack up");
}

#[test]
fn numbers_are_whole() {
    let read = |text: &str| {
        Reader::new(text.as_bytes())
            .and_then(|mut reader| reader.u64())
            .ok()
    };
    assert_eq!(read("18446744073709551615"), Some(u64::MAX));
    assert_eq!(read("4096.0"), Some(4096));
    for bad in ["18446744073709551616", "-1", "0.5", "1e3", "\"1\"", "x"] {
        assert_eq!(read(bad), None, "must refuse {bad}");
    }
}

#[test]
fn text_is_written_as_serde_writes_it() {
    let text: String = (0..0x300)
        .filter_map(char::from_u32)
        .chain("😀".chars())
        .collect();
    assert_eq!(
        Writer::default().string(&text).finish(),
        serde_json::to_vec(&text).unwrap()
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read(text in ".*", number: u64) {
        let json = Writer::default().open().key(&text).number(number).close().finish();
        let mut found = None;
        Reader::new(&json).unwrap().object(&mut |reader, name| {
            found = Some((name.to_owned(), reader.u64()?));
            Ok(())
        }).unwrap();
        prop_assert_eq!(found, Some((text, number)));
    }

    #[test]
    fn agrees_with_serde_on_anything(text in r#"[\[\]{}:,"\\0-9eE.+\-truefalsn u]{0,24}"#) {
        check(&text);
    }

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        accepts(&bytes);
    }
}
