//! Two processors in one filter: a request without a key is refused before the second sees it.
//! `cargo run -p extproc --example chain`

use extproc::{Exchange, Headers, HeadersReply, Immediate, Processor, Reply, Server, chain};

struct Keys;

impl Processor for Keys {
    type State = ();

    async fn request_headers(&self, _: &Exchange<()>, headers: &Headers) -> Reply<HeadersReply> {
        match headers.text("x-api-key") {
            Some(key) => Ok(HeadersReply::unchanged().set("x-tenant", key).remove("x-api-key")),
            None => Err(Immediate::new(401).body("no key\n").into()),
        }
    }
}

struct Hello;

impl Processor for Hello {
    type State = ();

    async fn request_headers(&self, _: &Exchange<()>, headers: &Headers) -> Reply<HeadersReply> {
        let tenant = headers.text("x-tenant").unwrap_or("stranger");
        Ok(HeadersReply::unchanged().set("x-hello", tenant))
    }
}

#[tokio::main]
async fn main() -> Result<(), extproc::ServeError> {
    Server::new(chain!(Keys, Hello)).serve().await
}
