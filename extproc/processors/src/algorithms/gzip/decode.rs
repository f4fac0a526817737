//! Decompresses a stream of gzip members, and refuses what expands beyond its [`Limits`]. Never holds more than one piece
//! and the decompressor's window.

use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress, Status};
use thiserror::Error;

use super::{
    PIECE,
    encode::{modulo, progress},
    header::{Header, LONGEST},
};

/// How much may come out, so that a small body cannot become an endless one.
///
/// The format cannot expand more than 1,032 times; text and JSON seldom expand 20 times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of output for each byte of input, beyond `free`.
    pub ratio: u64,
    /// Bytes of output that are never held against a stream.
    pub free: u64,
    /// Bytes of output of the whole stream.
    pub total: u64,
}

impl Default for Limits {
    /// 100 times and 1 MiB; no limit of the total, since nothing is kept.
    fn default() -> Self {
        Self {
            ratio: 100,
            free: 1 << 20,
            total: u64::MAX,
        }
    }
}

/// Why a stream is refused. What came out before must not be taken for the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Does not begin as a gzip member does.
    #[error("the body does not begin as gzip does")]
    NotGzip,
    /// Name, comment and extra field of a member are longer than 128 KiB.
    #[error("the header of a gzip member is longer than {LONGEST} bytes")]
    HeaderTooLong,
    /// The compressed data, the checksum or the length is wrong.
    #[error("the gzip stream is corrupt")]
    Corrupt,
    /// The stream ended within a member.
    #[error("the gzip stream ended early")]
    Truncated,
    /// Something that is no gzip member follows a member.
    #[error("something that is not gzip follows the gzip stream")]
    TrailingGarbage,
    /// More came out than [`Limits::ratio`] allows.
    #[error("the body expands more than {0} times")]
    TooDense(u64),
    /// More came out than [`Limits::total`] allows.
    #[error("the body expands to more than {0} bytes")]
    TooLong(u64),
}

/// Decompresses one stream: one member, several, or none.
#[derive(Debug)]
pub struct Decoder {
    inflate: Decompress,
    limits: Limits,
    state: State,
    /// Bytes of input and output so far.
    taken: u64,
    given: u64,
    crc: crc32fast::Hasher,
    /// Of this member's output, modulo 2^32.
    length: u32,
    piece: Box<[u8]>,
}

#[derive(Debug)]
enum State {
    /// Before a member: only here may the stream end.
    Between {
        first: bool,
    },
    Header(Header),
    Body,
    Trailer {
        read: usize,
        bytes: [u8; 8],
    },
    Failed(DecodeError),
}

impl Decoder {
    /// Begins a stream.
    pub fn new(limits: Limits) -> Self {
        Self {
            inflate: Decompress::new(false),
            limits,
            state: State::Between { first: true },
            taken: 0,
            given: 0,
            crc: crc32fast::Hasher::new(),
            length: 0,
            piece: vec![0; PIECE].into(),
        }
    }

    /// Takes what it can of `input`, and gives what came out of it: to be called until it gives `None`, when all of
    /// `input` is taken.
    ///
    /// # Errors
    /// What came out is given before the error that follows it; after an error there are only errors.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, DecodeError> {
        if let State::Failed(error) = self.state {
            return Err(error);
        }
        let mut filled = 0;
        let outcome = self.fill(input, &mut filled);
        if let Err(error) = outcome {
            self.state = State::Failed(error);
        }
        match outcome {
            // What breaks a limit is not given out.
            Err(error @ (DecodeError::TooDense(_) | DecodeError::TooLong(_))) => Err(error),
            Err(error) if filled == 0 => Err(error),
            Ok(()) | Err(_) => {
                let piece = self.piece.get(..filled).unwrap_or_default();
                Ok((filled > 0).then(|| Bytes::copy_from_slice(piece)))
            }
        }
    }

    /// Says whether the stream may end here. One without a byte may.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] within a member, or the error that [`decode`](Self::decode) gave or would give next.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.state {
            State::Between { .. } => Ok(()),
            State::Header(_) | State::Body | State::Trailer { .. } => Err(DecodeError::Truncated),
            State::Failed(error) => Err(error),
        }
    }

    /// Writes into the piece until it is full or nothing more comes out of `input`.
    fn fill(&mut self, input: &mut Bytes, filled: &mut usize) -> Result<(), DecodeError> {
        while *filled < self.piece.len() {
            match &mut self.state {
                State::Body => {
                    if !self.inflate(input, filled)? {
                        return Ok(());
                    }
                }
                State::Failed(error) => return Err(*error),
                State::Between { .. } | State::Header(_) | State::Trailer { .. } => {
                    if input.is_empty() {
                        return Ok(());
                    }
                    let byte = input.get_u8();
                    self.taken += 1;
                    self.frame(byte)?;
                }
            }
        }
        Ok(())
    }

    /// One call of the decompressor. Returns whether it got any further.
    fn inflate(&mut self, input: &mut Bytes, filled: &mut usize) -> Result<bool, DecodeError> {
        let free = self.piece.get_mut(*filled..).unwrap_or_default();
        let (taken, given) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(input, free, FlushDecompress::None)
            .map_err(|_| DecodeError::Corrupt)?;
        let taken = progress(taken, self.inflate.total_in()).min(input.len());
        let given = progress(given, self.inflate.total_out());
        let output = free.get(..given).unwrap_or_default();
        input.advance(taken);
        self.crc.update(output);
        self.length = self.length.wrapping_add(modulo(given));
        self.taken += taken as u64;
        self.given += given as u64;
        *filled += given;
        self.within_limits()?;
        if status == Status::StreamEnd {
            self.state = State::Trailer {
                read: 0,
                bytes: [0; 8],
            };
            return Ok(true);
        }
        if taken == 0 && given == 0 && !input.is_empty() {
            return Err(DecodeError::Corrupt);
        }
        Ok(taken > 0 || given > 0)
    }

    fn within_limits(&self) -> Result<(), DecodeError> {
        let Limits { ratio, free, total } = self.limits;
        if self.given > total {
            return Err(DecodeError::TooLong(total));
        }
        if self.given.saturating_sub(free) > self.taken.saturating_mul(ratio) {
            return Err(DecodeError::TooDense(ratio));
        }
        Ok(())
    }

    /// Takes one byte of what stands around the compressed data.
    fn frame(&mut self, byte: u8) -> Result<(), DecodeError> {
        match &mut self.state {
            State::Between { first } => {
                let first = *first;
                if !first && byte != 0x1f {
                    return Err(DecodeError::TrailingGarbage);
                }
                let mut header = Header::new();
                header.push(byte)?;
                self.state = State::Header(header);
            }
            State::Header(header) => {
                if header.push(byte)? {
                    self.inflate.reset(false);
                    self.crc = crc32fast::Hasher::new();
                    self.length = 0;
                    self.state = State::Body;
                }
            }
            State::Trailer { read, bytes } => {
                if let Some(place) = bytes.get_mut(*read) {
                    *place = byte;
                }
                *read += 1;
                if *read == bytes.len() {
                    let crc = self.crc.clone().finalize().to_le_bytes();
                    if bytes[..] != [crc, self.length.to_le_bytes()].concat() {
                        return Err(DecodeError::Corrupt);
                    }
                    self.state = State::Between { first: false };
                }
            }
            State::Body | State::Failed(_) => {}
        }
        Ok(())
    }
}
