//! `observe`: an access log of what passes, a line of JSON for each exchange. Made for `observability_mode`, where Envoy does not
//! wait; works in every other mode as well.

use std::{
    borrow::Cow,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use extproc::{Body, BodyReply, End, Exchange, Processor, Reply};
use serde::Serialize;

use crate::algorithms::rfc3339::rfc3339;

/// Lines that may wait for the writer: some 2 MB.
const WAITING: usize = 8_192;

/// Where lines go: a thread of its own writes them. A writer that is too slow loses lines and never holds up requests; how many
/// were lost stands in the next line as `lost`.
#[derive(Clone, Debug)]
pub struct AccessLog {
    lines: SyncSender<Vec<u8>>,
    lost: Arc<AtomicU64>,
}

impl AccessLog {
    /// Writes to `output`, until the last clone is dropped.
    #[must_use]
    pub fn new(mut output: impl Write + Send + 'static) -> Self {
        let (lines, waiting) = sync_channel::<Vec<u8>>(WAITING);
        thread::spawn(move || {
            for line in waiting {
                // Where lines cannot be written, requests go on.
                let _ = output.write_all(&line).and_then(|()| output.flush());
            }
        });
        Self {
            lines,
            lost: Arc::default(),
        }
    }

    fn write(&self, mut line: Line<'_>) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        line.lost = (lost > 0).then_some(lost);
        let Ok(mut text) = serde_json::to_vec(&line) else {
            return;
        };
        text.push(b'\n');
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.lines.try_send(text) {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }
}

/// What is said of one exchange; what Envoy does not show is absent.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authority: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Bytes of bodies, as far as they were shown.
    request_bytes: u64,
    response_bytes: u64,
    duration_us: u64,
    end: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
}

/// Writes an access log.
#[derive(Clone, Debug)]
pub struct Observe {
    log: AccessLog,
}

/// Bytes of bodies seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    request: u64,
    response: u64,
}

impl Observe {
    /// Writes to `log`.
    #[must_use]
    pub fn new(log: AccessLog) -> Self {
        Self { log }
    }
}

impl Processor for Observe {
    type State = Seen;

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("observe")
    }

    async fn request_body(&self, exchange: &Exchange<Seen>, mut body: Body) -> Reply<BodyReply> {
        while let Some(chunk) = body.inspect().await? {
            exchange.state().request += chunk.len() as u64;
        }
        Ok(BodyReply::unchanged())
    }

    async fn response_body(&self, exchange: &Exchange<Seen>, mut body: Body) -> Reply<BodyReply> {
        while let Some(chunk) = body.inspect().await? {
            exchange.state().response += chunk.len() as u64;
        }
        Ok(BodyReply::unchanged())
    }

    fn ended(&self, exchange: &Exchange<Seen>, end: End) {
        let seen = *exchange.state();
        self.log.write(Line {
            time: rfc3339(exchange.started_at()),
            request_id: exchange.request_id(),
            method: exchange.method(),
            authority: exchange.authority(),
            path: exchange.path_and_query(),
            status: exchange.status(),
            request_bytes: seen.request,
            response_bytes: seen.response,
            duration_us: u64::try_from(exchange.started().elapsed().as_micros()).unwrap_or(u64::MAX),
            end: end.name(),
            lost: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{FULL_DUPLEX, NONE, Talk};

    #[tokio::test]
    async fn writes_a_line_for_each_exchange() {
        let (log, lines) = mk_log();
        let talk = Talk::new(Observe::new(log))
            .modes(FULL_DUPLEX)
            .chunk(2)
            .header("x-request-id", "1");
        let talk = talk.put("/a?b", "body").reply(201, "answer").await;
        assert_eq!(
            (talk.upstream_body(), talk.client_body()),
            ("body".into(), "answer".into())
        );
        let mut line: Value = serde_json::from_slice(&lines.recv().unwrap()).unwrap();
        let time = line["time"].take();
        assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
        assert!(line["duration_us"].take().is_u64());
        let expected = json!({
            "time": null, "duration_us": null, "request_id": "1", "method": "PUT", "authority": "example.com",
            "path": "/a?b", "status": 201, "request_bytes": 4, "response_bytes": 6, "end": "completed",
        });
        assert_eq!(line, expected);
    }

    #[tokio::test]
    async fn a_writer_that_stands_still_loses_lines_and_says_how_many() {
        let (go, stopped) = channel::<()>();
        let (sender, lines) = channel();
        let mut held = Some(stopped);
        let log = AccessLog::new(Output(move |line: &[u8]| {
            if let Some(stopped) = held.take() {
                stopped.recv().unwrap();
            }
            sender.send(line.to_vec()).unwrap();
        }));
        for _ in 0..WAITING + 11 {
            log.write(mk_line());
        }
        go.send(()).unwrap();
        assert!(lines.recv().is_ok());
        crate::testing::eventually(|| {
            log.write(mk_line());
            lines
                .try_iter()
                .any(|line| String::from_utf8_lossy(&line).contains("\"lost\":"))
        })
        .await;
    }

    #[tokio::test]
    async fn says_only_what_it_was_shown() {
        let (log, lines) = mk_log();
        Talk::new(Observe::new(log))
            .modes(NONE)
            .get("/a")
            .reply(200, "x")
            .await;
        let line: Value = serde_json::from_slice(&lines.recv().unwrap()).unwrap();
        assert_eq!(line.get("request_id"), None);
    }

    struct Output<F>(F);

    impl<F: FnMut(&[u8])> Write for Output<F> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            (self.0)(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn mk_log() -> (AccessLog, Receiver<Vec<u8>>) {
        let (sender, lines) = channel();
        let output = Output(move |line: &[u8]| {
            let _ = sender.send(line.to_vec());
        });
        (AccessLog::new(output), lines)
    }

    fn mk_line() -> Line<'static> {
        Line {
            time: String::new(),
            request_id: None,
            method: None,
            authority: None,
            path: None,
            status: None,
            request_bytes: 0,
            response_bytes: 0,
            duration_us: 0,
            end: "completed",
            lost: None,
        }
    }
}
