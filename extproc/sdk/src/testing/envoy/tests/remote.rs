//! The same over a real channel, to a real server: what holds in memory holds there.

use std::net::Ipv4Addr;

use super::{bytes, large};
use crate::modes::BodyMode;
use crate::testing::{Envoy, ViolationKind, get};
use crate::{Body, BodyReply, Exchange, Headers, HeadersReply, Immediate, Server};

/// The address of a server that lets bodies pass piece by piece, and denies requests with `x-deny`.
async fn serve() -> String {
    let processor = crate::processor::<()>("forward")
        .on_request_headers(async |_: Exchange<()>, headers: Headers| {
            if headers.contains("x-deny") {
                return Err(Immediate::new(403).body("no").into());
            }
            Ok(HeadersReply::unchanged().set("x-seen", "up"))
        })
        .on_request_body(async |_: Exchange<()>, body: Body| forward(body).await)
        .on_response_body(async |_: Exchange<()>, body: Body| forward(body).await);
    let bound = Server::new(processor)
        .listen(std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .shutdown(std::future::pending())
        .bind()
        .await
        .unwrap();
    let address = bound.addresses()[0];
    // It ends with the test's runtime.
    tokio::spawn(bound.serve());
    format!("http://{address}")
}

async fn forward(body: Body) -> crate::Reply<BodyReply> {
    let (mut reader, mut writer) = body.split();
    while let Some(chunk) = reader.next().await? {
        writer.send(chunk).await?;
    }
    Ok(BodyReply::written())
}

#[tokio::test]
async fn a_server_is_driven_over_its_address() {
    let address = serve().await;
    for mode in [
        BodyMode::None,
        BodyMode::Buffered,
        BodyMode::Streamed,
        BodyMode::FullDuplex,
    ] {
        let got = Envoy::connect(&address)
            .unwrap()
            .modes(mode)
            .request(large())
            .graceful()
            .await;
        assert_eq!(got.upstream().header("x-seen"), Some("up"), "{mode:?}");
        assert!(got.upstream().body() == &bytes(), "{mode:?}");
        assert!(got.client().body() == &bytes(), "{mode:?}");
        assert_eq!(got.ended(), Some(tonic::Code::Ok), "{mode:?}");
    }
    let got = Envoy::connect(&address)
        .unwrap()
        .request(get("/").header("x-deny", "1"))
        .await;
    assert_eq!((got.immediate(), got.client().text().as_str()), (Some(403), "no"));
}

#[tokio::test]
async fn a_large_body_goes_both_ways_under_flow_control() {
    let address = serve().await;
    let body: Vec<u8> = (0..5 << 20_u32).map(|at| (at % 253) as u8).collect();
    let request = crate::testing::post("/").body(body.clone());
    let got = Envoy::connect(address)
        .unwrap()
        .modes(BodyMode::FullDuplex)
        .request(request)
        .await;
    assert!(got.client().body() == &body);
}

#[tokio::test]
async fn without_a_server_it_is_500_or_passes_as_the_filter_says() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let to_nobody = || {
        Envoy::connect(format!("http://127.0.0.1:{port}"))
            .unwrap()
            .request(large())
    };
    let got = to_nobody().await;
    assert_eq!((got.client().status(), got.reached_upstream()), (500, false));
    assert_eq!(got.ended(), Some(tonic::Code::Unavailable));
    let got = to_nobody().failure_mode_allow().await;
    assert!(got.upstream().body() == &bytes());
    assert!(Envoy::connect("not an address").is_err());
    assert!(
        !got.violations()
            .iter()
            .any(|violation| violation.kind() == ViolationKind::Unprocessed)
    );
}
