//! What holds of both directions together, however a stream is cut; and what becomes of streams that are not whole.

use std::io::{Read, Write};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::*;

proptest! {
    #[test]
    fn what_is_packed_in_any_cut_is_unpacked_in_any_cut(
        body in mk_body(), cuts in vec(0..5_000_usize, 0..8), level in 0..=9_u8, flushes in any::<bool>()
    ) {
        let packed = pack(&body, &cuts, Level::try_new(level).unwrap(), flushes);
        let mut peer = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut peer).unwrap();
        prop_assert!(peer == body, "another decoder must read it");
        prop_assert_eq!(unpack(&packed, &cuts, Limits::default()), Ok(body));
    }

    #[test]
    fn members_follow_one_another(bodies in vec(mk_body(), 0..4), cuts in vec(0..3_000_usize, 0..8)) {
        let packed: Vec<u8> = bodies.iter().flat_map(|body| peer_pack(body)).collect();
        prop_assert_eq!(unpack(&packed, &cuts, Limits::default()), Ok(bodies.concat()));
    }

    #[test]
    fn a_stream_that_ends_early_is_refused(body in mk_body(), keep in any::<prop::sample::Index>()) {
        let packed = peer_pack(&body);
        let keep = 1 + keep.index(packed.len() - 1);
        prop_assert_eq!(unpack(&packed[..keep], &[], Limits::default()), Err(DecodeError::Truncated));
    }

    #[test]
    fn a_changed_byte_never_gives_another_body(
        body in mk_body(), at in any::<prop::sample::Index>(), bit in 0..8_u32, cuts in vec(0..3_000_usize, 0..4)
    ) {
        let mut packed = peer_pack(&body);
        let at = at.index(packed.len());
        packed[at] ^= 1 << bit;
        if let Ok(read) = unpack(&packed, &cuts, Limits::default()) {
            prop_assert_eq!(read, body, "time and system are not covered; all else must be noticed");
        }
    }

    #[test]
    fn arbitrary_bytes_give_an_end_and_no_more_than_the_limits(bytes in vec(any::<u8>(), 0..2_000)) {
        let mut input = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], &bytes[..]].concat();
        let limits = Limits { ratio: 10, free: 100, total: u64::MAX };
        for _ in 0..2 {
            if let Ok(read) = unpack(&input, &[], limits) {
                prop_assert!(read.len() <= 100 + 10 * input.len());
            }
            input = bytes.clone();
        }
    }
}

#[test]
fn a_stream_without_a_byte_is_empty() {
    assert_eq!(unpack(b"", &[], Limits::default()), Ok(Vec::new()));
}

#[test]
fn what_follows_the_last_member_is_refused() {
    let packed = peer_pack(b"hold fast");
    for garbage in [&b"x"[..], &[0], &[0x1f, 0x8c]] {
        let stream = [&packed[..], garbage].concat();
        let refused = unpack(&stream, &[], Limits::default());
        let expected = match garbage {
            [0x1f, ..] => DecodeError::NotGzip,
            _ => DecodeError::TrailingGarbage,
        };
        assert_eq!(refused, Err(expected), "{garbage:?}");
    }
}

#[test]
fn what_is_no_gzip_is_refused_at_its_first_bytes() {
    for (text, what) in [
        (&b"{\"json\": true}"[..], "JSON"),
        (&[0x78, 0x9c, 0, 0], "zlib"),
        (&[0x1f, 0x8b, 7], "another method"),
        (&[0x1f, 0x8b, 8, 0x80], "a flag that does not exist"),
    ] {
        assert_eq!(
            unpack(text, &[], Limits::default()),
            Err(DecodeError::NotGzip),
            "{what}"
        );
    }
}

#[test]
fn reads_all_that_a_header_may_carry() {
    let packed = peer_pack(b"hold fast");
    let mut header = vec![0x1f, 0x8b, 8, 0b1_1110, 1, 2, 3, 4, 0, 3];
    header.extend(5_u16.to_le_bytes());
    header.extend(b"extra");
    header.extend(b"a name\0a comment\0");
    let crc = crc32fast::hash(&header).to_le_bytes();
    let with = |crc: &[u8]| [&header[..], crc, &packed[10..]].concat();
    assert_eq!(
        unpack(&with(&crc[..2]), &[1, 3, 12, 20, 33], Limits::default()),
        Ok(b"hold fast".to_vec())
    );
    let wrong = unpack(&with(&[crc[0], !crc[1]]), &[], Limits::default());
    assert_eq!(
        wrong,
        Err(DecodeError::Corrupt),
        "the header's CRC must be checked"
    );
}

