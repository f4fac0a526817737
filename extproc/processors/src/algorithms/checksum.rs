//! Checksums of streams, and their comparison with what a header promised: `content-digest` and `repr-digest` (RFC 9530),
//! or one value in hex. Keeps nothing of a body.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256, Sha512};
use thiserror::Error;

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `sha-256` of RFC 9530.
    Sha256,
    /// `sha-512` of RFC 9530.
    Sha512,
    /// CRC-32 as gzip and zip have it. Finds accidents, not attacks, so RFC 9530 does not have it: in hex only.
    Crc32,
}

impl Algorithm {
    /// The key in `content-digest`, or `None` for one that has no place there.
    pub const fn digest_key(self) -> Option<&'static str> {
        match self {
            Self::Sha256 => Some("sha-256"),
            Self::Sha512 => Some("sha-512"),
            Self::Crc32 => None,
        }
    }

    /// The length of a sum in bytes.
    pub const fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
            Self::Crc32 => 4,
        }
    }

    fn by_digest_key(key: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512]
            .into_iter()
            .find(|algorithm| algorithm.digest_key() == Some(key))
    }
}

/// A checksum under way.
#[derive(Clone, Debug)]
pub struct Checksum(State);

#[derive(Clone, Debug)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
    Crc32(crc32fast::Hasher),
}

impl Checksum {
    /// Of no bytes yet.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
            Algorithm::Crc32 => State::Crc32(crc32fast::Hasher::new()),
        })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(sum) => sum.update(bytes),
            State::Sha512(sum) => sum.update(bytes),
            State::Crc32(sum) => sum.update(bytes),
        }
    }

    /// The sum of all bytes taken.
    pub fn finish(self) -> Sum {
        match self.0 {
            State::Sha256(sum) => Sum::new(Algorithm::Sha256, &sum.finalize()),
            State::Sha512(sum) => Sum::new(Algorithm::Sha512, &sum.finalize()),
            State::Crc32(sum) => Sum::new(Algorithm::Crc32, &sum.finalize().to_be_bytes()),
        }
    }
}

/// A finished checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    algorithm: Algorithm,
    bytes: Box<[u8]>,
}

impl Sum {
    fn new(algorithm: Algorithm, bytes: &[u8]) -> Self {
        Self {
            algorithm,
            bytes: bytes.into(),
        }
    }

    /// What it was computed with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// In lower-case hex; a CRC with its most significant digit first.
    pub fn hex(&self) -> String {
        hex(&self.bytes)
    }

    /// As `content-digest` has it: `sha-256=:..:`. `None` for what has no place there.
    pub fn digest_field(&self) -> Option<String> {
        let key = self.algorithm.digest_key()?;
        Some(format!("{key}=:{}:", STANDARD.encode(&self.bytes)))
    }
}

/// Why a header promises nothing that could be checked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PromiseError {
    /// Not a list of `key=:base64:`.
    #[error("`{0}` is not a digest: write sha-256=:BASE64:")]
    NotADigest(String),
    /// Not as many hex digits as the algorithm has.
    #[error("a checksum in hex has {0} digits here")]
    NotHex(usize),
    /// A digest has another length than its algorithm's.
    #[error("the {0} digest has the wrong length")]
    Length(&'static str),
    /// Only algorithms that are unknown or no longer safe.
    #[error("no digest is sha-256 or sha-512")]
    Unknown,
}

/// What a header says a body's sums are: one or more of them, all of which must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise(Vec<Sum>);

