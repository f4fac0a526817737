//! Every benchmark still works: it measures what it says, with little work. No time is looked at.

use bench::{Name, Report, Size};
use clap::ValueEnum as _;
use harness::skip::skip;

/// What it found; nothing, and said so, where it cannot run.
async fn check(name: Name) -> Option<Report> {
    if !has_h2load() {
        return None;
    }
    let report = name
        .measure(Size::Quick)
        .await
        .unwrap_or_else(|error| panic!("{name}: {error:#}"));
    let table = report.markdown();
    assert!(report.quick, "{name}: must say that its figures mean nothing");
    assert!(
        !report.figures.is_empty(),
        "{name}: must measure something: {table}"
    );
    assert!(!report.goals.is_empty(), "{name}: must name its goals: {table}");
    Some(report)
}

/// False, and said so, where it is not installed; a failure in CI.
fn has_h2load() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join("h2load").is_file());
    if !found {
        skip("no h2load on PATH: apt-get install nghttp2-client");
    }
    found
}

#[test]
fn each_benchmark_is_tried_here() {
    let source = include_str!("quick.rs");
    for name in Name::value_variants() {
        let call = format!("check(Name::{name:?})");
        assert!(source.contains(&call), "a test must say {call}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warm() {
    check(Name::Warm).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hop() {
    check(Name::Hop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held() {
    check(Name::Held).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release() {
    check(Name::Release).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wake() {
    check(Name::Wake).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn burst() {
    let Some(report) = check(Name::Burst).await else {
        return;
    };
    let errors = report.goals.iter().find(|goal| goal.what.starts_with("errors"));
    let errors = errors.expect("errors are counted");
    assert!(errors.met, "every request must be answered with 200: {errors:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies() {
    check(Name::Bodies).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle() {
    check(Name::Idle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fleet() {
    check(Name::Fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn churn() {
    check(Name::Churn).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn size() {
    check(Name::Size).await;
}
