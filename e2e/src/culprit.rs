//! Servers that answer wrongly, each in one way, for as long as the test wants.
//!
//! They run inside the test's own process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::culprit_h2::{self, Health};
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
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let served = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(serve(listener, fault, Arc::clone(&asked), Arc::clone(&served)));
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

    /// Questions of Holdfast that have reached it. Over HTTP/2, where `user-agent` stands in Huffman's code, all calls.
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

async fn serve(listener: TcpListener, fault: Fault, asked: Arc<AtomicUsize>, served: Arc<AtomicUsize>) {
    let turn = Arc::new(tokio::sync::Mutex::new(()));
    // Ends with this task.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let count = Count {
            asked: Arc::clone(&asked),
            served: Arc::clone(&served),
        };
        let (fault, turn) = (fault.clone(), Arc::clone(&turn));
        connections.spawn(async move {
            // A peer that goes away in the middle is what most of these are for.
            let _ = match fault {
                Fault::Health(health) => culprit_h2::serve(socket, health, &count).await,
                fault => http1(socket, &fault, &turn, &count).await,
            };
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Who asked how often.
pub(crate) struct Count {
    asked: Arc<AtomicUsize>,
    served: Arc<AtomicUsize>,
}

impl Count {
    /// One more request, with these bytes of headers. True if it is a question.
    fn request(&self, headers: &[u8]) -> bool {
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
    mut socket: TcpStream,
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
            Fault::Health(_) | Fault::Questions(_) => unreachable!("speaks HTTP/2, or is looked into above"),
        }
    }
}

const EMPTY_200: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const EMPTY_503: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