impl Promise {
    /// Reads `content-digest` or `repr-digest`. Algorithms that are unknown, or no longer safe (`md5`, `sha`,
    /// `unixsum`, ..), are passed over as the RFC has it.
    ///
    /// # Errors
    /// When it is none, or nothing in it can be checked.
    pub fn from_digest_field(field: &str) -> Result<Self, PromiseError> {
        let mut sums = Vec::new();
        for member in field.split(',').map(|member| member.trim_matches([' ', '\t'])) {
            let unreadable = || PromiseError::NotADigest(member.chars().take(80).collect());
            let (key, value) = member.split_once('=').ok_or_else(unreadable)?;
            // Parameters after the value mean nothing to any algorithm.
            let value = value.split(';').next().unwrap_or_default();
            let encoded = value.strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
            let bytes = STANDARD
                .decode(encoded.ok_or_else(unreadable)?)
                .map_err(|_| unreadable())?;
            let Some(algorithm) = Algorithm::by_digest_key(key) else {
                continue;
            };
            if bytes.len() != algorithm.length() {
                return Err(PromiseError::Length(algorithm.digest_key().unwrap_or_default()));
            }
            // Of a key given twice the last one counts: structured fields.
            sums.retain(|sum: &Sum| sum.algorithm != algorithm);
            sums.push(Sum::new(algorithm, &bytes));
        }
        if sums.is_empty() {
            return Err(PromiseError::Unknown);
        }
        Ok(Self(sums))
    }

    /// Reads one sum in hex, upper or lower case.
    ///
    /// # Errors
    /// When it does not have exactly the digits of `algorithm`.
    pub fn from_hex(algorithm: Algorithm, text: &str) -> Result<Self, PromiseError> {
        let digits = algorithm.length() * 2;
        let bytes = unhex(text)
            .filter(|bytes| bytes.len() == algorithm.length())
            .ok_or(PromiseError::NotHex(digits))?;
        Ok(Self(vec![Sum::new(algorithm, &bytes)]))
    }

    /// Begins to check a body.
    pub fn verify(self) -> Verifier {
        let under_way = self
            .0
            .into_iter()
            .map(|promised| (Checksum::new(promised.algorithm), promised))
            .collect();
        Verifier { under_way }
    }
}

/// Checks a body against a [`Promise`] as it comes.
#[derive(Clone, Debug)]
pub struct Verifier {
    under_way: Vec<(Checksum, Sum)>,
}

/// A body is not what its header promised.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the body's checksum is {actual}, and {promised} was promised", actual = .actual.hex(), promised = .promised.hex())]
pub struct Mismatch {
    /// Of the body that came.
    pub actual: Sum,
    /// In the header.
    pub promised: Sum,
}

