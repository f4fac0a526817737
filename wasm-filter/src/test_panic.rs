//! Panics on demand, in test builds only (feature `test-panic`): the end-to-end tests show what a panic costs.
//!
//! `x-holdfast-test-panic: stream` panics in the stream's callback; `root` at this root context's next tick, `service` and
//! `relay` at the next tick of whoever has that role. In what is shipped both methods do nothing.

use crate::station::Station;

#[cfg(feature = "test-panic")]
const KEY: &str = "holdfast.test-panic";

#[cfg(feature = "test-panic")]
impl Station {
    pub(crate) fn test_panic_on_request(&self) {
        let wanted = crate::host::request_header("x-holdfast-test-panic");
        match wanted.as_slice() {
            b"" => {}
            b"stream" => boom("stream"),
            b"root" => crate::host::shared_put(KEY, self.as_victim().as_bytes()),
            other => crate::host::shared_put(KEY, other),
        }
    }

    pub(crate) fn test_panic(&self) {
        let wanted = crate::host::shared_get(KEY)
            .map(|(value, _)| value)
            .unwrap_or_default();
        let me = match wanted.as_slice() {
            b"service" => self.config.service,
            b"relay" => self.relaying.borrow().is_some(),
            other => *other == *self.as_victim().as_bytes(),
        };
        if me {
            crate::host::shared_put(KEY, b"");
            boom("root");
        }
    }

    fn as_victim(&self) -> String {
        format!("root {}", self.member().map_or(0, |member| member.nonce))
    }
}

#[cfg(feature = "test-panic")]
#[expect(clippy::panic, reason = "this is what the feature is for")]
fn boom(place: &str) {
    panic!("test panic: {place}");
}

#[cfg(not(feature = "test-panic"))]
impl Station {
    pub(crate) fn test_panic_on_request(&self) {}

    pub(crate) fn test_panic(&self) {}
}
