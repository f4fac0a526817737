//! Bytes that no Envoy sends, through the service as a connection gives it them: each call ends, with a status, in bounded time
//! and with bounded output, and what cannot be read never ends with OK.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of tests fail as tests do"
)]

use std::convert::Infallible;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use extproc::testing::{
    Modal as _, request_body, request_headers, request_trailers, response_headers, with_modes,
};
use extproc::wire::ProcessingRequest;
use extproc::{Body, BodyMode, BodyReply, Exchange, Modes, Reply, Server};
use http_body_util::{BodyExt as _, StreamBody};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message as _;
use tonic::codegen::Service as _;

/// A frame of gRPC.
fn framed(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[0], &length[..], payload].concat()
}

/// As a whole, but in 1:1: there is no chunk left for the whole where trailers end it.
async fn collects(mut body: Body) -> Reply<BodyReply> {
    if body.mode() == BodyMode::Streamed {
        return forwards(body).await;
    }
    body.collect().await?;
    Ok(BodyReply::unchanged())
}

async fn forwards(body: Body) -> Reply<BodyReply> {
    let (mut reader, mut writer) = body.split();
    while let Some(chunk) = reader.next().await? {
        writer.send(chunk).await?;
    }
    Ok(BodyReply::written())
}

/// The status of a call with this body, cut at these places, and how many bytes were answered.
fn called(bytes: &[u8], cuts: &[Index]) -> (String, usize) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(async {
            tokio::time::timeout(Duration::from_secs(3600), answered(bytes, cuts))
                .await
                .unwrap()
        })
}

async fn answered(bytes: &[u8], cuts: &[Index]) -> (String, usize) {
    let processor = extproc::processor::<()>("decode")
        .on_request_body(async |_: Exchange<()>, body: Body| collects(body).await)
        .on_response_body(async |_: Exchange<()>, body: Body| forwards(body).await);
    let mut service = Server::new(processor).into_service();
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    let parts: Vec<_> = places
        .windows(2)
        .filter_map(|ends| bytes.get(*ends.first()?..*ends.last()?))
        .map(Bytes::copy_from_slice)
        .map(|part| Ok::<_, Infallible>(hyper::body::Frame::data(part)))
        .collect();
    let request = http::Request::post("/envoy.service.ext_proc.v3.ExternalProcessor/Process")
        .header("content-type", "application/grpc")
        .body(StreamBody::new(futures_util::stream::iter(parts)))
        .unwrap();
    let response = service.call(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let status = |headers: &http::HeaderMap| {
        let value = headers.get("grpc-status")?;
        Some(value.to_str().unwrap().to_owned())
    };
    let status = body.trailers().and_then(status).or_else(|| status(&head.headers));
    (status.unwrap(), body.to_bytes().len())
}

/// A body is answered with itself, and every message with a few bytes beside.
fn bound(input: usize) -> usize {
    4 * input + 4_096
}

fn mk_modes() -> impl Strategy<Value = Modes> {
    let mode = || {
        prop_oneof![
            Just(BodyMode::None),
            Just(BodyMode::Buffered),
            Just(BodyMode::Streamed),
            Just(BodyMode::FullDuplex)
        ]
    };
    (mode(), mode()).prop_map(|(request, response)| Modes { request, response })
}

/// Messages as Envoy sends them, in their order.
fn mk_messages() -> impl Strategy<Value = Vec<ProcessingRequest>> {
    (mk_modes(), vec(vec(any::<u8>(), 0..60), 1..4), any::<bool>()).prop_map(|(modes, chunks, trailers)| {
        let headers = request_headers([(":method", "POST"), (":path", "/"), ("content-length", "7")]);
        let mut messages = vec![with_modes(headers, modes)];
        if modes.request != BodyMode::None {
            let whole = modes.request == BodyMode::Buffered;
            let chunks = if whole { vec![chunks.concat()] } else { chunks };
            let last = chunks.len() - 1;
            for (index, chunk) in chunks.into_iter().enumerate() {
                messages.push(request_body(chunk, index == last && !trailers));
            }
            if trailers {
                messages.push(request_trailers([("t", "1")]));
            }
        }
        messages.push(response_headers([(":status", "200")]).ends());
        messages
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in vec(any::<u8>(), 0..600), cuts in vec(any::<Index>(), 0..4)) {
        let (_, answered) = called(&bytes, &cuts);
        prop_assert!(answered <= bound(bytes.len()), "{answered} bytes for {}", bytes.len());
    }

    #[test]
    fn arbitrary_messages(payloads in vec(vec(any::<u8>(), 0..200), 1..4), cuts in vec(any::<Index>(), 0..4)) {
        let bytes = payloads.iter().map(|payload| framed(payload)).collect::<Vec<_>>().concat();
        let (status, answered) = called(&bytes, &cuts);
        prop_assert!(answered <= bound(bytes.len()), "{answered} bytes for {}", bytes.len());
        if ProcessingRequest::decode(&payloads[0][..]).is_err() {
            prop_assert!(status != "0", "what cannot be read ended with OK: Envoy would let the request pass");
        }
    }

    #[test]
    fn valid_messages_with_bytes_changed(
        messages in mk_messages(),
        changes in vec((any::<Index>(), any::<u8>(), 0..3_u8), 1..6),
        cuts in vec(any::<Index>(), 0..4),
    ) {
        let mut bytes = BytesMut::new();
        for message in &messages {
            bytes.extend_from_slice(&framed(&message.encode_to_vec()));
        }
        let mut bytes = bytes.to_vec();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        let (_, answered) = called(&bytes, &cuts);
        prop_assert!(answered <= bound(bytes.len()), "{answered} bytes for {}", bytes.len());
    }

    #[test]
    fn valid_messages_that_end_too_early(messages in mk_messages(), keep in any::<Index>(), cuts in vec(any::<Index>(), 0..4)) {
        let frames: Vec<Vec<u8>> = messages.iter().map(|message| framed(&message.encode_to_vec())).collect();
        let all = frames.concat();
        let keep = keep.index(all.len());
        let (status, _) = called(&all[..keep], &cuts);
        // tonic takes an end between a frame's five bytes of prefix and its content for a clean one.
        let mut starts = vec![0];
        for frame in &frames {
            starts.push(starts[starts.len() - 1] + frame.len());
        }
        let is_whole = starts.iter().any(|start| keep == *start || keep == start + 5);
        prop_assert!(is_whole || status != "0", "a message that was cut ended with OK");
        prop_assert_eq!(called(&all, &cuts).0, "0");
    }
}
