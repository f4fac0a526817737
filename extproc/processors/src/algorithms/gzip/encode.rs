//! Compresses a stream into one gzip member. Never holds more than one piece and the compressor's window.

use bytes::{Buf, Bytes};
use flate2::{Compress, Compression, FlushCompress, Status};
use thiserror::Error;

use super::PIECE;

/// No name, no time, no flags; the last byte says that the system is unknown.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// How hard to compress: 0 stores, 1 is fast, 9 is small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(u8);

impl Level {
    /// 6, as gzip's own.
    pub const DEFAULT: Self = Self(6);

    /// Takes 0 to 9.
    pub const fn try_new(level: u8) -> Option<Self> {
        if level <= 9 { Some(Self(level)) } else { None }
    }
}

impl Default for Level {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why nothing more can be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// [`Encoder::finish`] had been called.
    #[error("the gzip stream has been finished")]
    Finished,
    /// The compressor refused the input, which it never does in use as documented.
    #[error("the compressor failed")]
    Compressor,
}

/// Compresses one stream.
#[derive(Debug)]
pub struct Encoder {
    deflate: Compress,
    crc: crc32fast::Hasher,
    /// Of the input, modulo 2^32 as the format has it.
    length: u32,
    /// Header or trailer that goes out before anything else.
    framing: Bytes,
    state: State,
    /// Whether anything was taken since the last flush.
    is_due: bool,
    piece: Box<[u8]>,
    /// How much of `piece` is written.
    filled: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// `finish` has been called, the compressor has not ended yet.
    Ending,
    /// The trailer is in `framing`.
    Ended,
}

impl Encoder {
    /// Begins a stream. The header goes out with the first piece.
    pub fn new(level: Level) -> Self {
        Self {
            deflate: Compress::new(Compression::new(level.0.into()), false),
            crc: crc32fast::Hasher::new(),
            length: 0,
            framing: Bytes::from_static(&HEADER),
            state: State::Open,
            is_due: false,
            piece: vec![0; PIECE].into(),
            filled: 0,
        }
    }

    /// Takes what it can of `input`, and gives a piece when one is full: to be called until it gives `None`, when all
    /// of `input` is taken. What does not fill a piece stays inside.
    ///
    /// # Errors
    /// [`EncodeError::Finished`] after [`finish`](Self::finish).
    pub fn encode(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, EncodeError> {
        if self.state != State::Open {
            return Err(EncodeError::Finished);
        }
        while !input.is_empty() {
            if self.is_full() {
                return Ok(Some(self.take()));
            }
            self.step(input, FlushCompress::None)?;
            self.is_due = true;
        }
        Ok(None)
    }

    /// Gives all that was taken, at the cost of some compression, so that the peer can read it now: to be called until
    /// it gives `None`. For events and other streams whose reader waits for each part.
    ///
    /// # Errors
    /// [`EncodeError::Finished`] after [`finish`](Self::finish).
    pub fn flush(&mut self) -> Result<Option<Bytes>, EncodeError> {
        if self.state != State::Open {
            return Err(EncodeError::Finished);
        }
        if self.is_due && !self.is_full() {
            self.step(&mut Bytes::new(), FlushCompress::Sync)?;
            // A full piece may have left something behind.
            self.is_due = self.is_full();
        }
        Ok((self.filled > 0).then(|| self.take()))
    }

    /// Ends the stream: to be called until it gives `None`.
    ///
    /// # Errors
    /// [`EncodeError::Compressor`], never in practice.
    pub fn finish(&mut self) -> Result<Option<Bytes>, EncodeError> {
        if self.state == State::Open {
            self.state = State::Ending;
        }
        while !self.is_full() {
            match self.state {
                State::Ended if self.framing.is_empty() => break,
                State::Ended => self.frame(),
                State::Open | State::Ending => {
                    if self.step(&mut Bytes::new(), FlushCompress::Finish)? == Status::StreamEnd {
                        self.end();
                    }
                }
            }
        }
        Ok((self.filled > 0).then(|| self.take()))
    }

    fn is_full(&self) -> bool {
        self.filled == self.piece.len()
    }

    fn take(&mut self) -> Bytes {
        let piece = Bytes::copy_from_slice(self.piece.get(..self.filled).unwrap_or_default());
        self.filled = 0;
        piece
    }

    /// One call of the compressor, behind the framing.
    fn step(&mut self, input: &mut Bytes, flush: FlushCompress) -> Result<Status, EncodeError> {
        self.frame();
        let free = self.piece.get_mut(self.filled..).unwrap_or_default();
        let (taken, given) = (self.deflate.total_in(), self.deflate.total_out());
        let status = self
            .deflate
            .compress(input, free, flush)
            .map_err(|_| EncodeError::Compressor)?;
        let taken = progress(taken, self.deflate.total_in());
        self.filled += progress(given, self.deflate.total_out());
        let taken = input.split_to(taken.min(input.len()));
        self.crc.update(&taken);
        self.length = self.length.wrapping_add(modulo(taken.len()));
        Ok(status)
    }

    /// Writes as much of the framing as there is room for.
    fn frame(&mut self) {
        let free = self.piece.get_mut(self.filled..).unwrap_or_default();
        let count = free.len().min(self.framing.len());
        if let Some(free) = free.get_mut(..count) {
            self.framing.copy_to_slice(free);
            self.filled += count;
        }
    }

    fn end(&mut self) {
        let crc = self.crc.clone().finalize();
        let trailer = [crc.to_le_bytes(), self.length.to_le_bytes()].concat();
        self.framing = Bytes::from(trailer);
        self.state = State::Ended;
    }
}

/// How far a counter of the compressor has gone in one call, whose buffers fit into `usize`.
pub(super) fn progress(before: u64, after: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}

/// A length modulo 2^32.
pub(super) fn modulo(length: usize) -> u32 {
    let [a, b, c, d, ..] = (length as u64).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_stream_is_a_whole_member() {
        let mut encoder = Encoder::new(Level::DEFAULT);
        let whole = encoder.finish().unwrap().unwrap();
        assert_eq!(whole[..3], [0x1f, 0x8b, 8], "must begin as gzip does");
        assert_eq!(
            whole[whole.len() - 8..],
            [0; 8],
            "must end with CRC and length of nothing"
        );
        assert_eq!(encoder.finish().unwrap(), None, "must end once");
    }

    #[test]
    fn takes_nothing_after_the_end() {
        let mut encoder = Encoder::new(Level::DEFAULT);
        encoder.finish().unwrap();
        let refused = encoder.encode(&mut Bytes::from("more"));
        assert_eq!(refused, Err(EncodeError::Finished));
        assert_eq!(encoder.flush(), Err(EncodeError::Finished));
    }

    #[test]
    fn keeps_small_input_until_a_piece_is_full_or_flushed() {
        let mut encoder = Encoder::new(Level::DEFAULT);
        for _ in 0..100 {
            let mut event = Bytes::from("data: tick\n\n");
            assert_eq!(encoder.encode(&mut event).unwrap(), None, "nothing is due yet");
            assert!(event.is_empty(), "all of it must be taken");
        }
        let flushed = encoder.flush().unwrap().unwrap();
        assert!(
            flushed.ends_with(&[0, 0, 0xff, 0xff]),
            "must end at a byte: {flushed:?}"
        );
        assert_eq!(encoder.flush().unwrap(), None, "nothing is left");
    }

    #[test]
    fn knows_ten_levels() {
        assert!(Level::try_new(9).is_some());
        assert_eq!(Level::try_new(10), None);
    }
}
