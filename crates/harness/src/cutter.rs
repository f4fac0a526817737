//! Stands between Envoy and the control plane, and spoils its answers while it is told to.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::free_port;

/// Passes everything on but the calls to one path, which get an answer that ends in its middle, or none; or nothing at all.
#[derive(Debug)]
pub struct Cutter {
    port: u16,
    control_port: Arc<AtomicU16>,
    rule: watch::Sender<Rule>,
    spoilt: Arc<Mutex<usize>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Rule {
    #[default]
    Pass,
    Cut(&'static str),
    Keep(&'static str),
    Drop,
}

impl Cutter {
    /// Before the control plane on this port.
    pub async fn before(control_port: u16) -> Self {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let (rule, rules) = watch::channel(Rule::Pass);
        let spoilt = Arc::new(Mutex::new(0));
        let count = Arc::clone(&spoilt);
        let control_port = Arc::new(AtomicU16::new(control_port));
        let there = Arc::clone(&control_port);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (rules, count, there) = (rules.clone(), Arc::clone(&count), Arc::clone(&there));
                connections.spawn(async move {
                    // The side that goes away ends both.
                    let _ = pass_on(socket, &there, rules, &count).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            port,
            control_port,
            rule,
            spoilt,
            task,
        }
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on each call to this path is answered with headers, 17 of 1,000 bytes, and the end of the connection. Connections
    /// that are open are closed.
    pub fn cut(&self, path: &'static str) {
        self.rule.send_replace(Rule::Cut(path));
    }

    /// From now on no call to this path is answered. Connections that are open are closed.
    pub fn keep(&self, path: &'static str) {
        self.rule.send_replace(Rule::Keep(path));
    }

    /// From now on nothing gets through, in either direction, and neither side is told: connections stay open, and new ones are taken.
    pub fn drop_everything(&self) {
        self.rule.send_replace(Rule::Drop);
    }

    /// Connections that begin from now on lead to the control plane on this port.
    pub fn lead_to(&self, control_port: u16) {
        self.control_port.store(control_port, Ordering::SeqCst);
    }

    /// Passes everything on again. What was open while everything was dropped is closed.
    pub fn pass(&self) {
        self.rule.send_replace(Rule::Pass);
    }

    /// Calls that have had no whole answer.
    pub fn spoilt(&self) -> usize {
        *self.spoilt.lock().unwrap()
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(
    mut envoy: TcpStream,
    control_port: &AtomicU16,
    mut rules: watch::Receiver<Rule>,
    spoilt: &Mutex<usize>,
) -> std::io::Result<()> {
    if *rules.borrow_and_update() == Rule::Drop {
        return until_passing(rules).await;
    }
    let there = control_port.load(Ordering::SeqCst);
    let mut control = TcpStream::connect(("127.0.0.1", there)).await?;
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = envoy.read(&mut asked) => match read? {
                0 => return Ok(()),
                n => {
                    let rule = *rules.borrow();
                    let is_for = |path: &str| asked[..n].starts_with(format!("POST {path} ").as_bytes());
                    match rule {
                        Rule::Cut(path) if is_for(path) => {
                            *spoilt.lock().unwrap() += 1;
                            envoy.write_all(HALF_AN_ANSWER).await?;
                            return envoy.shutdown().await;
                        }
                        Rule::Keep(path) if is_for(path) => {
                            *spoilt.lock().unwrap() += 1;
                            // Until Envoy gives up, or the rule changes.
                            tokio::select! {
                                _ = envoy.read(&mut asked) => {}
                                _ = rules.changed() => {}
                            }
                            return Ok(());
                        }
                        _ => control.write_all(&asked[..n]).await?,
                    }
                }
            },
            read = control.read(&mut answered) => match read? {
                0 => return Ok(()),
                n => envoy.write_all(&answered[..n]).await?,
            },
            _ = rules.changed() => {
                let rule = *rules.borrow();
                match rule {
                    Rule::Pass => {}
                    Rule::Drop => return until_passing(rules).await,
                    Rule::Cut(_) | Rule::Keep(_) => return Ok(()),
                }
            }
        }
    }
}

/// The connection ends with it.
async fn until_passing(mut rules: watch::Receiver<Rule>) -> std::io::Result<()> {
    // Its sender goes with everything else.
    let _ = rules.wait_for(|rule| *rule != Rule::Drop).await;
    Ok(())
}

const HALF_AN_ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"revision\":{\"boo";
