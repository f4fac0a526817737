//! A processor of closures: a digest of tenant, method, path and body goes up and down. `cargo run -p extproc --example decorated`

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use extproc::{Body, BodyReply, Exchange, Headers, HeadersReply, Server};

#[derive(Default)]
struct Digest(DefaultHasher);

impl Digest {
    fn text(&self) -> String {
        format!("{:016x}", self.0.finish())
    }
}

#[tokio::main]
async fn main() -> Result<(), extproc::ServeError> {
    let digest = extproc::processor::<Digest>("digest")
        .on_request_headers(async |exchange: Exchange<Digest>, headers: Headers| {
            let mut state = exchange.state();
            for part in [headers.text("x-tenant"), exchange.method(), exchange.path()] {
                state.0.write(part.unwrap_or("unknown").as_bytes());
            }
            // Without a body this is all; else the body's handler has a say in these headers, which needs BUFFERED.
            Ok(HeadersReply::unchanged()
                .set("x-digest", state.text())
                .after_body())
        })
        .on_request_body(|exchange: Exchange<Digest>, mut body: Body| async move {
            let whole = body.collect().await?;
            let mut state = exchange.state();
            state.0.write(&whole);
            Ok(BodyReply::unchanged().set("x-digest", state.text()))
        })
        .on_response_headers(async |exchange: Exchange<Digest>, _: Headers| {
            Ok(HeadersReply::unchanged().set("x-digest", exchange.state().text()))
        });
    Server::new(digest).serve().await
}
