//! Bodies through the handlers of a chain, in every mode.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::{ALL_MODES, How, Log, linked, noted, post};
use crate::driver::tests::support::lines;
use crate::modes::BodyMode;
use crate::testing::{
    Call, Modal, messages, request_body, request_trailers, response_body, response_headers,
};

/// The bytes of the answers to a request's body, and how many there are.
fn content(answers: &[String], sent: &[&str]) -> String {
    let mut sent = sent.iter();
    answers
        .iter()
        .filter_map(|line| line.strip_prefix("request_body"))
        .map(|line| {
            let original = sent.next().copied().unwrap_or_default();
            match line.split('"').nth(1) {
                Some(replaced) => replaced.to_owned(),
                None if line.contains("clear") => String::new(),
                None => original.to_owned(),
            }
        })
        .collect()
}

async fn through(hows: &[How], mode: BodyMode, parts: &[&'static str]) -> (String, Vec<String>, Log) {
    let (chain, log) = linked(hows);
    let mut script = vec![post(mode)];
    for (index, part) in parts.iter().enumerate() {
        script.push(request_body(*part, index + 1 == parts.len()));
    }
    let (answers, ended) = messages(chain, script).await;
    let lines = lines(&answers);
    assert_eq!(ended.code(), tonic::Code::Ok, "{hows:?} {mode:?} {lines:?}");
    if mode == BodyMode::FullDuplex {
        let ends = lines.iter().filter(|line| line.ends_with(" end")).count();
        assert_eq!(ends, 1, "{hows:?} {lines:?}");
    } else {
        assert_eq!(lines.len(), parts.len() + 1, "{hows:?} {mode:?} {lines:?}");
    }
    (content(&lines, parts), lines, log)
}

#[tokio::test]
async fn bodies_go_through_every_handler_in_every_mode() {
    for mode in ALL_MODES {
        let parts: &[&str] = if mode == BodyMode::Buffered {
            &["abcdef"]
        } else {
            &["abc", "def", ""]
        };
        for (hows, expected) in [
            (&[How::Ignore, How::Ignore, How::Ignore][..], "abcdef"),
            (&[How::Inspect, How::Collect, How::Inspect], "abcdef"),
            (&[How::Whole(b'1'), How::Whole(b'2'), How::Inspect], "abcdef12"),
            (&[How::Ignore, How::Whole(b'1'), How::Whole(b'2')], "abcdef12"),
            (&[How::Collect, How::Replace("xyz"), How::Whole(b'1')], "xyz1"),
            (&[How::Replace("xyz"), How::Collect, How::Ignore], "xyz"),
            (&[How::Replace(""), How::Inspect], ""),
        ] {
            assert_eq!(through(hows, mode, parts).await.0, expected, "{hows:?} {mode:?}");
        }
    }
    let (bytes, _, log) = through(
        &[How::Inspect, How::Replace("x")],
        BodyMode::FullDuplex,
        &["ab", "cd"],
    )
    .await;
    // What the second drops the first has seen to its end.
    assert_eq!(bytes, "x");
    assert!(noted(&log).contains(&"a inspected 4".to_owned()));
}

#[tokio::test]
async fn chunks_are_answered_one_to_one_with_what_all_made_of_them() {
    let hows = [How::Suffix(b'1'), How::Inspect, How::Suffix(b'2')];
    let (_, lines, _) = through(&hows, BodyMode::Streamed, &["ab", "cd", "ef"]).await;
    assert_eq!(
        lines[1..],
        [
            "request_body body \"ab12\"",
            "request_body body \"cd12\"",
            "request_body body \"ef12\""
        ]
    );
    // What nothing changed is not sent back.
    let (_, lines, _) = through(&[How::Inspect; 3], BodyMode::Streamed, &["ab", "cd"]).await;
    assert_eq!(lines[1..], ["request_body", "request_body"]);
    let (_, lines, _) = through(&[How::Collect; 3], BodyMode::Buffered, &["ab"]).await;
    assert_eq!(lines[1..], ["request_body"]);
    let (_, lines, _) = through(&[How::Ignore; 3], BodyMode::Buffered, &["ab"]).await;
    assert_eq!(lines[1..], ["request_body"]);
}

#[tokio::test]
async fn responses_bodies_go_in_reverse() {
    for mode in ALL_MODES {
        let (chain, _) = linked(&[How::Whole(b'1'), How::Whole(b'2'), How::Whole(b'3')]);
        let script = [
            post(mode).ends(),
            response_headers([(":status", "200")]),
            response_body("x", true),
        ];
        let (answers, _) = messages(chain, script).await;
        let last = lines(&answers).pop().unwrap();
        assert!(last.contains("\"x321\""), "{mode:?} {last}");
    }
}

#[tokio::test]
async fn a_reply_to_a_body_changes_headers_where_it_can() {
    let (_, lines, _) = through(
        &[How::AfterBody(b'1'), How::AfterBody(b'2')],
        BodyMode::FullDuplex,
        &["ab", "cd"],
    )
    .await;
    assert!(lines[0].contains("x-a=4 x-b=5"), "{lines:?}");
    let (_, lines, _) = through(
        &[How::AfterBody(b'1'), How::AfterBody(b'2')],
        BodyMode::Buffered,
        &["ab"],
    )
    .await;
    assert_eq!(lines[1], "request_body x-a=2 x-b=3 body \"ab12\"");
}

#[tokio::test]
async fn trailers_come_after_the_body_and_pass_through_all() {
    let (chain, log) = linked(&[How::Inspect, How::Whole(b'1')]);
    let script = [
        post(BodyMode::FullDuplex),
        request_body("abc", false),
        request_trailers([("x-t", "0")]),
    ];
    let (answers, ended) = messages(chain, script).await;
    assert_eq!(
        lines(&answers)[1..],
        ["request_body streamed \"abc1\"", "request_trailers x-t=b"]
    );
    assert_eq!(ended.code(), tonic::Code::Ok);
    let noted: BTreeSet<String> = noted(&log).into_iter().collect();
    for line in [
        "a trailers Some(\"0\")",
        "b trailers Some(\"a\")",
        "a inspected 3",
    ] {
        assert!(noted.contains(line), "{line}: {noted:?}");
    }
}

#[tokio::test]
async fn a_slow_one_holds_up_those_before_it_and_envoy() {
    let (chain, log) = linked(&[How::Suffix(b'1'), How::Hang]);
    let mut call = Call::new(chain);
    call.send(post(BodyMode::FullDuplex));
    for _ in 0..100 {
        call.send(request_body(Bytes::from_static(b"x"), false));
    }
    assert!(call.now().await.unwrap().is_some());
    assert!(call.now().await.unwrap().is_none());
    // One in the first handler's hands, one in its output, one that the driver has read: no more.
    let read = call.stats.messages(crate::driver::stats::Phase::RequestBody);
    assert!(read <= 4, "{read} chunks were read");
    drop(call);
    assert!(noted(&log).contains(&"b cancelled with 1".to_owned()), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_is_over_its_time_in_every_mode() {
    for mode in ALL_MODES {
        for hows in [[How::Inspect, How::Hang], [How::Hang, How::Inspect]] {
            for ends in [true, false] {
                let (chain, _) = linked(&hows);
                let mut call = Call::new(chain);
                call.send(post(mode));
                call.send(request_body("x", ends));
                // The client sends no more, but the call stays open.
                let (_, ended) = tokio::time::timeout(Duration::from_secs(60), call.rest())
                    .await
                    .unwrap();
                assert_eq!(ended.code(), tonic::Code::Internal, "{mode:?} {hows:?} {ends}");
            }
        }
    }
}
