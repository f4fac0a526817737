//! Asks a local process whether it is ready: by a TCP connection, an HTTP request, or a gRPC health check.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::health;
use fleet::config::Probe;

/// The least wait between attempts. One that is refused takes some 30 µs, and a request is waiting.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// How a probe names itself.
pub(super) const USER_AGENT: &str = concat!("holdfast-probe/", env!("CARGO_PKG_VERSION"));
/// Of one attempt.
const PATIENCE: Duration = Duration::from_secs(1);

/// Waits until the probe says ready.
pub(super) async fn until_ready(probe: &Probe) {
    let start = Instant::now();
    while !says_ready(probe).await {
        tokio::time::sleep(wait_after(start.elapsed())).await;
    }
}

/// A hundredth of the start so far, so that what a process takes to start is found out a hundredth late at most: one that takes
/// a second, after 330 attempts.
fn wait_after(elapsed: Duration) -> Duration {
    (elapsed / 100).clamp(SHORTEST_WAIT, LONGEST_WAIT)
}

/// True if a process listens there.
pub(super) async fn is_taken(address: SocketAddr) -> bool {
    matches!(timeout(PATIENCE, TcpStream::connect(address)).await, Ok(Ok(_)))
}

/// True if a connection to it is refused: no process listens there. A connection that is not accepted in time proves nothing.
pub(super) async fn is_refused(address: SocketAddr) -> bool {
    match timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Err(e)) => e.kind() == ErrorKind::ConnectionRefused,
        Ok(Ok(_)) | Err(_) => false,
    }
}

async fn says_ready(probe: &Probe) -> bool {
    match probe {
        Probe::Tcp(address) => is_taken(*address).await,
        Probe::Http(address, path) => {
            matches!(timeout(PATIENCE, answers(*address, path)).await, Ok(Some(())))
        }
        Probe::Grpc(address, service) => {
            let asked = timeout(PATIENCE, health::is_serving(*address, service)).await;
            matches!(asked, Ok(Some(())))
        }
    }
}

/// `Some` if a GET is answered with 2xx or 3xx.
async fn answers(address: SocketAddr, path: &str) -> Option<()> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    let request = Request::get(path)
        .header("host", address.to_string())
        .header("user-agent", USER_AGENT)
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .ok()?;
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    let answer = tokio::select! {
        answer = &mut answer => answer,
        // A server that closes after its answer ends the connection with the answer still to be taken.
        _ = connection => answer.await,
    };
    let status = answer.ok()?.status();
    (status.is_success() || status.is_redirection()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_often_at_first_and_never_seldom() {
        let after = |elapsed: u64| wait_after(Duration::from_millis(elapsed)).as_millis();
        assert_eq!([0, 100, 1000, 60_000].map(after), [1, 1, 10, 50]);
    }
}
