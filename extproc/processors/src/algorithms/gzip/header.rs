//! Reads the header of one gzip member, byte by byte as it comes. Keeps none of it; refuses more than [`LONGEST`] bytes.

use super::DecodeError;

/// The most bytes of a header with all that it may carry: names and comments are short, extra fields have at most 64 KiB.
pub(super) const LONGEST: usize = 128 * 1024;

const HAS_CRC: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// Where in the header the next byte stands.
#[derive(Clone, Debug)]
pub(super) struct Header {
    crc: crc32fast::Hasher,
    /// Bytes read.
    length: usize,
    flags: u8,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The ten bytes that each header has; how many of them were read.
    Fixed(u8),
    ExtraLength(Option<u8>),
    /// Bytes of it still to come.
    Extra(u16),
    Name,
    Comment,
    /// The CRC's first byte, once read.
    Crc(Option<u8>),
}

impl Header {
    pub(super) fn new() -> Self {
        Self {
            crc: crc32fast::Hasher::new(),
            length: 0,
            flags: 0,
            part: Part::Fixed(0),
        }
    }

    /// Takes one byte. Returns whether the header is complete with it.
    pub(super) fn push(&mut self, byte: u8) -> Result<bool, DecodeError> {
        self.length += 1;
        if self.length > LONGEST {
            return Err(DecodeError::HeaderTooLong);
        }
        if !matches!(self.part, Part::Crc(_)) {
            self.crc.update(&[byte]);
        }
        let next = match self.part {
            Part::Fixed(at) => {
                let expected = match at {
                    0 => byte == 0x1f,
                    1 => byte == 0x8b,
                    2 => byte == 8,
                    3 => {
                        self.flags = byte;
                        byte & RESERVED == 0
                    }
                    _ => true,
                };
                if !expected {
                    return Err(DecodeError::NotGzip);
                }
                if at < 9 {
                    Some(Part::Fixed(at + 1))
                } else {
                    self.after_fixed()
                }
            }
            Part::ExtraLength(None) => Some(Part::ExtraLength(Some(byte))),
            Part::ExtraLength(Some(low)) => match u16::from_le_bytes([low, byte]) {
                0 => self.after_extra(),
                length => Some(Part::Extra(length)),
            },
            Part::Extra(1) => self.after_extra(),
            Part::Extra(left) => Some(Part::Extra(left - 1)),
            Part::Name if byte == 0 => self.after_name(),
            Part::Comment if byte == 0 => self.after_comment(),
            Part::Name | Part::Comment => Some(self.part),
            Part::Crc(None) => Some(Part::Crc(Some(byte))),
            Part::Crc(Some(low)) => {
                let [first, second, ..] = self.crc.clone().finalize().to_le_bytes();
                if [first, second] != [low, byte] {
                    return Err(DecodeError::Corrupt);
                }
                None
            }
        };
        if let Some(next) = next {
            self.part = next;
        }
        Ok(next.is_none())
    }

    fn after_fixed(&self) -> Option<Part> {
        if self.flags & HAS_EXTRA != 0 {
            Some(Part::ExtraLength(None))
        } else {
            self.after_extra()
        }
    }

    fn after_extra(&self) -> Option<Part> {
        if self.flags & HAS_NAME != 0 {
            Some(Part::Name)
        } else {
            self.after_name()
        }
    }

    fn after_name(&self) -> Option<Part> {
        if self.flags & HAS_COMMENT != 0 {
            Some(Part::Comment)
        } else {
            self.after_comment()
        }
    }

    fn after_comment(&self) -> Option<Part> {
        (self.flags & HAS_CRC != 0).then_some(Part::Crc(None))
    }
}
