//! One candidate's part in an election, sans-IO: it is told what is stored and how its writes went, and says what to
//! ask next. Reads no clock, sends nothing.
//!
//! Every write names the version it replaces, so of two candidates one wins. A leader counts its lease from the moment
//! it *sent* the request that renewed it; a candidate counts it from the moment it first *saw* what is stored. So the
//! leader has always stopped before a candidate begins, whatever was delayed or lost in between.

use std::time::Duration;

use fleet::backoff::Backoff;
use fleet::time::Time;

/// One request at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What to ask.
    pub command: Command,
    /// How long it may take before its outcome is [`Outcome::Failed`].
    pub within: Duration,
}

/// What to ask the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Read the Lease.
    Read,
    /// Store this where there is none.
    Create(Record),
    /// Store this in place of the version.
    Update(Record, String),
}

/// How a request went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This is stored, as read or as written. `None`: there is no Lease.
    Stored(Option<Stored>),
    /// Not written: something else is stored by now.
    Conflict,
    /// Nothing is known: it may have been written or may still be.
    Failed,
}

/// What is stored, and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The Lease's spec.
    pub record: Record,
    /// Its resourceVersion.
    pub version: String,
}

/// The part of a Lease's spec that an election is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The leader. `None`: the first candidate that comes.
    pub holder: Option<String>,
    /// How long its holder's lease is.
    pub seconds: u64,
    /// When the holder took it, in µs since 1970 by the holder's clock. For people.
    pub acquired: i64,
    /// When the holder renewed it, likewise. Tells a holder's writes apart; it is never compared with a clock.
    pub renewed: i64,
    /// How often the holder has changed.
    pub transitions: i32,
}

/// One candidate.
#[derive(Debug)]
pub struct Election {
    identity: String,
    lease: Duration,
    seen: Option<Seen>,
    /// It must be read before anything else is asked.
    stale: bool,
    asking: Option<Asking>,
    /// The version last heard of while something was asked: the answer may be older.
    heard: Option<String>,
    /// The last write, whose answer may have been lost.
    attempt: Option<Attempt>,
    leading: Option<Leading>,
    /// Counts the leaderships of this candidate.
    term: u64,
    read_at: Time,
    failures: u32,
    /// Nothing is asked before.
    not_before: Time,
    resigning: bool,
    finished: bool,
}

#[derive(Debug)]
struct Seen {
    stored: Option<Stored>,
    /// This candidate wrote it: no other has led since.
    ours: bool,
    /// When it was first seen like this.
    since: Time,
    /// How long it must stay like this until any candidate may take it.
    wait: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    Read,
    Write,
    Release,
}

#[derive(Debug)]
struct Attempt {
    record: Record,
    sent: Time,
}

/// A leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leading {
    /// Its number among those of this candidate, from 1.
    pub term: u64,
    /// The moment that the request was sent which renewed it last.
    pub renewed: Time,
}

impl Election {
    /// Nothing seen yet. Two candidates must not have the same `identity`.
    pub fn new(identity: String, lease: Duration) -> Self {
        Self {
            identity,
            lease,
            seen: None,
            stale: true,
            asking: None,
            heard: None,
            attempt: None,
            leading: None,
            term: 0,
            read_at: Time::default(),
            failures: 0,
            not_before: Time::default(),
            resigning: false,
            finished: false,
        }
    }

    /// How much of a lease of `lease` its holder may use. The rest is for clocks that differ in speed, by a twentieth
    /// at most: the holder's slow one must have reached this before another's fast one has reached the whole.
    pub fn usable(lease: Duration) -> Duration {
        lease * 9 / 10
    }

    /// The leadership, if this candidate leads at `now`.
    pub fn leading(&self, now: Time) -> Option<Leading> {
        self.leading.filter(|leading| now < self.end(*leading))
    }

    /// The replica that is said to lead.
    pub fn holder(&self) -> Option<&str> {
        let stored = self.seen.as_ref()?.stored.as_ref()?;
        stored.record.holder.as_deref()
    }

    /// True once it has been given back, or cannot be.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Stops leading at once and gives the lease back.
    pub fn resign(&mut self) {
        self.leading = None;
        self.resigning = true;
        self.not_before = Time::default();
        self.finished = self.attempt.is_none();
    }

