//! What a server listens on: TCP addresses, unix sockets, and sockets that are open already.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::ServeError;

/// What to listen on: a [`SocketAddr`], a [`TcpListener`], or a unix socket by [`uds`].
#[derive(Debug)]
pub struct Listen(On);

#[derive(Debug)]
enum On {
    Address(SocketAddr),
    Open(TcpListener),
    Unix(PathBuf),
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self(On::Address(address))
    }
}

impl From<TcpListener> for Listen {
    fn from(listener: TcpListener) -> Self {
        Self(On::Open(listener))
    }
}

/// A unix socket at this path. A socket that was left there by an earlier process is replaced; any other file is not.
pub fn uds(path: impl AsRef<Path>) -> Listen {
    Listen(On::Unix(path.as_ref().to_owned()))
}

impl Listen {
    pub(super) async fn bind(self) -> Result<Listener, ServeError> {
        match self.0 {
            On::Address(address) => TcpListener::bind(address)
                .await
                .map(Listener::Tcp)
                .map_err(|source| ServeError::Listen {
                    address: address.to_string(),
                    source,
                }),
            On::Open(listener) => Ok(Listener::Tcp(listener)),
            On::Unix(path) => bind_unix(&path)
                .map(|listener| Listener::Unix(listener, Remove(path.clone())))
                .map_err(|source| ServeError::Listen {
                    address: path.display().to_string(),
                    source,
                }),
        }
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    // A socket on which a server still listens is left alone.
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path).is_err()
    {
        std::fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}

/// Removes the socket's file when the server ends.
#[derive(Debug)]
pub(super) struct Remove(PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        // Gone already: nothing is left to remove.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(
        UnixListener,
        #[allow(dead_code, reason = "removes the file when it is dropped")] Remove,
    ),
}

impl Listener {
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(cx).map_ok(|(stream, _)| {
                // Small messages that wait for each other: never delay them. A socket that is closed already says so when read.
                let _ = stream.set_nodelay(true);
                Socket::Tcp(stream)
            }),
            Self::Unix(listener, _) => listener
                .poll_accept(cx)
                .map_ok(|(stream, _)| Socket::Unix(stream)),
        }
    }
}

/// The connections that come in on all listeners.
#[derive(Debug)]
pub(super) struct Sockets {
    listeners: Vec<Listener>,
    /// Where to begin, so that none starves.
    next: usize,
    /// After a connection that could not be taken (no descriptor is left, say): until when no other is tried.
    pause: Option<Pin<Box<Sleep>>>,
}

/// How long that is.
const PAUSE: Duration = Duration::from_millis(100);

impl Sockets {
    pub(super) fn new(listeners: Vec<Listener>) -> Self {
        Self {
            listeners,
            next: 0,
            pause: None,
        }
    }
}

impl Stream for Sockets {
    type Item = io::Result<Socket>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let count = self.listeners.len();
        for offset in 0..count {
            let index = (self.next + offset) % count;
            if let Some(listener) = self.listeners.get(index)
                && let Poll::Ready(socket) = listener.poll_accept(cx)
            {
                self.next = (index + 1) % count;
                if let Err(error) = &socket {
                    tracing::warn!("a connection cannot be taken: {error}");
                    self.pause = Some(Box::pin(sleep(PAUSE)));
                }
                return Poll::Ready(Some(socket));
            }
        }
        Poll::Pending
    }
}

/// A connection of either kind.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connected for Socket {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        match self {
            Self::Tcp(stream) => stream.connect_info(),
            Self::Unix(_) => TcpConnectInfo {
                local_addr: None,
                remote_addr: None,
            },
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }
}
