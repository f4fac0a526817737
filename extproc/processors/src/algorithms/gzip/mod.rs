//! gzip (RFC 1952) over streams: both directions take chunks of any size and give pieces of at most [`PIECE`] bytes.
//!
//! The caller owns the input and pulls the output, so neither direction ever holds more than one piece:
//!
//! ```
//! use bytes::Bytes;
//! use extproc_processors::algorithms::gzip::{Decoder, Encoder, Level, Limits};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut encoder = Encoder::new(Level::DEFAULT);
//! let mut packed = Vec::new();
//! for mut chunk in [Bytes::from("hold "), Bytes::from("fast")] {
//!     while let Some(piece) = encoder.encode(&mut chunk)? {
//!         packed.extend_from_slice(&piece);
//!     }
//! }
//! while let Some(piece) = encoder.finish()? {
//!     packed.extend_from_slice(&piece);
//! }
//!
//! let mut decoder = Decoder::new(Limits::default());
//! let (mut packed, mut plain) = (Bytes::from(packed), Vec::new());
//! while let Some(piece) = decoder.decode(&mut packed)? {
//!     plain.extend_from_slice(&piece);
//! }
//! decoder.finish()?;
//! assert_eq!(plain, b"hold fast");
//! # Ok(())
//! # }
//! ```

mod decode;
mod encode;
mod header;
#[cfg(test)]
mod props;

pub use decode::{DecodeError, Decoder, Limits};
pub use encode::{EncodeError, Encoder, Level};

/// The most bytes of one piece of output: what fits into one message of a full-duplex answer to Envoy.
pub const PIECE: usize = 64 * 1024;