impl Verifier {
    /// Takes the next bytes of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        for (checksum, _) in &mut self.under_way {
            checksum.update(bytes);
        }
    }

    /// To be called at the body's end, before its last byte is let go.
    ///
    /// # Errors
    /// The first sum that does not hold.
    pub fn finish(self) -> Result<(), Box<Mismatch>> {
        for (checksum, promised) in self.under_way {
            let actual = checksum.finish();
            if actual != promised {
                return Err(Box::new(Mismatch { actual, promised }));
            }
        }
        Ok(())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks();
    let bytes = pairs.iter().map(|[high, low]| u8::try_from(high * 16 + low).ok());
    if rest.is_empty() { bytes.collect() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const HELLO: &[u8] = b"{\"hello\": \"world\"}\n";

    #[test]
    fn knows_the_examples_of_rfc_9530() {
        // Appendix D of the RFC: the same document in two encodings of itself.
        let field = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        assert_eq!(verify(Promise::from_digest_field(field), HELLO), Ok(true));
        assert_eq!(
            sum(Algorithm::Sha256, HELLO).digest_field().as_deref(),
            Some(field)
        );
        let field = "sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:";
        assert_eq!(verify(Promise::from_digest_field(field), HELLO), Ok(true));
    }

    #[test]
    fn knows_the_check_value_of_crc32() {
        assert_eq!(sum(Algorithm::Crc32, b"123456789").hex(), "cbf43926");
        assert_eq!(sum(Algorithm::Crc32, b"").hex(), "00000000");
        assert_eq!(
            sum(Algorithm::Crc32, b"").digest_field(),
            None,
            "RFC 9530 has no CRC-32"
        );
    }

    #[test]
    fn all_that_is_promised_must_hold() {
        let right = sum(Algorithm::Sha256, HELLO).digest_field().unwrap();
        let wrong = sum(Algorithm::Sha512, b"other").digest_field().unwrap();
        for field in [format!("{right}, {wrong}"), format!("{wrong},{right}")] {
            assert_eq!(
                verify(Promise::from_digest_field(&field), HELLO),
                Ok(false),
                "{field}"
            );
        }
    }

    #[test]
    fn passes_over_algorithms_that_it_does_not_know() {
        let right = sum(Algorithm::Sha256, HELLO).digest_field().unwrap();
        let field = format!("md5=:AAAAAAAAAAAAAAAAAAAAAA==:,\t{right};p=1");
        assert_eq!(verify(Promise::from_digest_field(&field), HELLO), Ok(true));
        let only = Promise::from_digest_field("md5=:AAAAAAAAAAAAAAAAAAAAAA==:");
        assert_eq!(only, Err(PromiseError::Unknown), "must not pass for a check");
    }

    #[test]
    fn refuses_what_is_no_digest() {
        for field in [
            "",
            "sha-256",
            "sha-256=RK/0",
            "sha-256=:RK/0",
            "sha-256=:?:",
            "sha-256=::,",
        ] {
            let refused = Promise::from_digest_field(field);
            assert!(
                matches!(
                    refused,
                    Err(PromiseError::NotADigest(_) | PromiseError::Length(_))
                ),
                "{field}: {refused:?}"
            );
        }
        assert_eq!(
            Promise::from_digest_field("sha-256=:AAAA:"),
            Err(PromiseError::Length("sha-256"))
        );
    }

    #[test]
    fn reads_hex_of_the_right_length_only() {
        assert_eq!(
            verify(Promise::from_hex(Algorithm::Crc32, "CBf43926"), b"123456789"),
            Ok(true)
        );
        for text in [
            "",
            "cbf4392",
            "cbf439261",
            "cbf4392g",
            "cbf439 6",
            "0xcbf439",
            "+bf43926",
        ] {
            assert_eq!(
                Promise::from_hex(Algorithm::Crc32, text),
                Err(PromiseError::NotHex(8)),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_sum_is_the_same_however_the_body_is_cut(chunks in vec(vec(any::<u8>(), 0..300), 0..8)) {
            let whole = chunks.concat();
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Crc32] {
                let mut checksum = Checksum::new(algorithm);
                chunks.iter().for_each(|chunk| checksum.update(chunk));
                let cut = checksum.finish();
                prop_assert_eq!(&cut, &sum(algorithm, &whole));
                prop_assert_eq!(cut.hex().len(), 2 * algorithm.length());
                prop_assert_eq!(verify(Promise::from_hex(algorithm, &cut.hex()), &whole), Ok(true));
                if let Some(field) = cut.digest_field() {
                    prop_assert_eq!(verify(Promise::from_digest_field(&field), &whole), Ok(true));
                }
            }
        }

        #[test]
        fn another_body_does_not_pass(body in vec(any::<u8>(), 1..300), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let mut other = body.clone();
            other[at.index(body.len())] ^= 1_u8 << bit;
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Crc32] {
                let promise = Promise::from_hex(algorithm, &sum(algorithm, &body).hex());
                prop_assert_eq!(verify(promise, &other), Ok(false));
            }
        }

        #[test]
        fn any_header_is_read_without_a_panic(field in ".{0,60}") {
            let _ = Promise::from_digest_field(&field);
            let _ = Promise::from_hex(Algorithm::Crc32, &field);
        }
    }

    fn sum(algorithm: Algorithm, body: &[u8]) -> Sum {
        let mut checksum = Checksum::new(algorithm);
        checksum.update(body);
        checksum.finish()
    }

    fn verify(promise: Result<Promise, PromiseError>, body: &[u8]) -> Result<bool, PromiseError> {
        let mut verifier = promise?.verify();
        verifier.update(body);
        Ok(verifier.finish().is_ok())
    }
}
