//! A processor of ten lines: every response says hello. `cargo run -p extproc --example hello`

use extproc::{Exchange, Headers, HeadersReply, Processor, Reply, Server};

struct Hello;

impl Processor for Hello {
    type State = ();

    async fn response_headers(&self, exchange: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        let path = exchange.path().unwrap_or("somewhere");
        Ok(HeadersReply::unchanged().set("x-hello", format!("from {path}")))
    }
}

#[tokio::main]
async fn main() -> Result<(), extproc::ServeError> {
    Server::new(Hello).serve().await
}
