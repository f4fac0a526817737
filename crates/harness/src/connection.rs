//! The client's side of a TCP connection. Reads on when it cannot write any more: a server that answers an upload early may close
//! the connection while the upload is still being sent, and what it has said until then is the answer.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Once a write has failed, writes take no more and do not fail either: what is read decides how the connection ends.
pub(crate) struct Connection {
    stream: TcpStream,
    /// A write has failed.
    is_cut: bool,
}

impl Connection {
    /// Sends small segments at once, as browsers and curl do: else the end of each HTTP/2 window waits 40 ms for an ACK.
    pub(crate) async fn to(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            is_cut: false,
        })
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.is_cut {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, bytes)) {
                Ok(written) => return Poll::Ready(Ok(written)),
                Err(_) => self.is_cut = true,
            }
        }
        // The reading side wakes the task, at the latest with the end of the connection.
        Poll::Pending
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::{Client, Upload};

    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno";

    /// Answers the first request when it has read some of it, and resets the connection.
    async fn answer_and_reset(listener: TcpListener) {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 100_000]).await.unwrap();
        stream.write_all(ANSWER).await.unwrap();
        // The rest of the upload is unread: so the end of the connection is a reset.
        drop(stream);
    }

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn what_was_said_before_a_reset_is_read_although_writes_fail() {
        let (listener, address) = listen().await;
        let (mut reader, mut writer) = io::split(Connection::to(address).await.unwrap());
        let server = tokio::spawn(answer_and_reset(listener));
        let upload = async {
            loop {
                writer.write_all(&[0; 65_536]).await.expect("must not fail");
            }
        };
        tokio::select! {
            biased;
            () = upload => unreachable!(),
            ended = server => ended.unwrap(),
        }
        // What is written from now on is answered by a reset.
        let still = writer.write_all(&[0; 1 << 24]);
        let mut answer = vec![0; ANSWER.len()];
        tokio::select! {
            biased;
            written = still => panic!("must take no more: {written:?}"),
            read = reader.read_exact(&mut answer) => assert_eq!(read.unwrap(), ANSWER.len()),
        }
        assert_eq!(answer, ANSWER);
    }

    #[tokio::test]
    async fn an_upload_that_is_cut_gets_the_answer_that_came_before() {
        for _ in 0..20 {
            let (listener, address) = listen().await;
            let server = tokio::spawn(answer_and_reset(listener));
            let upload = Upload::new(50_000_000, 1).undeclared();
            let reply = Client::at(address, "web")
                .post("/echo", "")
                .body(upload)
                .send()
                .await;
            assert_eq!((reply.status, reply.text()), (503, "no"));
            server.await.unwrap();
        }
    }
}
