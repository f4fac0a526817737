//! What the plugin configuration takes, and how a refusal is worded.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

fn refused(json: &str) -> String {
    Config::parse(json.as_bytes())
        .expect_err("must be refused")
        .to_string()
}

#[test]
fn only_the_cluster_is_required() {
    let config = Config::parse(br#"{"control_plane":{"cluster":"holdfast"}}"#).unwrap();
    assert_eq!(
        config.startup,
        Startup {
            wait: Duration::from_secs(2),
            then: StartupThen::Pass
        }
    );
    assert_eq!(
        config.buffers,
        Buffers {
            connection: 1 << 20,
            stream: 128 << 10
        }
    );
    assert_eq!(config.limits.requests, 20_000);
    assert_eq!(config.control_plane.authority, "holdfast");
    assert_eq!(config.ticks.heartbeat_interval(), Duration::from_millis(500));
}

#[test]
fn a_tick_is_from_ten_milliseconds_to_a_second() {
    for (period, is_taken) in [("9ms", false), ("10ms", true), ("1s", true), ("1001ms", false)] {
        let json = format!(r#"{{"control_plane":{{"cluster":"a"}},"ticks":{{"period":"{period}"}}}}"#);
        assert_eq!(Config::parse(json.as_bytes()).is_ok(), is_taken, "{period}");
    }
}

#[test]
fn errors_name_the_field() {
    assert!(refused("").contains("control_plane.cluster"));
    assert!(refused("{}").contains("control_plane"));
    assert!(refused("\n\u{f}").contains("StringValue"));
    assert!(refused(r#"{"control_plane":{"cluster":""}}"#).contains("control_plane.cluster"));
    assert!(refused(r#"{"control_plane":{"cluster":"a"},"limit":{}}"#).contains("`limit`: unknown field"));
    assert!(
        refused(r#"{"control_plane":{"cluster":"a"},"startup":{"wait":"2"}}"#)
            .contains(r#"`startup.wait`: "2" is not a duration"#)
    );
    let of_two_lines = refused(r#"{"control_plane":{"cluster":"a"},"startup":{"wait":"5\nm"}}"#);
    assert!(!of_two_lines.contains('\n'), "{of_two_lines}");
    assert!(
        refused(r#"{"control_plane":{"cluster":"a"},"limits":{"requests":0}}"#).contains("limits.requests")
    );
    assert!(
        refused(r#"{"control_plane":{"cluster":"a"},"ticks":{"period":"1ms"}}"#).contains("ticks.period")
    );
}

#[test]
fn fields_are_there_once_and_known() {
    assert!(
        refused(r#"{"control_plane":{"cluster":"a"},"service":true,"service":true}"#)
            .contains("duplicate field `service`")
    );
    assert!(
        refused(r#"{"control_plane":{"cluster":"a"},"startup":{"then":"wait"}}"#)
            .contains("`startup.then`: unknown variant `wait`, expected one of `pass`, `refuse`, `hold`")
    );
    assert!(
        refused(r#"{"control_plane":{"cluster":"a","cluster2":""}}"#).contains("`control_plane.cluster2`")
    );
    assert!(refused(r#"{"control_plane":{"cluster":"a"}} x"#).contains("trailing characters"));
}

#[test]
fn answers_say_little_unless_told_otherwise() {
    let parse = |answers: &str| {
        Config::parse(format!(r#"{{"control_plane":{{"cluster":"a"}},"answers":{answers}}}"#).as_bytes())
            .map(|config| (config.answers.detail, config.answers.server_timing))
    };
    assert_eq!(parse("{}"), Ok((Detail::Class, true)));
    assert_eq!(
        parse(r#"{"detail":"full","server_timing":false}"#),
        Ok((Detail::Full, false))
    );
    assert_eq!(parse(r#"{"detail":"none"}"#), Ok((Detail::None, true)));
    assert!(
        refused(r#"{"control_plane":{"cluster":"a"},"answers":{"detail":"all"}}"#)
            .contains("`answers.detail`: unknown variant `all`, expected one of `class`, `full`, `none`")
    );
}

#[test]
fn sizes_are_numbers_or_text() {
    let parse = |limit: &str| {
        Config::parse(format!(r#"{{"control_plane":{{"cluster":"a"}},"buffer_limit":{limit}}}"#).as_bytes())
            .map(|config| config.buffers.connection)
    };
    assert_eq!(parse("4096"), Ok(4096));
    assert_eq!(parse("4096.0"), Ok(4096));
    assert_eq!(parse(r#""64Ki""#), Ok(65_536));
    assert!(parse("0.5").is_err(), "half a byte must be refused");
    let of_streams = br#"{"control_plane":{"cluster":"a"},"stream_buffer_limit":"64Ki"}"#;
    assert_eq!(Config::parse(of_streams).unwrap().buffers.stream, 65_536);
}

#[test]
fn a_value_of_another_kind_is_refused_with_what_is_wanted() {
    for (field, wanted) in [
        (r#""startup":{"wait":2}"#, "such as"),
        (r#""limits":{"requests":"many"}"#, "number"),
    ] {
        let told = refused(&format!(r#"{{"control_plane":{{"cluster":"a"}},{field}}}"#));
        assert!(told.contains(wanted), "{told}");
    }
}
