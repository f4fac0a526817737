//! What a workload prints: the end of it is kept, and lines are passed on only if the control plane asked for them.
//!
//! A workload may print all the time, and that must cost its supervisor next to nothing. So a pipe is read a hundred times
//! a second at most, whatever there is in it at once; of that only the end is copied. Lines are looked at only where they
//! are passed on, a thousand a second at most. One that prints more than [`ROOM`] in [`PAUSE`] has to wait for its pipe.

use std::io::Read;
use std::os::fd::AsFd;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::MAX_LINE;

/// Between two looks at a pipe that had something.
const PAUSE: Duration = Duration::from_millis(10);
/// Most bytes taken between two pauses, and what a pipe is asked to hold meanwhile: the most that Linux gives any user.
const ROOM: usize = 1 << 20;
/// Taken at once.
const CHUNK: usize = 64 << 10;
/// Lines passed on in a second, and at once.
const LINES: u64 = 1_000;

/// Both outputs of a workload, as far as they are kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Output {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The end of standard error, at most twice [`MAX_LINE`].
    end: Vec<u8>,
    /// The workload has ended: what it has printed is read without pauses.
    ended: bool,
}

/// What is done with lines.
pub(super) type PassOn = Box<dyn FnMut(Passed) + Send>;

/// Something of an output that is passed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// Without the line's end.
    Line(String),
    /// Lines that were left out.
    LeftOut(u64),
}

impl Output {
    /// Reads `pipe` to its end on a thread of its own, which says so at `done`. Its end is kept if it is the `standard_error`.
    pub(super) fn follow<R: Read + AsFd + Send + 'static>(
        &self,
        pipe: R,
        standard_error: bool,
        pass_on: Option<PassOn>,
        done: SyncSender<()>,
    ) {
        let output = self.clone();
        let mut lines = pass_on.map(|pass_on| Lines::new(pass_on, Instant::now()));
        thread::spawn(move || {
            widen(&pipe);
            output.read(pipe, |bytes| {
                if standard_error {
                    output.lock().keep(bytes);
                }
                if let Some(lines) = &mut lines {
                    lines.take(bytes, Instant::now());
                }
            });
            if let Some(lines) = lines {
                lines.finish();
            }
            // The other side has stopped waiting if it took too long.
            let _ = done.try_send(());
        });
    }

    fn read(&self, mut pipe: impl Read, mut take: impl FnMut(&[u8])) {
        let mut chunk = vec![0; CHUNK];
        let mut taken = 0;
        loop {
            let read = match pipe.read(&mut chunk) {
                Ok(read @ 1..) => read,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Ok(_) | Err(_) => return,
            };
            take(chunk.get(..read).unwrap_or_default());
            taken += read;
            if read < CHUNK || taken >= ROOM {
                self.pause();
                taken = 0;
            }
        }
    }

    /// Lets the pipe fill, so that what comes line by line is not read line by line.
    fn pause(&self) {
        let state = self.lock();
        let _ = self
            .shared
            .ended
            .wait_timeout_while(state, PAUSE, |state| !state.ended);
    }

    /// The workload has ended.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.shared.ended.notify_all();
    }

    /// The last line of standard error that is not empty.
    pub(super) fn last_words(&self) -> Option<String> {
        self.lock().last_words()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn keep(&mut self, bytes: &[u8]) {
        let most = 2 * MAX_LINE;
        let new = bytes.get(bytes.len().saturating_sub(most)..).unwrap_or_default();
        let too_many = (self.end.len() + new.len()).saturating_sub(most);
        self.end.drain(..too_many.min(self.end.len()));
        self.end.extend_from_slice(new);
    }

    fn last_words(&self) -> Option<String> {
        let mut lines = self.end.rsplit(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        lines.find(|line| !line.is_empty()).map(text)
    }
}

/// Asks for a pipe that holds more; one that does not is read in smaller pieces.
#[cfg(target_os = "linux")]
fn widen(pipe: &impl AsFd) {
    use nix::fcntl::{FcntlArg, fcntl};
    let _ = fcntl(
        pipe,
        FcntlArg::F_SETPIPE_SZ(i32::try_from(ROOM).unwrap_or(i32::MAX)),
    );
}

#[cfg(not(target_os = "linux"))]
fn widen(_: &impl AsFd) {}

/// Cuts an output into lines and passes some of them on.
struct Lines {
    pass_on: PassOn,
    /// The start of the line that has not ended, at most [`MAX_LINE`].
    line: Vec<u8>,
    /// Lines that may be passed on now.
    allowed: u64,
    /// Since when no more are allowed.
    since: Instant,
    left_out: u64,
}

impl Lines {
    fn new(pass_on: PassOn, now: Instant) -> Self {
        Self {
            pass_on,
            line: Vec::new(),
            allowed: LINES,
            since: now,
            left_out: 0,
        }
    }

    fn take(&mut self, bytes: &[u8], now: Instant) {
        self.allow(now);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (part, ends) = match part.strip_suffix(b"\n") {
                Some(part) => (part, true),
                None => (part, false),
            };
            let room = MAX_LINE - self.line.len().min(MAX_LINE);
            self.line
                .extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
            if ends {
                self.pass();
            }
        }
    }

    fn allow(&mut self, now: Instant) {
        let ms = now.saturating_duration_since(self.since).as_millis();
        let more = u64::try_from(ms).unwrap_or(u64::MAX).saturating_mul(LINES) / 1_000;
        if more > 0 {
            self.allowed = self.allowed.saturating_add(more).min(LINES);
            self.since = now;
        }
    }

    fn pass(&mut self) {
        if self.allowed == 0 {
            self.left_out += 1;
        } else {
            self.allowed -= 1;
            self.tell_left_out();
            (self.pass_on)(Passed::Line(text(self.line.trim_ascii_end())));
        }
        self.line.clear();
    }

    fn tell_left_out(&mut self) {
        if self.left_out > 0 {
            (self.pass_on)(Passed::LeftOut(std::mem::take(&mut self.left_out)));
        }
    }

    fn finish(mut self) {
        if !self.line.is_empty() {
            self.pass();
        }
        self.tell_left_out();
    }
}