#[test]
fn a_header_has_an_end() {
    let mut endless = vec![0x1f, 0x8b, 8, 0b1000, 0, 0, 0, 0, 0, 3];
    endless.resize(1 << 20, b'n');
    assert_eq!(
        unpack(&endless, &[], Limits::default()),
        Err(DecodeError::HeaderTooLong)
    );
}

#[test]
fn a_bomb_is_refused_before_it_goes_off() {
    let bomb = peer_pack(&vec![0; 16 << 20]);
    let limits = Limits::default();
    let mut decoder = Decoder::new(limits);
    let (mut input, mut given) = (Bytes::from(bomb.clone()), 0);
    let error = loop {
        match decoder.decode(&mut input) {
            Ok(Some(piece)) => given += piece.len() as u64,
            Ok(None) => panic!("must be refused"),
            Err(error) => break error,
        }
    };
    assert_eq!(error, DecodeError::TooDense(limits.ratio));
    let most = limits.free + limits.ratio * bomb.len() as u64;
    assert!(given <= most, "{given} bytes came out, {most} are allowed");
    assert_eq!(
        decoder.decode(&mut Bytes::from("x")),
        Err(error),
        "an error must last"
    );
    assert_eq!(decoder.finish(), Err(error), "an error must last");
}

#[test]
fn the_whole_may_be_limited() {
    let packed = peer_pack(b"hold fast");
    let limit = |total| Limits {
        total,
        ..Limits::default()
    };
    assert_eq!(unpack(&packed, &[], limit(8)), Err(DecodeError::TooLong(8)));
    assert_eq!(unpack(&packed, &[], limit(9)), Ok(b"hold fast".to_vec()));
}

/// Text that repeats itself and noise, a few pieces long at most.
fn mk_body() -> impl Strategy<Value = Vec<u8>> {
    let noise = vec(any::<u8>(), 0..4_000);
    let text = (vec(any::<u8>(), 1..40), 0..8_000_usize).prop_map(|(word, times)| word.repeat(times));
    (noise, text).prop_map(|(noise, text)| [noise, text].concat())
}

/// `body` in chunks of these lengths, and the rest.
fn chunks(body: &[u8], cuts: &[usize]) -> Vec<Bytes> {
    let mut rest = Bytes::copy_from_slice(body);
    let mut chunks: Vec<_> = cuts
        .iter()
        .map(|cut| rest.split_to((*cut).min(rest.len())))
        .collect();
    chunks.push(rest);
    chunks
}

fn pack(body: &[u8], cuts: &[usize], level: Level, flushes: bool) -> Vec<u8> {
    let mut encoder = Encoder::new(level);
    let mut packed = Vec::new();
    let mut keep = |piece: Bytes| {
        assert!(
            (1..=PIECE).contains(&piece.len()),
            "a piece has {} bytes",
            piece.len()
        );
        packed.extend_from_slice(&piece);
    };
    for mut chunk in chunks(body, cuts) {
        while let Some(piece) = encoder.encode(&mut chunk).unwrap() {
            keep(piece);
        }
        while flushes && let Some(piece) = encoder.flush().unwrap() {
            keep(piece);
        }
    }
    while let Some(piece) = encoder.finish().unwrap() {
        keep(piece);
    }
    packed
}

fn unpack(packed: &[u8], cuts: &[usize], limits: Limits) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = Decoder::new(limits);
    let mut body = Vec::new();
    for mut chunk in chunks(packed, cuts) {
        while let Some(piece) = decoder.decode(&mut chunk)? {
            assert!(
                (1..=PIECE).contains(&piece.len()),
                "a piece has {} bytes",
                piece.len()
            );
            body.extend_from_slice(&piece);
        }
        assert!(chunk.is_empty(), "all of a chunk must be taken");
    }
    decoder.finish().map(|()| body)
}

/// As another program writes it.
fn peer_pack(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}
