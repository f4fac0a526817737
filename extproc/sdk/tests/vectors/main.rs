//! Our wire types against those of envoy-types, which are generated from the whole published interface: byte for byte the same,
//! field by field and name by name, and what we do not have is skipped.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of tests fail as tests do"
)]

mod service;
mod theirs;
mod values;

use std::fmt::Debug;

use bytes::{BufMut, Bytes, BytesMut};
use extproc::wire;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use envoy_types::pb::envoy::service::ext_proc::v3 as their;
use theirs::As;

/// What we write is what they write; each reads the other's bytes as the same value.
fn check<T, O>(ours: &O) -> Result<(), TestCaseError>
where
    T: Message + Default + PartialEq + Debug,
    O: Message + Default + PartialEq + Debug + As<T>,
{
    let theirs: T = ours.theirs();
    let bytes = Bytes::from(ours.encode_to_vec());
    prop_assert_eq!(&bytes, &theirs.encode_to_vec());
    prop_assert_eq!(bytes.len(), ours.encoded_len());
    prop_assert_eq!(&T::decode(bytes.clone()).unwrap(), &theirs);
    prop_assert_eq!(&O::decode(bytes).unwrap(), ours);
    Ok(())
}

/// A field that no version of the interface has, of each kind that a field may be of.
fn mk_unknown() -> impl Strategy<Value = Vec<u8>> {
    let number = 1_000_u32..20_000;
    let content = vec(any::<u8>(), 0..40);
    (number, 0..4_u8, content).prop_map(|(number, kind, content)| {
        let mut bytes = BytesMut::new();
        let wire_type = [0, 1, 2, 5][usize::from(kind)];
        prost::encoding::encode_varint(u64::from(number << 3 | wire_type), &mut bytes);
        match wire_type {
            0 => prost::encoding::encode_varint(u64::MAX, &mut bytes),
            1 => bytes.put_u64_le(7),
            5 => bytes.put_u32_le(7),
            _ => {
                prost::encoding::encode_varint(content.len() as u64, &mut bytes);
                bytes.put_slice(&content);
            }
        }
        bytes.to_vec()
    })
}

proptest! {
    #[test]
    fn requests_are_theirs(request in values::mk_request()) {
        check::<their::ProcessingRequest, _>(&request)?;
    }

    #[test]
    fn responses_are_theirs(response in values::mk_response()) {
        check::<their::ProcessingResponse, _>(&response)?;
    }

    #[test]
    fn fields_that_no_version_knows_are_skipped(
        request in values::mk_request(), headers in values::mk_headers(), unknown in vec(mk_unknown(), 1..4), at_end in any::<bool>()
    ) {
        let around = |message: Vec<u8>| {
            let unknown = unknown.concat();
            if at_end { [message, unknown].concat() } else { [unknown, message].concat() }
        };
        let bytes = around(request.encode_to_vec());
        prop_assert_eq!(wire::ProcessingRequest::decode(&bytes[..]).unwrap(), request);
        // Also where they stand inside of a message that stands inside of another.
        let inner = around(headers.encode_to_vec());
        let mut outer = BytesMut::new();
        prost::encoding::encode_varint(1 << 3 | 2, &mut outer);
        prost::encoding::encode_varint(inner.len() as u64, &mut outer);
        outer.put_slice(&inner);
        prop_assert_eq!(wire::HttpHeaders::decode(outer).unwrap().headers, Some(headers));
    }

    #[test]
    fn fields_of_theirs_that_we_do_not_have_are_skipped(request in values::mk_request(), response in values::mk_response()) {
        let bytes = theirs::with_what_we_lack_in_request(request.theirs()).encode_to_vec();
        prop_assert_eq!(wire::ProcessingRequest::decode(&bytes[..]).unwrap(), request);
        let bytes = theirs::with_what_we_lack_in_response(response.theirs()).encode_to_vec();
        prop_assert_eq!(wire::ProcessingResponse::decode(&bytes[..]).unwrap(), response);
    }
}

#[test]
fn an_answer_of_theirs_that_we_do_not_have_is_no_answer() {
    let streamed = their::ProcessingResponse {
        response: Some(their::processing_response::Response::StreamedImmediateResponse(
            their::StreamedImmediateResponse::default(),
        )),
        ..Default::default()
    };
    let read = wire::ProcessingResponse::decode(&streamed.encode_to_vec()[..]).unwrap();
    assert_eq!(read, wire::ProcessingResponse::default());
}

#[test]
fn numbers_of_enums_have_their_names() {
    use envoy_types::pb::envoy as theirs;
    /// Both names of a number, where each knows it.
    macro_rules! same {
        ($ours:ty, $theirs:ty) => {
            for number in -1..=600 {
                let ours = <$ours>::try_from(number)
                    .ok()
                    .map(|value| value.as_str_name());
                let theirs = <$theirs>::try_from(number)
                    .ok()
                    .map(|value| value.as_str_name());
                assert_eq!(ours, theirs, "{number} of {}", stringify!($ours));
            }
        };
    }
    use theirs::config::core::v3::header_value_option as option;
    use theirs::extensions::filters::http::ext_proc::v3::processing_mode as mode;
    use theirs::service::ext_proc::v3::common_response as common;
    same!(wire::processing_mode::BodySendMode, mode::BodySendMode);
    same!(wire::processing_mode::HeaderSendMode, mode::HeaderSendMode);
    same!(
        wire::header_value_option::HeaderAppendAction,
        option::HeaderAppendAction
    );
    same!(wire::common_response::ResponseStatus, common::ResponseStatus);
    // Of statuses we have those that processors answer with; all others travel as their numbers.
    let mut known = 0;
    for number in 0..=600 {
        let Ok(ours) = wire::StatusCode::try_from(number) else {
            continue;
        };
        let theirs = theirs::r#type::v3::StatusCode::try_from(number).unwrap();
        assert_eq!(ours.as_str_name(), theirs.as_str_name());
        known += 1;
    }
    assert!(known > 20, "{known}");
}