/// At most [`MAX_LINE`] bytes of a line.
fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.get(..MAX_LINE.min(line.len())).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn keeps_the_last_line_that_says_something() {
        let mut state = State::default();
        assert_eq!(state.last_words(), None, "must have nothing to say at first");
        for (printed, expected) in [
            (&b"first\nsec"[..], "sec"),
            (b"ond\n\n  \n", "second"),
            (b"caf\xc3\xa9 \xff\n", "café \u{fffd}"),
        ] {
            state.keep(printed);
            assert_eq!(state.last_words().as_deref(), Some(expected), "must be the last");
        }
        for _ in 0..100 {
            state.keep(&[b'x'; 999]);
        }
        assert_eq!(state.end.len(), 2 * MAX_LINE, "must keep no more");
        state.keep(&[b'y'; 100_000]);
        assert_eq!(state.end, [b'y'; 2 * MAX_LINE], "must keep the newest");
        assert_eq!(
            state.last_words().map(|words| words.len()),
            Some(MAX_LINE),
            "must not be longer than a line"
        );
    }

    #[test]
    fn cuts_long_lines_off() {
        let text = format!("{}\nnext\nlast", "x".repeat(3 * MAX_LINE));
        let lengths: Vec<_> = passed(|lines, now| {
            for part in text.as_bytes().chunks(1_000) {
                lines.take(part, now);
            }
        })
        .into_iter()
        .map(|passed| match passed {
            Passed::Line(line) => line.len(),
            Passed::LeftOut(_) => 0,
        })
        .collect();
        assert_eq!(
            lengths,
            [MAX_LINE, 4, 4],
            "must keep the start of a long line and all of the others"
        );
    }

    #[test]
    fn passes_on_so_many_lines_and_counts_the_rest() {
        let many = "a line\n".repeat(5_000);
        let told = passed(|lines, now| {
            lines.take(many.as_bytes(), now);
            lines.take(many.as_bytes(), now + Duration::from_millis(100));
            lines.take(b"last", now + Duration::from_secs(60));
        });
        let count = |from: usize, to: usize| {
            told[from..to]
                .iter()
                .filter(|passed| matches!(passed, Passed::Line(_)))
                .count()
        };
        assert_eq!(count(0, 1_000), 1_000, "must pass on what is allowed at once");
        assert_eq!(told[1_000], Passed::LeftOut(4_000), "must say what it left out");
        assert_eq!(count(1_001, 1_101), 100, "must pass on what is allowed later");
        assert_eq!(
            told[1_101..],
            [Passed::LeftOut(4_900), Passed::Line("last".to_owned())],
            "must count every line"
        );
    }

    /// Counts reads. Each has one line, however much is asked for.
    struct Chatty {
        lines: usize,
        reads: mpsc::Sender<()>,
    }

    impl Read for Chatty {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let _ = self.reads.send(());
            self.lines = match self.lines.checked_sub(1) {
                Some(rest) => rest,
                None => return Ok(0),
            };
            let line = b"a line\n";
            buffer[..line.len()].copy_from_slice(line);
            Ok(line.len())
        }
    }

    #[test]
    fn pauses_after_what_comes_line_by_line_until_the_end() {
        let (reads, count) = mpsc::channel();
        let output = Output::default();
        let start = Instant::now();
        output.read(
            Chatty {
                lines: 5,
                reads: reads.clone(),
            },
            |_| {},
        );
        assert!(start.elapsed() >= 5 * PAUSE, "must let the pipe fill");
        assert_eq!(count.try_iter().count(), 6, "must read to the end");
        output.end();
        let mut taken = 0;
        output.read(
            Chatty {
                lines: 100_000,
                reads,
            },
            |bytes| taken += bytes.len(),
        );
        assert_eq!(taken, 700_000, "must read all that a dead one has left, at once");
    }

    fn passed(run: impl FnOnce(&mut Lines, Instant)) -> Vec<Passed> {
        let (tell, told) = mpsc::channel();
        let now = Instant::now();
        let mut lines = Lines::new(Box::new(move |passed| tell.send(passed).unwrap()), now);
        run(&mut lines, now);
        lines.finish();
        told.try_iter().collect()
    }
}
