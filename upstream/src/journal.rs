//! Writes down what happened, in order: one JSON line each, handed to the kernel before the call returns.
//!
//! So a record survives SIGKILL of this process (not a power cut: nothing is synced). Order of lines is order of `seq`,
//! and every request below the `sigterm` line says `after_sigterm`. It never blocks on anything but one small `write`.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    process,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use tracing::error;

use crate::record::{Counts, Event, Kind, Record, Request};

/// Records kept for `GET /journal`. The longest test sends 10,000 requests to one process; with short strings a record
/// takes about 300 bytes, so this is some 10 MB at most in practice. Beyond it the oldest goes, and `forgotten` counts it.
const KEPT: usize = 32_768;

/// The journal of one process.
#[derive(Debug)]
pub struct Journal {
    started: Instant,
    pid: u32,
    book: Mutex<Book>,
}

/// What is known of a request when it arrives.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) kind: Kind,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) id: Option<String>,
    pub(crate) agent: Option<String>,
    pub(crate) refused: bool,
}

/// One lock for order, file and memory: what is first in one is first in all.
#[derive(Debug, Default)]
struct Book {
    file: Option<File>,
    kept: VecDeque<Record>,
    counts: Counts,
    next_seq: u64,
    terminating: bool,
}

impl Journal {
    /// A journal that appends to `file`, or one in memory only.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(file: Option<&Path>) -> io::Result<Self> {
        let file = file
            .map(|path| OpenOptions::new().create(true).append(true).open(path))
            .transpose()?;
        let book = Book {
            file,
            ..Book::default()
        };
        Ok(Self {
            started: Instant::now(),
            pid: process::id(),
            book: Mutex::new(book),
        })
    }

    /// Writes down an event of the process. After [`Event::Sigterm`] all that arrives is late.
    pub fn note(&self, event: Event) {
        let mut book = self.lock();
        book.terminating |= event == Event::Sigterm;
        self.write(&mut book, event);
    }

    /// Writes down the beginning of a request.
    pub(crate) fn arrive(&self, arrival: Arrival) {
        let Arrival {
            kind,
            method,
            path,
            id,
            agent,
            refused,
        } = arrival;
        let mut book = self.lock();
        let after_sigterm = book.terminating;
        book.counts.add(kind, refused, after_sigterm);
        let seq = book.next_seq;
        book.next_seq += 1;
        let request = Request {
            seq,
            kind,
            method,
            path,
            id,
            agent,
            after_sigterm,
            refused,
        };
        self.write(&mut book, Event::Request(request));
    }

    /// True once SIGTERM has been noted.
    pub fn is_terminating(&self) -> bool {
        self.lock().terminating
    }

    /// The counts so far; `in_flight` is left at 0.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// The newest records, oldest first, at most 32,768.
    pub fn recent(&self) -> Vec<Record> {
        self.lock().kept.iter().cloned().collect()
    }

    fn write(&self, book: &mut Book, event: Event) {
        let record = Record {
            pid: self.pid,
            t_us: micros(self.started),
            unix_us: unix_us(),
            event,
        };
        if let Some(file) = &mut book.file
            && let Err(failure) = append(file, &record)
        {
            book.counts.lost += 1;
            error!("cannot write to the journal (--journal): {failure}");
        }
        if book.kept.len() == KEPT {
            book.kept.pop_front();
            book.counts.forgotten += 1;
        }
        book.kept.push_back(record);
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        // A panic while the lock was held leaves at worst one record unwritten.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn add(&mut self, kind: Kind, refused: bool, after_sigterm: bool) {
        if kind == Kind::Look {
            return;
        }
        self.after_sigterm += u64::from(after_sigterm);
        if refused {
            self.refused += 1;
            return;
        }
        self.served += 1;
        match kind {
            Kind::Http => self.http += 1,
            Kind::Grpc => self.grpc += 1,
            Kind::Websocket => self.websocket += 1,
            Kind::Look => {}
        }
    }
}

/// One `write` for the whole line: with O_APPEND, lines of several processes do not mix.
fn append(file: &mut File, record: &Record) -> io::Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    file.write_all(&line)
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn unix_us() -> u64 {
    // A clock before 1970 is written as 0.
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_requests_in_the_order_of_the_lines() {
        let (journal, file) = mk_journal();
        (0..3).for_each(|_| journal.arrive(mk_arrival(Kind::Http, false)));
        let seqs: Vec<_> = requests(&file).iter().map(|request| request.seq).collect();
        assert_eq!(seqs, [0, 1, 2], "lines must stand in the order of arrival");
    }

    #[test]
    fn marks_what_begins_after_sigterm() {
        let (journal, file) = mk_journal();
        journal.arrive(mk_arrival(Kind::Http, false));
        journal.note(Event::Sigterm);
        journal.arrive(mk_arrival(Kind::Grpc, false));
        let late: Vec<_> = requests(&file)
            .iter()
            .map(|request| request.after_sigterm)
            .collect();
        assert_eq!(
            late,
            [false, true],
            "only what began after SIGTERM must be marked"
        );
        assert_eq!(
            journal.counts().after_sigterm,
            1,
            "the count must agree with the lines"
        );
    }

    #[test]
    fn appends_to_what_an_earlier_life_wrote() {
        let (first, file) = mk_journal();
        first.arrive(mk_arrival(Kind::Http, false));
        let second = Journal::open(Some(file.path())).unwrap();
        second.arrive(mk_arrival(Kind::Http, false));
        assert_eq!(
            requests(&file).len(),
            2,
            "a restart must not lose what was written before"
        );
    }

    #[test]
    fn counts_a_refused_request_apart() {
        let (journal, _file) = mk_journal();
        journal.arrive(mk_arrival(Kind::Http, true));
        journal.arrive(mk_arrival(Kind::Websocket, false));
        let expected = Counts {
            served: 1,
            websocket: 1,
            refused: 1,
            ..Counts::default()
        };
        assert_eq!(
            journal.counts(),
            expected,
            "a refused request must not count as served"
        );
    }

    #[test]
    fn looking_changes_no_count() {
        let (journal, file) = mk_journal();
        journal.arrive(mk_arrival(Kind::Look, false));
        assert_eq!(journal.counts(), Counts::default(), "a look must not be counted");
        assert_eq!(requests(&file).len(), 1, "a look must be recorded");
    }

    #[test]
    fn forgets_the_oldest_beyond_the_bound() {
        let journal = Journal::open(None).unwrap();
        (0..=KEPT).for_each(|_| journal.arrive(mk_arrival(Kind::Http, false)));
        let recent = journal.recent();
        assert_eq!(recent.len(), KEPT, "memory must be bounded");
        assert!(
            matches!(&recent[0].event, Event::Request(Request { seq: 1, .. })),
            "the oldest must go first"
        );
        assert_eq!(journal.counts().forgotten, 1, "what is forgotten must be counted");
    }

    fn mk_journal() -> (Journal, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        (Journal::open(Some(file.path())).unwrap(), file)
    }

    fn mk_arrival(kind: Kind, refused: bool) -> Arrival {
        Arrival {
            kind,
            method: "GET".into(),
            path: "/".into(),
            id: None,
            agent: None,
            refused,
        }
    }

    fn requests(file: &tempfile::NamedTempFile) -> Vec<Request> {
        let text = std::fs::read_to_string(file.path()).unwrap();
        let records = text
            .lines()
            .map(|line| serde_json::from_str::<Record>(line).unwrap());
        records
            .filter_map(|record| match record.event {
                Event::Request(request) => Some(request),
                _ => None,
            })
            .collect()
    }
}
