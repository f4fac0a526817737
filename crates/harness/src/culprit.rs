//! Servers that answer wrongly, each in one way, for as long as the test wants.
//!
//! They run inside the test's own process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::culprit_grpc::{self, NoCall};
use crate::culprit_h2::{self, Health};
use crate::culprit_tls::Tls;
use crate::{Target, free_port};

/// What a culprit does with each request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Takes the connection, reads, and never says a word.
    Silent,
    /// Closes the connection once it has been asked.
    Closes,
    /// Sends these bytes and closes the connection.
    Cut(&'static str),
    /// Sends the first text, and, but to a HEAD, then the second for ever, so often.
    Endless(&'static str, &'static str, Duration),
    /// Says `200` with an empty body after this time.
    Late(Duration),
    /// One request at a time over all connections, each `200` after this time: a worker with a single thread.
    OneAtATime(Duration),
    /// Does this to Holdfast's questions alone. Anything else is answered `200` with an empty body.
    Questions(Box<Fault>),
    /// Says `200` to this host, and `503` to any other: a proxy that has no such virtual host.
    Host(&'static str),
    /// HTTP/2: what it makes of `grpc.health.v1.Health/Check`, and of any other call.
    Health(Health),
    /// HTTP/2: answers each gRPC call with an empty message and OK, and does this to anything else.
    OnlyGrpc(NoCall),
}

/// A server on a port of its own. It ends when it is dropped.
#[derive(Debug)]
pub struct Culprit {
    port: u16,
    asked: Arc<AtomicUsize>,
    served: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Culprit {
    /// Starts it.
    pub async fn start(fault: Fault) -> Self {
        Self::listen(fault, None).await
    }

    /// Starts it behind TLS. Not for [`Fault::Health`], which reads plain text only.
    pub async fn start_with_tls(fault: Fault, tls: &Tls) -> Self {
        Self::listen(fault, Some(tls.clone())).await
    }

    async fn listen(fault: Fault, tls: Option<Tls>) -> Self {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let served = Arc::new(AtomicUsize::new(0));
        let count = Count {
            asked: Arc::clone(&asked),
            served: Arc::clone(&served),
        };
        let task = tokio::spawn(serve(listener, fault, tls, count));
        Self {
            port,
            asked,
            served,
            task,
        }
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Questions of Holdfast that have reached it. With [`Fault::Health`], which does not read headers, all calls.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Requests that have reached it and were no questions of Holdfast.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    /// Makes Envoy's cluster of a target lead here. What the control plane starts is another process, which is ready at once.
    pub fn behind(&self, mut target: Target) -> Target {
        target.port = self.port;
        target
    }
}

impl Drop for Culprit {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, fault: Fault, tls: Option<Tls>, count: Count) {
    let turn = Arc::new(tokio::sync::Mutex::new(()));
    // Ends with this task.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (fault, tls) = (fault.clone(), tls.clone());
        let (turn, count) = (Arc::clone(&turn), count.clone());
        connections.spawn(async move {
            // A peer that goes away in the middle is what most of these are for.
            let _ = match (fault, tls) {
                (Fault::Health(health), _) => culprit_h2::serve(socket, health, &count).await,
                (fault, None) => speak(socket, &fault, &turn, &count).await,
                (fault, Some(tls)) => match tls.accept(socket).await {
                    Ok(socket) => speak(socket, &fault, &turn, &count).await,
                    Err(error) => Err(error),
                },
            };
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn speak(
    socket: impl AsyncRead + AsyncWrite + Unpin,
    fault: &Fault,
    turn: &tokio::sync::Mutex<()>,
    count: &Count,
) -> std::io::Result<()> {
    match fault {
        Fault::OnlyGrpc(otherwise) => culprit_grpc::serve(socket, *otherwise, count)
            .await
            .map_err(std::io::Error::other),
        fault => http1(socket, fault, turn, count).await,
    }
}

/// How often it was asked, and how often it served.
#[derive(Clone)]
pub(crate) struct Count {
    asked: Arc<AtomicUsize>,
    served: Arc<AtomicUsize>,
}

impl Count {
    /// One more request, with these bytes of headers. True if it is a question.
    pub(crate) fn request(&self, headers: &[u8]) -> bool {
        let is_question = headers.windows(AGENT.len()).any(|window| window == AGENT);
        if is_question {
            self.question();
        } else {
            self.served.fetch_add(1, Ordering::SeqCst);
        }
        is_question
    }

    pub(crate) fn question(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
    }
}

const AGENT: &[u8] = b"holdfast-confirm/";

async fn http1(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    fault: &Fault,
    turn: &tokio::sync::Mutex<()>,
    count: &Count,
) -> std::io::Result<()> {
    let mut read = Vec::new();
    loop {
        // Requests without bodies only: the next begins where the last headers end.
        let end = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if socket.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let request: Vec<u8> = read.drain(..end).collect();
        let fault = match (fault, count.request(&request)) {
            (Fault::Questions(fault), true) => fault.as_ref(),
            (Fault::Questions(_), false) => &Fault::Late(Duration::ZERO),
            (fault, _) => fault,
        };
        match fault {
            Fault::Host(host) => {
                let knows = String::from_utf8_lossy(&request).contains(&format!("host: {host}\r\n"));
                socket
                    .write_all(if knows { EMPTY_200 } else { EMPTY_503 })
                    .await?;
            }
            Fault::Silent => while socket.read_buf(&mut read).await? > 0 {},
            Fault::Closes => return Ok(()),
            Fault::Cut(bytes) => {
                socket.write_all(bytes.as_bytes()).await?;
                return socket.shutdown().await;
            }
            Fault::Endless(head, more, period) => {
                socket.write_all(head.as_bytes()).await?;
                while !request.starts_with(b"HEAD ") {
                    socket.write_all(more.as_bytes()).await?;
                    tokio::time::sleep(*period).await;
                }
            }
            Fault::Late(after) => {
                tokio::time::sleep(*after).await;
                socket.write_all(EMPTY_200).await?;
            }
            Fault::OneAtATime(each) => {
                let _turn = turn.lock().await;
                tokio::time::sleep(*each).await;
                socket.write_all(EMPTY_200).await?;
            }
            Fault::Health(_) | Fault::OnlyGrpc(_) | Fault::Questions(_) => {
                unreachable!("speaks HTTP/2, or is looked into above")
            }
        }
    }
}

const EMPTY_200: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const EMPTY_503: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
