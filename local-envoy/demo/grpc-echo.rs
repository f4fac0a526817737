//! A gRPC client for people: one unary call of `holdfast.echo.v1.Echo`, with the `:authority` that you name.
//!
//! `cargo run --package upstream --example grpc-echo -- 127.0.0.1:9000 grpc.example.com hello`

use std::time::Instant;

use anyhow::Context as _;
use tonic::transport::Endpoint;
use upstream::echo::EchoRequest;
use upstream::echo::echo_client::EchoClient;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: grpc-echo ADDRESS AUTHORITY MESSAGE";
    let (address, authority, message) = (
        args.next().context(usage)?,
        args.next().context(usage)?,
        args.next().context(usage)?,
    );
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let channel = endpoint
        .origin(format!("http://{authority}").parse()?)
        .connect()
        .await?;
    let start = Instant::now();
    let request = EchoRequest { message, delay_ms: 0 };
    let answer = EchoClient::new(channel).unary(request).await?;
    let held = answer
        .metadata()
        .get("server-timing")
        .map_or("not held", |value| value.to_str().unwrap_or("?"));
    let pid = answer.get_ref().pid;
    println!(
        "{} (from process {pid}, {} ms, {held})",
        answer.get_ref().message,
        start.elapsed().as_millis()
    );
    Ok(())
}
