//! Lines on their way to where they are written: taken without waiting, written by a thread of its own.
//!
//! A full disk, a closed pipe, a reader that has stopped reading: a line is lost and counted, never more. What comes after
//! a line that was written in part begins on a line of its own.

use std::io::{ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing::warn;

use super::plain;

/// Most bytes that wait to be written: some thousands of lines, for a reader that stops for a moment.
const MAX_WAITING: usize = 1 << 20;
/// Between two attempts where the other side takes nothing at the moment and says so (`O_NONBLOCK`).
const WRITE_AGAIN: Duration = Duration::from_millis(5);

/// Takes lines. Clones write to the same place.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    lost: Counter,
}

/// Changed by threads that log and by the thread that writes, for as long as a copy takes.
#[derive(Debug, Default)]
struct Waiting {
    /// Whole lines.
    bytes: Vec<u8>,
    /// Some are being written.
    writing: bool,
}

impl Lines {
    /// Starts the thread that writes to `out` for the rest of the process. Fails if there is no thread to be had.
    pub(super) fn start(out: impl Write + Send + 'static, lost: Counter) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            lost,
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write_all(Pen::new(out)))?;
        Ok(Self { shared })
    }

    /// Takes one line with its end, or loses it where too much waits already.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.shared.lock();
        if waiting.bytes.len().saturating_add(line.len()) > MAX_WAITING {
            self.shared.lost.inc();
            return;
        }
        waiting.bytes.extend_from_slice(line);
        drop(waiting);
        self.shared.changed.notify_all();
    }

    /// Waits until all that was taken has been written or lost, `patience` at most.
    pub(super) fn flush(&self, patience: Duration) {
        let waiting = self.shared.lock();
        let _ = self
            .shared
            .changed
            .wait_timeout_while(waiting, patience, |waiting| {
                waiting.writing || !waiting.bytes.is_empty()
            });
    }
}

/// What the subscriber writes at once is one line.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.push(&plain::one_line(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here can be half done: a panic elsewhere must not end the log.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all<W: Write>(&self, mut pen: Pen<W>) {
        let mut batch = Vec::new();
        let mut told = 0;
        loop {
            let mut waiting = self.lock();
            waiting.writing = false;
            self.changed.notify_all();
            while waiting.bytes.is_empty() {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut batch, &mut waiting.bytes);
            waiting.writing = true;
            drop(waiting);
            self.lost.inc_by(pen.write(&batch));
            batch.clear();
            let lost = self.lost.get();
            if !pen.failing && lost > told {
                warn!(
                    event = "log_lines_lost",
                    lines = lost - told,
                    "lines of the log could not be written"
                );
                told = lost;
            }
        }
    }
}

/// Writes lines to `out`, as far as it takes them.
struct Pen<W> {
    out: W,
    /// The last thing written was a part of a line.
    torn: bool,
    /// The last attempt failed.
    failing: bool,
}

impl<W: Write> Pen<W> {
    fn new(out: W) -> Self {
        Self {
            out,
            torn: false,
            failing: false,
        }
    }

    /// Writes whole lines. Returns how many were lost.
    fn write(&mut self, lines: &[u8]) -> u64 {
        let mut lost = 0;
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let end = if self.torn { &b"\n"[..] } else { &[] };
            self.failing = !(self.put(end) && self.put(line));
            lost += u64::from(self.failing);
        }
        lost
    }

    /// False if not all of it could be written.
    fn put(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Ok(written @ 1..) => {
                    let (done, rest) = bytes.split_at(written.min(bytes.len()));
                    self.torn = done.last() != Some(&b'\n');
                    bytes = rest;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => thread::sleep(WRITE_AGAIN),
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc;

    use super::*;

    /// Takes so many bytes, then none until it has failed so often, then all.
    struct Disk {
        room: usize,
        failures: usize,
        taken: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 && self.failures > 0 {
                self.failures -= 1;
                return Err(io::Error::from(ErrorKind::StorageFull));
            }
            let taken = if self.room == 0 {
                bytes.len()
            } else {
                bytes.len().min(self.room)
            };
            self.room -= taken.min(self.room);
            self.taken.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_lost_and_the_next_is_a_line() {
        let mut pen = Pen::new(Disk {
            room: 8,
            failures: 3,
            taken: Vec::new(),
        });
        assert_eq!(
            pen.write(b"first\nsecond\nthird\n"),
            2,
            "must count the torn line and the one after it"
        );
        assert!(pen.failing, "must know that it fails");
        assert_eq!(
            pen.write(b"fourth\nfifth\n"),
            1,
            "must lose lines until it goes on"
        );
        assert!(!pen.failing, "must know that it goes on");
        assert_eq!(
            pen.out.taken, b"first\nse\nfifth\n",
            "must not glue lines together"
        );
    }

    /// Takes nothing until it is told to.
    struct Stalled(mpsc::Receiver<()>);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_caller_waits_for_a_reader_that_has_stopped() {
        let (go_on, stalled) = mpsc::channel();
        let lost = Counter::default();
        let lines = Lines::start(Stalled(stalled), lost.clone()).unwrap();
        let line = [b'x'; 1023].iter().chain(b"\n").copied().collect::<Vec<_>>();
        let room = MAX_WAITING / line.len();
        // One batch may be with the thread already.
        for _ in 0..2 * room + 5 {
            lines.push(&line);
        }
        assert!(lost.get() >= 5, "must lose what is too much: {}", lost.get());
        assert!(
            lost.get() <= room as u64 + 5,
            "must keep what has room: {}",
            lost.get()
        );
        lines.flush(Duration::from_millis(1));
        drop(go_on);
        lines.flush(Duration::from_secs(20));
        assert!(
            lines.shared.lock().bytes.is_empty(),
            "must write the rest once it is read"
        );
    }
}
