//! Bytes that tell where they stand: one that is lost, doubled or out of its place is seen.

use crate::modes::Direction;

/// Of a body: `length` bytes from `offset` on.
pub(super) fn pattern(direction: Direction, offset: usize, length: usize) -> Vec<u8> {
    let salt = match direction {
        Direction::Request => 0,
        Direction::Response => 101,
    };
    (offset..offset + length)
        .map(|at| (at.wrapping_mul(31) ^ (at >> 8).wrapping_mul(7)).wrapping_add(salt) as u8)
        .collect()
}

/// Of what a handler writes itself: `length` bytes of the piece with this number.
pub(super) fn own(number: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at.wrapping_mul(13) + number * 57 + 3) as u8)
        .collect()
}
