//! The filter's configuration, as far as the simulated Envoy has it.

use std::time::Duration;

use crate::modes::{BodyMode, Direction, ModeOverride, Modes};
use crate::wire::ProcessingMode;
use crate::wire::processing_mode::HeaderSendMode;

/// What is shown to the processor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shows {
    pub(super) request_headers: bool,
    pub(super) response_headers: bool,
    pub(super) request_trailers: bool,
    pub(super) response_trailers: bool,
    pub(super) bodies: Modes,
}

impl Shows {
    pub(super) fn headers(&self, direction: Direction) -> bool {
        match direction {
            Direction::Request => self.request_headers,
            Direction::Response => self.response_headers,
        }
    }

    pub(super) fn trailers(&self, direction: Direction) -> bool {
        match direction {
            Direction::Request => self.request_trailers,
            Direction::Response => self.response_trailers,
        }
    }

    /// Takes an override: both body modes are replaced, and of the rest what is not DEFAULT (read in Envoy's source).
    pub(super) fn replace(&mut self, mode: &ProcessingMode) {
        let send = |now: &mut bool, mode: i32| match HeaderSendMode::try_from(mode) {
            Ok(HeaderSendMode::Send) => *now = true,
            Ok(HeaderSendMode::Skip) => *now = false,
            Ok(HeaderSendMode::Default) | Err(_) => {}
        };
        send(&mut self.response_headers, mode.response_header_mode);
        send(&mut self.request_trailers, mode.request_trailer_mode);
        send(&mut self.response_trailers, mode.response_trailer_mode);
        self.bodies = Modes {
            request: BodyMode::from_wire(mode.request_body_mode).unwrap_or_default(),
            response: BodyMode::from_wire(mode.response_body_mode).unwrap_or_default(),
        };
    }
}

#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) shows: Shows,
    pub(super) allow_mode_override: bool,
    pub(super) failure_mode_allow: bool,
    pub(super) buffer_limit: usize,
    pub(super) chunk: usize,
    /// The last chunk of a body that ends without trailers is followed by an empty one, as with HTTP/1 (seen with 1.40).
    pub(super) ends_with_empty_chunk: bool,
    pub(super) message_timeout: Option<Duration>,
    pub(super) attributes: Vec<(String, String)>,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            shows: Shows {
                request_headers: true,
                response_headers: true,
                request_trailers: false,
                response_trailers: false,
                bodies: Modes::default(),
            },
            allow_mode_override: false,
            failure_mode_allow: false,
            buffer_limit: 1 << 20,
            chunk: 16 << 10,
            ends_with_empty_chunk: false,
            message_timeout: None,
            attributes: Vec::new(),
        }
    }
}

impl Filter {
    pub(super) fn set_modes(&mut self, modes: Modes) {
        self.shows.bodies = modes;
        // 1.40 takes FULL_DUPLEX_STREAMED only together with trailers.
        self.shows.request_trailers |= modes.request == BodyMode::FullDuplex;
        self.shows.response_trailers |= modes.response == BodyMode::FullDuplex;
    }

    pub(super) fn show(&mut self, what: ModeOverride) {
        let set = |now: &mut bool, wanted: Option<bool>| *now = wanted.unwrap_or(*now);
        set(&mut self.shows.response_headers, what.response_headers);
        set(&mut self.shows.request_trailers, what.request_trailers);
        set(&mut self.shows.response_trailers, what.response_trailers);
        let bodies = self.shows.bodies;
        self.set_modes(Modes {
            request: what.request_body.unwrap_or(bodies.request),
            response: what.response_body.unwrap_or(bodies.response),
        });
    }
}
