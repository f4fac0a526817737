//! What the attempts of all probes have in common: how they connect, how they name themselves, and how they say no.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::net::TcpStream;

/// How a probe names itself.
pub(super) const USER_AGENT: &str = concat!("holdfast-probe/", env!("CARGO_PKG_VERSION"));

/// Why an attempt has not said ready, for people: a few words.
pub(super) type No = Cow<'static, str>;

/// A connection to the process that listens there.
pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream, No> {
    TcpStream::connect(address).await.map_err(|e| match e.kind() {
        ErrorKind::ConnectionRefused => Cow::Borrowed("refused"),
        _ => e.to_string().into(),
    })
}
