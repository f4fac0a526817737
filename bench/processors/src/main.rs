//! `bench-processors sdk|tonic ADDRESS`: an external processor that lets everything pass, written with the SDK, or with tonic and
//! envoy-types alone. Prints `ready ADDRESS` once it listens; port 0 takes a free one.
//!
//! Not among the default members: envoy-types alone takes more than a minute to compile, and only benchmarks need it.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;

use envoy_types::pb::envoy::service::ext_proc::v3 as pb;
use extproc::{Processor, Server};
use futures_util::{Stream, StreamExt};
use pb::external_processor_server::{ExternalProcessor, ExternalProcessorServer};
use pb::processing_request::Request as Phase;
use pb::processing_response::Response as Answer;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, Streaming};

/// With the SDK: no handler at all.
struct Noop;

impl Processor for Noop {
    type State = ();
}

/// With tonic and the published messages: the least that a processor can do.
struct Plain;

#[tonic::async_trait]
impl ExternalProcessor for Plain {
    type ProcessStream = Pin<Box<dyn Stream<Item = Result<pb::ProcessingResponse, Status>> + Send>>;

    async fn process(
        &self,
        request: Request<Streaming<pb::ProcessingRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        let answers = request.into_inner().map(|message| Ok(answer(message?)));
        Ok(Response::new(Box::pin(answers)))
    }
}

fn answer(message: pb::ProcessingRequest) -> pb::ProcessingResponse {
    let headers = pb::HeadersResponse { response: None };
    let body = pb::BodyResponse { response: None };
    let trailers = pb::TrailersResponse {
        header_mutation: None,
    };
    let answer = message.request.map(|phase| match phase {
        Phase::RequestHeaders(_) => Answer::RequestHeaders(headers),
        Phase::ResponseHeaders(_) => Answer::ResponseHeaders(headers),
        Phase::RequestBody(_) => Answer::RequestBody(body),
        Phase::ResponseBody(_) => Answer::ResponseBody(body),
        Phase::RequestTrailers(_) => Answer::RequestTrailers(trailers),
        Phase::ResponseTrailers(_) => Answer::ResponseTrailers(trailers),
    });
    pb::ProcessingResponse {
        response: answer,
        ..Default::default()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(kind), Some(address)) = (args.next(), args.next()) else {
        return Err("usage: bench-processors sdk|tonic ADDRESS".into());
    };
    let listener = TcpListener::bind(address.parse::<SocketAddr>()?).await?;
    println!("ready {}", listener.local_addr()?);
    match kind.as_str() {
        "sdk" => Ok(Server::new(Noop)
            .listen(listener)
            .chain_header(None)
            .serve()
            .await?),
        "tonic" => {
            let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
            let service = ExternalProcessorServer::new(Plain).max_decoding_message_size(16 << 20);
            Ok(tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming)
                .await?)
        }
        other => Err(format!("`{other}`: sdk or tonic").into()),
    }
}
