//! Panics on demand, in test builds only (feature `test-panic`): the end-to-end tests show what a panic costs.
//!
//! `x-holdfast-test-panic: stream` panics in the stream's callback; `root` at this root context's next tick, `service` and
//! `relay` at the next tick of the root context that has that role. In what is shipped both functions do nothing.

use crate::filter_root::FilterRoot;

#[cfg(feature = "test-panic")]
const KEY: &str = "holdfast.test-panic";

#[cfg(feature = "test-panic")]
pub(crate) fn on_request(root: &FilterRoot) {
    let wanted = crate::host::request_header("x-holdfast-test-panic");
    match wanted.as_slice() {
        b"" => {}
        b"stream" => boom("stream"),
        b"root" => crate::host::shared_put(KEY, name(root).as_bytes()),
        other => crate::host::shared_put(KEY, other),
    }
}

#[cfg(feature = "test-panic")]
pub(crate) fn on_tick(root: &FilterRoot) {
    let wanted = crate::host::shared_get(KEY)
        .map(|(value, _)| value)
        .unwrap_or_default();
    let me = match wanted.as_slice() {
        b"service" => root.config().service,
        b"relay" => root.is_relay(),
        other => *other == *name(root).as_bytes(),
    };
    if me {
        crate::host::shared_put(KEY, b"");
        boom("root");
    }
}

#[cfg(feature = "test-panic")]
fn name(root: &FilterRoot) -> String {
    format!("root {}", root.member().map_or(0, |member| member.nonce))
}

#[cfg(feature = "test-panic")]
#[expect(clippy::panic, reason = "this is what the feature is for")]
fn boom(place: &str) {
    panic!("test panic: {place}");
}

#[cfg(not(feature = "test-panic"))]
pub(crate) fn on_request(_root: &FilterRoot) {}

#[cfg(not(feature = "test-panic"))]
pub(crate) fn on_tick(_root: &FilterRoot) {}
