//! Asks a local process whether it is ready: by a TCP connection, an HTTP request, or a gRPC health check.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::attempt::{No, USER_AGENT, connect};
use super::health;
use fleet::config::Probe;

/// The least wait between attempts. One that is refused takes some 30 µs, and a request is waiting.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// Of one attempt.
const PATIENCE: Duration = Duration::from_secs(1);

/// The last no of a probe that is under way; none before the first.
#[derive(Debug, Default)]
pub(super) struct LastNo(Mutex<Option<No>>);

impl LastNo {
    fn set(&self, no: No) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(no);
    }

    pub(super) fn get(&self) -> Option<No> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Waits until the probe says ready; every no until then is noted.
pub(super) async fn until_ready(probe: &Probe, last: &LastNo) {
    let start = Instant::now();
    while let Err(no) = ask(probe).await {
        last.set(no);
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

async fn ask(probe: &Probe) -> Result<(), No> {
    let answer = async {
        match probe {
            Probe::Tcp(address) => connect(*address).await.map(drop),
            Probe::Http(address, path) => answers(*address, path).await,
            Probe::Grpc(address, service) => health::is_serving(*address, service).await,
        }
    };
    match timeout(PATIENCE, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer in {PATIENCE:?}").into()),
    }
}

/// A GET is answered with 2xx or 3xx.
async fn answers(address: SocketAddr, path: &str) -> Result<(), No> {
    const NO_HTTP: No = Cow::Borrowed("no answer in HTTP");
    let stream = TokioIo::new(connect(address).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
        .await
        .map_err(|_| NO_HTTP)?;
    let request = Request::get(path)
        .header("host", address.to_string())
        .header("user-agent", USER_AGENT)
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    let answer = tokio::select! {
        answer = &mut answer => answer,
        // A server that closes after its answer ends the connection with the answer still to be taken.
        _ = connection => answer.await,
    };
    let status = answer.map_err(|_| NO_HTTP)?.status();
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!("status {}", status.as_u16()).into())
    }
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
