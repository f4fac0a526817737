//! What a gate reads of a request's headers. Bytes as they came: nothing here takes them for UTF-8.

use std::time::Duration;

use crate::config::Buffers;

/// What the cold path must know of a request. Bytes as they came, UTF-8 or not.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// The route's cluster.
    pub cluster: &'a [u8],
    /// `:authority`.
    pub authority: &'a [u8],
    /// `:path`, query included.
    pub path: &'a [u8],
    /// `user-agent`.
    pub user_agent: &'a [u8],
    /// `content-type`.
    pub content_type: &'a [u8],
    /// `grpc-timeout`.
    pub grpc_timeout: &'a [u8],
    /// `content-length`.
    pub content_length: &'a [u8],
    /// The headers are all there is.
    pub end_of_stream: bool,
}

/// What Envoy knows of a request's size and way, asked for only if it is to be held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Bytes of the headers' names and values.
    pub head: u64,
    /// It is a stream beside others on its connection (HTTP/2, HTTP/3): Envoy takes in a stream's window of its body at most, twice.
    pub multiplexed: bool,
}

/// Charged for each held request beside its headers and its body: its stream, its part of a connection, the filters' contexts. Held
/// alone on its HTTP/1 connection a request was seen to take 24 KB of Envoy's memory, as one of many on an HTTP/2 connection 13 KB.
pub const REQUEST_CHARGE: u64 = 24 << 10;

/// Each byte of the headers was seen to take three of Envoy's memory.
const HEAD_FACTOR: u64 = 3;

/// A request that outlives its callback, until the first snapshot says what it is for.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) cluster: Box<[u8]>,
    pub(super) authority: Box<[u8]>,
    pub(super) path: Box<[u8]>,
    pub(super) user_agent: Box<[u8]>,
    pub(super) grpc: bool,
    pub(super) grpc_timeout: Option<Duration>,
    pub(super) body: Body,
    pub(super) weight: Weight,
}

/// How much body a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    None,
    Known(u64),
    Unknown,
}

impl Owned {
    pub(super) fn new(request: &Request<'_>) -> Self {
        let grpc = is_grpc(request.content_type);
        Self {
            cluster: request.cluster.into(),
            authority: request.authority.into(),
            path: request.path.into(),
            user_agent: request.user_agent.into(),
            grpc,
            grpc_timeout: if grpc {
                parse_grpc_timeout(request.grpc_timeout)
            } else {
                None
            },
            body: Body::of(request),
            weight: Weight::default(),
        }
    }
}

impl Owned {
    /// What it is charged if a body of unknown length is charged `unknown`.
    pub(super) fn charge(&self, unknown: u64, buffers: Buffers) -> u64 {
        let Weight { head, multiplexed } = self.weight;
        let most = if multiplexed {
            buffers.stream
        } else {
            buffers.connection
        };
        REQUEST_CHARGE
            .saturating_add(head.saturating_mul(HEAD_FACTOR))
            .saturating_add(self.body.charge(unknown, most))
    }

    /// What its target charges it if it was taken in before the first snapshot: never more than it was charged then, so
    /// that the Envoy's quota is given back what was taken.
    pub(super) fn charge_after_early(&self, unknown: u64, buffers: Buffers) -> u64 {
        self.charge(unknown, buffers).min(self.charge_early(buffers))
    }

    /// What it is charged before the first snapshot says what its target charges.
    pub(super) fn charge_early(&self, buffers: Buffers) -> u64 {
        self.charge(u64::MAX, buffers)
    }
}

impl Body {
    fn of(request: &Request<'_>) -> Self {
        if request.end_of_stream {
            return Self::None;
        }
        std::str::from_utf8(request.content_length)
            .ok()
            .and_then(|text| text.parse().ok())
            .map_or(Self::Unknown, Self::Known)
    }

    fn charge(self, unknown: u64, buffer_limit: u64) -> u64 {
        match self {
            Self::None => 0,
            Self::Known(length) => length.min(buffer_limit),
            Self::Unknown => unknown.min(buffer_limit),
        }
    }
}

/// `application/grpc`, `application/grpc+proto`, ...: what Envoy answers in gRPC's own way. Not `application/grpc-web`.
pub(super) fn is_grpc(content_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    content_type
        .get(..GRPC.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(GRPC))
        && matches!(content_type.get(GRPC.len()), None | Some(b'+' | b';' | b' '))
}

/// `1S`, `500m`, ...: at most eight digits and a unit, as gRPC over HTTP/2 has it. `None` for anything else.
fn parse_grpc_timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(value * 3_600),
        b'M' => Duration::from_secs(value * 60),
        b'S' => Duration::from_secs(value),
        b'm' => Duration::from_millis(value),
        b'u' => Duration::from_micros(value),
        b'n' => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn grpc_timeouts_follow_the_specification() {
        assert_eq!(parse_grpc_timeout(b"1S"), Some(Duration::from_secs(1)));
        assert_eq!(parse_grpc_timeout(b"500m"), Some(Duration::from_millis(500)));
        assert_eq!(parse_grpc_timeout(b"2M"), Some(Duration::from_secs(120)));
        assert_eq!(parse_grpc_timeout(b"5u"), Some(Duration::from_micros(5)));
        assert_eq!(parse_grpc_timeout(b"7n"), Some(Duration::from_nanos(7)));
        assert_eq!(
            parse_grpc_timeout(b"99999999H"),
            Some(Duration::from_secs(99_999_999 * 3_600))
        );
        for bad in [
            &b""[..],
            b"S",
            b"1",
            b"1s",
            b"123456789S",
            b"-1S",
            b"\xff\xffS",
            b"1 S",
        ] {
            assert_eq!(parse_grpc_timeout(bad), None, "must refuse {bad:?}");
        }
    }

    #[test]
    fn grpc_is_known_by_its_content_type() {
        assert!(is_grpc(b"application/grpc"));
        assert!(is_grpc(b"application/grpc+proto"));
        assert!(is_grpc(b"Application/GRPC; charset=x"));
        assert!(!is_grpc(b"application/grpc-web"), "grpc-web is answered as HTTP");
        assert!(!is_grpc(b"application/json"));
        assert!(!is_grpc(b"\xff"));
    }

    #[test]
    fn a_body_is_charged_up_to_the_buffer_limit() {
        assert_eq!(Body::None.charge(64, 1_000), 0);
        assert_eq!(Body::Known(50_000_000).charge(64, 1_000), 1_000);
        assert_eq!(Body::Known(10).charge(64, 1_000), 10);
        assert_eq!(Body::Unknown.charge(64, 1_000), 64);
        assert_eq!(Body::Unknown.charge(64_000, 1_000), 1_000);
    }

    #[test]
    fn a_request_is_charged_what_envoy_keeps_of_it() {
        let buffers = Buffers {
            connection: 1_000,
            stream: 100,
        };
        let mut request = Owned::new(&Request::default());
        for (multiplexed, body) in [(false, 1_000), (true, 100)] {
            request.weight = Weight {
                head: 50,
                multiplexed,
            };
            let known = REQUEST_CHARGE + 3 * 50;
            assert_eq!(
                request.charge(u64::MAX, buffers),
                known + body,
                "all that may be buffered"
            );
            assert_eq!(request.charge(10, buffers), known + 10, "what the target says");
            assert_eq!(request.charge_early(buffers), known + body);
        }
        request.weight.head = u64::MAX;
        assert_eq!(request.charge(10, buffers), u64::MAX, "must not overflow");
    }
}