    /// The watch says that this version is stored now. It may be old news.
    pub fn hear(&mut self, version: &str) {
        if self.asking.is_some() {
            self.heard = Some(version.to_owned());
        } else {
            self.stale |= self.stored().is_none_or(|stored| stored.version != version);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        self.leading = self.leading(now);
    }

    /// When [`Self::handle_timeout`] and [`Self::poll_order`] must be called if nothing else happens.
    pub fn poll_timeout(&self, now: Time) -> Option<Time> {
        let end = self.leading.map(|leading| self.end(leading));
        let next = if self.asking.is_some() || self.finished {
            None
        } else {
            Some(self.due(now).max(self.not_before))
        };
        end.into_iter().chain(next).min()
    }

    /// What to ask now. Its outcome must be told before there is another. `wall`: µs since 1970.
    pub fn poll_order(&mut self, now: Time, wall: i64) -> Option<Order> {
        self.handle_timeout(now);
        if self.asking.is_some() || self.finished || now < self.not_before || now < self.due(now) {
            return None;
        }
        // Short enough for a leader to try thrice before its lease is over.
        let patience = self.lease / 5;
        let left = |leading| self.end(leading).since(now);
        let within = self
            .leading
            .map_or(patience, |leading| patience.min(left(leading)));
        if self.must_read(now) {
            self.asking = Some(Asking::Read);
            self.read_at = now;
            self.heard = None;
            return Some(Order {
                command: Command::Read,
                within,
            });
        }
        if self.resigning && !self.seen.as_ref().is_some_and(|seen| seen.ours) {
            self.finished = true;
            return None;
        }
        let before = self.stored().cloned();
        let record = self.record(before.as_ref().map(|stored| &stored.record), wall);
        self.asking = Some(if self.resigning {
            Asking::Release
        } else {
            Asking::Write
        });
        self.attempt = Some(Attempt {
            record: record.clone(),
            sent: now,
        });
        let command = match before {
            Some(stored) => Command::Update(record, stored.version),
            None => Command::Create(record),
        };
        Some(Order { command, within })
    }

    /// How the last order went.
    pub fn handle_outcome(&mut self, outcome: Outcome, now: Time) {
        self.handle_timeout(now);
        let asked = self.asking.take();
        // Whether it was given back or not is not waited for: the lease runs out by itself.
        self.finished |= asked == Some(Asking::Release) && outcome != Outcome::Conflict;
        match outcome {
            Outcome::Stored(stored) => {
                self.not_before = Time::default();
                let version = stored.as_ref().map(|stored| stored.version.as_str());
                self.stale = self
                    .heard
                    .take()
                    .is_some_and(|heard| Some(heard.as_str()) != version);
                self.take_in(stored, now);
                // A candidate that reads well but cannot write goes on backing off.
                let others = self.holder().is_some_and(|holder| holder != self.identity);
                if asked != Some(Asking::Read) || others {
                    self.failures = 0;
                }
            }
            Outcome::Conflict => self.stale = true,
            Outcome::Failed => {
                self.stale = true;
                let retry = Backoff::new(self.lease / 24, self.lease / 3);
                self.not_before = now + retry.wait(self.failures);
                self.failures = self.failures.saturating_add(1);
            }
        }
    }

    fn take_in(&mut self, stored: Option<Stored>, now: Time) {
        let sent = self.sent(stored.as_ref());
        if self.seen.as_ref().is_none_or(|seen| seen.stored != stored) {
            self.seen = Some(Seen {
                wait: self.wait(stored.as_ref()),
                ours: sent.is_some(),
                stored,
                since: now,
            });
        }
        if self.resigning {
            return;
        }
        if let Some(renewed) = sent {
            let leading = Leading {
                term: self.term + u64::from(self.leading.is_none()),
                renewed,
            };
            if now < self.end(leading) {
                self.term = leading.term;
                self.leading = Some(leading);
            }
        } else if self.holder().is_some_and(|holder| holder != self.identity) || self.is_free() {
            self.leading = None;
        }
    }

    /// When this was sent, if it is what this candidate has tried to write last.
    fn sent(&self, stored: Option<&Stored>) -> Option<Time> {
        let attempt = self.attempt.as_ref()?;
        (attempt.record == stored?.record).then_some(attempt.sent)
    }

    /// How long this must be seen unchanged until any candidate may take it.
    fn wait(&self, stored: Option<&Stored>) -> Duration {
        match stored {
            // A holder counts on what it wrote, if that is longer. In whole seconds, so ours is not longer by less.
            Some(Stored { record, .. }) if record.holder.is_some() => {
                if record.seconds > whole_seconds(self.lease) {
                    Duration::from_secs(record.seconds)
                } else {
                    self.lease
                }
            }
            Some(_) => Duration::ZERO,
            // Deleted under its holder, which does not know yet.
            None if self.holder().is_some() => self.lease,
            None => Duration::ZERO,
        }
    }

    fn must_read(&self, now: Time) -> bool {
        self.stale || !self.resigning && self.leading.is_none() && now >= self.read_again()
    }

    /// A standby that hears nothing looks.
    fn read_again(&self) -> Time {
        self.read_at + self.lease / 3
    }

    /// When there is something to ask.
    fn due(&self, now: Time) -> Time {
        if self.stale || self.resigning {
            return now;
        }
        let Some(seen) = &self.seen else {
            return now;
        };
        match self.leading {
            // Deleted under us: stored again before another candidate takes it for free.
            Some(_) if seen.stored.is_none() => now,
            Some(leading) => leading.renewed + self.lease / 3,
            None if seen.ours => now,
            None => self.read_again().min(seen.since + seen.wait),
        }
    }

    /// The record to store in place of `before`.
    fn record(&self, before: Option<&Record>, wall: i64) -> Record {
        let transitions = before.map_or(0, |record| record.transitions);
        let unchanged = before.filter(|record| record.holder.as_deref() == Some(&self.identity));
        // Tells this write from all others of this candidate, even if its wall clock is set back.
        let last = self
            .attempt
            .as_ref()
            .map_or(i64::MIN, |attempt| attempt.record.renewed);
        let renewed = wall.max(last.saturating_add(1));
        Record {
            holder: (!self.resigning).then(|| self.identity.clone()),
            seconds: whole_seconds(self.lease),
            acquired: unchanged.map_or(wall, |record| record.acquired),
            renewed,
            transitions: if unchanged.is_some() || before.is_none() {
                transitions
            } else {
                transitions.saturating_add(1)
            },
        }
    }

    /// True if there is a Lease without a holder.
    fn is_free(&self) -> bool {
        self.stored().is_some_and(|stored| stored.record.holder.is_none())
    }

    fn stored(&self) -> Option<&Stored> {
        self.seen.as_ref()?.stored.as_ref()
    }

    fn end(&self, leading: Leading) -> Time {
        leading.renewed + Self::usable(self.lease)
    }
}

/// As the API has it. Never less than it is.
fn whole_seconds(lease: Duration) -> u64 {
    (lease.as_secs() + u64::from(lease.subsec_nanos() > 0)).max(1)
}
