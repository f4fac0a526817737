//! M chunks in, N out, in constant memory: lines of a response get their numbers, whatever the chunks. Works in STREAMED and in
//! FULL_DUPLEX_STREAMED. `cargo run -p extproc --example streaming`

use bytes::{BufMut, BytesMut};
use extproc::{Body, BodyReply, Exchange, Headers, HeadersReply, Processor, Reply, Server, Stop};

/// The longest line, in bytes: what is gathered is bounded.
const LONGEST: usize = 64 << 10;

struct NumberLines;

impl Processor for NumberLines {
    type State = ();

    async fn response_headers(&self, _: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        Ok(HeadersReply::unchanged().remove("content-length"))
    }

    async fn response_body(&self, _: &Exchange<()>, body: Body) -> Reply<BodyReply> {
        let (mut reader, mut writer) = body.split();
        let (mut number, mut rest) = (1_u64, BytesMut::new());
        while let Some(chunk) = reader.next().await? {
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                writer.send(numbered(number, &rest.split_to(end + 1))).await?;
                number += 1;
            }
            if rest.len() > LONGEST {
                return Err(Stop::fail("a line is too long"));
            }
        }
        if !rest.is_empty() {
            writer.send(numbered(number, &rest)).await?;
        }
        Ok(BodyReply::written())
    }
}

fn numbered(number: u64, line: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_slice(format!("{number}: ").as_bytes());
    out.put_slice(line);
    out
}

#[tokio::main]
async fn main() -> Result<(), extproc::ServeError> {
    Server::new(NumberLines).serve().await
}
