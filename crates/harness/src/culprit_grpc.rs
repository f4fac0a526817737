//! A server that speaks nothing but gRPC over HTTP/2, by an implementation of HTTP/2 that is in use.

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::culprit::Count;

/// What it makes of a request that is no gRPC call: not a POST, or of another content type.
#[derive(Clone, Copy, Debug)]
pub enum NoCall {
    /// Resets the stream, as servers do that have no answer in HTTP.
    Resets,
    /// Ends the connection.
    Closes,
    /// Says this HTTP status, with a grpc-status beside it.
    Says(u16),
}

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
/// Not compressed, no bytes.
const EMPTY_MESSAGE: [u8; 5] = [0; 5];
const OK: HeaderValue = HeaderValue::from_static("0");
const INVALID_ARGUMENT: HeaderValue = HeaderValue::from_static("3");

pub(crate) async fn serve(
    socket: impl AsyncRead + AsyncWrite + Unpin,
    otherwise: NoCall,
    count: &Count,
) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(socket).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted?;
        let agent = request.headers().get("user-agent");
        count.request(agent.map_or(b"", HeaderValue::as_bytes));
        if is_call(&request) {
            answer(&mut respond)?;
            continue;
        }
        match otherwise {
            NoCall::Resets => respond.send_reset(Reason::PROTOCOL_ERROR),
            NoCall::Closes => return Ok(()),
            NoCall::Says(status) => {
                let mut refused = Response::new(());
                *refused.status_mut() = status.try_into().expect("an HTTP status");
                refused.headers_mut().insert("content-type", GRPC);
                refused.headers_mut().insert("grpc-status", INVALID_ARGUMENT);
                respond.send_response(refused, true)?;
            }
        }
    }
    Ok(())
}

fn is_call<B>(request: &Request<B>) -> bool {
    request.method() == Method::POST && request.headers().get("content-type") == Some(&GRPC)
}

fn answer(respond: &mut SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", GRPC);
    let mut body = respond.send_response(head, false)?;
    body.send_data(Bytes::from_static(&EMPTY_MESSAGE), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", OK);
    body.send_trailers(trailers)
}
