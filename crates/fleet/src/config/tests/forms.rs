//! The forms of texts: the longest that is taken, and by how little another is none.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use super::super::keys::{ClusterKey, HostKey};
use super::super::units::{HumanDuration, Size};
use super::super::words::{AgentPrefix, Authority, GroupVersion, Name, ObjectKind, UrlPath};
use super::*;

#[test]
fn a_name_is_as_kubernetes_has_it() {
    let (longest, longer) = ("a".repeat(253), "a".repeat(254));
    takes::<Name>(&["a", "9", "a-b.c9", &longest]);
    refuses::<Name>(&["", "-a", "a-", ".a", "a.", "A", "a_b", "a b", &longer]);
}

#[test]
fn an_api_version_is_a_version_after_a_group_if_there_is_one() {
    let longest = format!("{}/v{}", "g".repeat(253), "1".repeat(62));
    takes::<GroupVersion>(&["v1", "apps/v1", "serving.knative.dev/v1beta1", &longest]);
    let longer = format!("{longest}1");
    refuses::<GroupVersion>(&[
        "",
        "v",
        "1",
        "/v1",
        "apps/",
        "apps/v",
        "apps/1",
        "Apps/v1",
        "apps/v1/x",
        "apps/v1!",
        &longer,
    ]);
}

#[test]
fn a_kind_is_a_word_that_begins_with_a_capital() {
    let (longest, longer) = ("K".repeat(63), "K".repeat(64));
    takes::<ObjectKind>(&["D", "Deployment", "Kind2", &longest]);
    refuses::<ObjectKind>(&["", "deployment", "1Kind", "My-Kind", "My Kind", &longer]);
}

#[test]
fn a_path_is_what_stands_in_a_request() {
    let (longest, longer) = (format!("/{}", "a".repeat(2047)), format!("/{}", "a".repeat(2048)));
    takes::<UrlPath>(&["/", "/a?b=c#d", &longest]);
    refuses::<UrlPath>(&["", "a", "/a b", "/a\n", "/\u{e4}", &longer]);
}

#[test]
fn an_authority_is_a_host_and_a_port_if_there_is_one() {
    let (longest, longer) = ("a".repeat(255), "a".repeat(256));
    takes::<Authority>(&[
        "web",
        "web_1.example.com",
        "WEB:1",
        "web:65535",
        "127.0.0.1:80",
        "[::1]",
        "[::1]:8443",
        &longest,
    ]);
    refuses::<Authority>(&[
        "",
        ":80",
        "web:",
        "web:0",
        "web:080",
        "web:65536",
        "web:1x",
        "web:x",
        "a b",
        "a/b",
        "a:b:1",
        "::1",
        "[::1",
        "[::1]1",
        "[web]",
        "[]",
        &longer,
    ]);
}

#[test]
fn a_beginning_of_a_user_agent_is_printable() {
    let (longest, longer) = ("x".repeat(256), "x".repeat(257));
    takes::<AgentPrefix>(&["k", "kube-probe/1.3 (x)", " ", &longest]);
    refuses::<AgentPrefix>(&["", "a\n", "a\t", "\u{e4}", &longer]);
}

#[test]
fn keys_are_as_long_as_they_may_be_and_written_as_they_are_read() {
    let (longest, longer) = ("a".repeat(255), "a".repeat(256));
    takes::<HostKey>(&["web.example.com", "*.example.com", "[::1]", &longest]);
    refuses::<HostKey>(&["", ".", "*", "web:80", "[web]", &longer]);
    let (longest, longer) = ("a".repeat(512), "a".repeat(513));
    takes::<ClusterKey>(&["web", "outbound|80||web.shop.svc.cluster.local", "!~", &longest]);
    refuses::<ClusterKey>(&["", "a b", "a\n", "\u{e4}", &longer]);
    let key: ClusterKey = "web".parse().unwrap();
    assert_eq!(key.as_str(), "web", "must be on the wire what was written");
}

#[test]
fn a_span_of_time_is_a_year_at_most() {
    for longest in ["31536000000ms", "31536000s", "525600m", "8760h"] {
        let span: HumanDuration = longest.parse().unwrap();
        assert_eq!(span.get(), HumanDuration::MAX, "{longest}");
    }
    refuses::<HumanDuration>(&[
        "31536000001ms",
        "31536001s",
        "525601m",
        "8761h",
        "0000000000001s",
        "ms",
        "1",
    ]);
}

#[test]
fn a_size_is_what_kubernetes_can_count() {
    let longest = format!("{:021}", 7);
    assert_eq!(longest.parse::<Size>().map(Size::bytes), Ok(7), "must be read");
    assert_eq!(
        "9223372036854775807".parse::<Size>().map(Size::bytes),
        Ok(Size::MAX),
        "must be the most there is"
    );
    refuses::<Size>(&[
        "9223372036854775808",
        "8589934592Gi",
        &format!("{:022}", 7),
        "Ki",
        "1ki",
    ]);
}

#[test]
fn a_size_may_be_a_number_too() {
    let with = |bytes: &str| format!("{}\n  hold: {{maxBytes: {bytes}}}", minimal("web", "web"));
    for bytes in [0, 17, Size::MAX] {
        assert_eq!(check_ok(&with(&bytes.to_string())).hold.max_bytes, bytes);
    }
    check_refused(
        &with("9223372036854775808"),
        "spec.hold.maxBytes: 9223372036854775808 is more than 9223372036854775807 bytes",
    );
}

#[test]
fn what_is_no_text_is_told_what_to_write() {
    let with = |field: &str| format!("{}\n  {field}", minimal("web", "web"));
    for (field, expected) in [
        (
            "hold: {maxBytes: [1]}",
            "expected a size: 64Ki, 64Mi, 1Gi or a number of bytes",
        ),
        (
            "hold: {timeout: [5]}",
            "expected a duration: 500ms, 60s, 5m or 1h",
        ),
        ("idle: {after: [5]}", "expected a duration: 500ms, 60s, 5m or 1h"),
        ("confirm: {path: [5]}", "expected a path: /healthz"),
        (
            "ignore: {userAgents: [[5]]}",
            "expected the beginning of a user agent",
        ),
    ] {
        check_refused(&with(field), expected);
    }
}

#[test]
fn a_word_of_a_later_version_is_a_slip_of_the_pen_here() {
    let body = format!("{}\n  hold: {{onControlPlaneLoss: wait}}", minimal("web", "web"));
    check_refused(&body, "expected one of `hold`, `pass`, `refuse`");
    let schema = schemars::schema_for!(super::super::spec::Hold);
    let words = &schema.as_value()["properties"]["onControlPlaneLoss"]["enum"];
    assert_eq!(
        *words,
        serde_json::json!(["hold", "pass", "refuse"]),
        "the schema must say the same"
    );
}

fn takes<T>(texts: &[&str])
where
    T: FromStr<Err = String> + Display + Debug,
{
    for text in texts {
        let read = text.parse::<T>();
        let written = read.as_ref().map(ToString::to_string);
        assert_eq!(written, Ok((*text).to_owned()), "must be taken as it is");
    }
}

fn refuses<T: FromStr<Err = String> + Debug>(texts: &[&str]) {
    for text in texts {
        let refusal = text.parse::<T>().expect_err("must be refused");
        assert!(!refusal.contains('\n'), "must be one line: {refusal}");
    }
}
