//! What the processors compute, without I/O, clock or async runtime: bytes go in, bytes or a verdict come out.
//!
//! What works on streams takes chunks of any size and gives the same result however a body is cut. None keeps more of a
//! body than the bound that its documentation names; only [`json::Masker`] needs the whole document at once.

pub mod accept_encoding;
pub mod checksum;
pub mod gzip;
pub mod in_flight;
pub mod json;
pub mod request_digest;
pub mod rfc3339;
pub mod scan;
