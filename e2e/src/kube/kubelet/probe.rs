//! Asks a container again and again whether it is ready, as a kubelet does.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::container::{Ask, ReadinessProbe};
use crate::kube::task::Task;

/// A probe at work. It ends with its handle.
pub(super) struct Probing {
    /// The last word.
    pub(super) ready: watch::Receiver<bool>,
    _task: Option<Task>,
    /// Keeps `ready` open where there is no probe.
    _sender: Option<watch::Sender<bool>>,
}

impl Probing {
    /// There is no probe; it stays as it is.
    pub(super) fn fixed(ready: bool) -> Self {
        let (sender, receiver) = watch::channel(false);
        // Sent, so that the first change is seen.
        let _ = sender.send(ready);
        Self {
            ready: receiver,
            _task: None,
            _sender: Some(sender),
        }
    }

    /// Asks from now on.
    pub(super) fn start(probe: ReadinessProbe, ip: Ipv4Addr) -> Self {
        let (sender, ready) = watch::channel(false);
        let task = Task::spawn(async move {
            tokio::time::sleep(probe.initial_delay).await;
            let mut failed = 0;
            loop {
                let answer = tokio::time::timeout(probe.timeout, ask(&probe.ask, ip)).await;
                let yes = matches!(answer, Ok(Ok(true)));
                failed = if yes { 0 } else { failed + 1 };
                if yes || failed >= probe.failures {
                    sender.send_if_modified(|ready| std::mem::replace(ready, yes) != yes);
                }
                tokio::time::sleep(probe.period).await;
            }
        });
        Self {
            ready,
            _task: Some(task),
            _sender: None,
        }
    }
}

/// True for a connection, or for an answer from 200 to 399.
async fn ask(ask: &Ask, ip: Ipv4Addr) -> std::io::Result<bool> {
    let (port, path) = match ask {
        Ask::Tcp(port) => return Ok(TcpStream::connect((ip, *port)).await.is_ok()),
        Ask::Http(port, path) => (*port, path),
    };
    let mut stream = TcpStream::connect((ip, port)).await?;
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: {ip}:{port}\r\nuser-agent: kube-probe/1.20\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut status = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut status).await?;
    Ok(matches!(status.get(9), Some(b'2' | b'3')))
}
