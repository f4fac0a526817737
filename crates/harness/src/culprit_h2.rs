//! The few frames of HTTP/2 that a gRPC server needs to answer wrongly. <https://www.rfc-editor.org/rfc/rfc9113>

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::culprit::Count;

/// What a gRPC server makes of each call.
#[derive(Clone, Copy, Debug)]
pub enum Health {
    /// Sends headers and resets the stream.
    ResetAfterHeaders,
    /// Sends headers and nothing more.
    OnlyHeaders,
    /// Answers with this `ServingStatus`: 0 UNKNOWN, 1 SERVING, 2 NOT_SERVING.
    Says(u8),
    /// Answers with this grpc-status and no message: 12 UNIMPLEMENTED.
    Fails(u8),
}

const PREFACE: usize = 24;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const INTERNAL_ERROR: [u8; 4] = [0, 0, 0, 2];

pub(crate) async fn serve(mut socket: TcpStream, health: Health, count: &Count) -> std::io::Result<()> {
    let mut preface = [0; PREFACE];
    socket.read_exact(&mut preface).await?;
    socket.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        socket.read_exact(&mut payload).await?;
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        let answer = match kind {
            SETTINGS if flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(PING, ACK, 0, &payload),
            HEADERS => {
                count.question();
                answer(stream, health)
            }
            _ => continue,
        };
        socket.write_all(&answer).await?;
    }
}

fn answer(stream: u32, health: Health) -> Vec<u8> {
    let headers = frame(HEADERS, END_HEADERS, stream, &response_headers());
    let mut out = headers;
    match health {
        Health::ResetAfterHeaders => out.extend(frame(RST_STREAM, 0, stream, &INTERNAL_ERROR)),
        Health::OnlyHeaders => {}
        Health::Says(status) => {
            // One gRPC message: not compressed, two bytes long, field 1 as a varint.
            let message = [0, 0, 0, 0, 2, 0x08, status];
            out.extend(frame(DATA, 0, stream, &message));
            out.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &grpc_status(0)));
        }
        Health::Fails(status) => {
            let block = [response_headers(), grpc_status(status)].concat();
            return frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
        }
    }
    out
}

/// `:status 200` and `content-type: application/grpc`, by HPACK's static table.
fn response_headers() -> Vec<u8> {
    let value = b"application/grpc";
    let mut block = vec![0x88, 0x0f, 0x10, 16];
    block.extend(value);
    block
}

fn grpc_status(status: u8) -> Vec<u8> {
    let (name, value) = (b"grpc-status", status.to_string());
    let mut block = vec![0, 11];
    block.extend(name);
    block.push(u8::try_from(value.len()).unwrap());
    block.extend(value.as_bytes());
    block
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = vec![a, b, c, kind, flags];
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}
