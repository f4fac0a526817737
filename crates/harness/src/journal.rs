//! What the upstream wrote down, over all its lives.

use std::path::Path;

use upstream::{Event, Record, Request};

/// The journal of one target's upstream processes, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Journal(pub Vec<Record>);

impl Journal {
    /// Reads the file; one that is not there yet is empty.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        Self(whole.lines().map(parse).collect())
    }

    /// How often a process was started.
    pub fn starts(&self) -> usize {
        self.0
            .iter()
            .filter(|record| matches!(record.event, Event::Start { .. }))
            .count()
    }

    /// The requests of clients in order of arrival; Holdfast's own confirms are left out.
    pub fn requests(&self) -> Vec<&Request> {
        self.all_requests()
            .filter(|request| !is_confirm(request))
            .collect()
    }

    /// The same, each with when it arrived, on the clock of [`Event::unix_ms`](crate::Event::unix_ms).
    pub fn arrivals(&self) -> Vec<(u64, &Request)> {
        let arrived = self.0.iter().filter_map(|record| match &record.event {
            Event::Request(request) => Some((record.unix_us / 1_000, request)),
            _ => None,
        });
        arrived.filter(|(_, request)| !is_confirm(request)).collect()
    }

    /// Holdfast's own confirms.
    pub fn confirms(&self) -> Vec<&Request> {
        self.all_requests()
            .filter(|request| is_confirm(request))
            .collect()
    }

    /// The requests, confirms included, that began after the process had received SIGTERM. Must be empty always.
    pub fn after_sigterm(&self) -> Vec<&Request> {
        self.all_requests()
            .filter(|request| request.after_sigterm)
            .collect()
    }

    fn all_requests(&self) -> impl Iterator<Item = &Request> {
        self.0.iter().filter_map(|record| match &record.event {
            Event::Request(request) => Some(request),
            _ => None,
        })
    }
}

fn is_confirm(request: &Request) -> bool {
    request
        .agent
        .as_deref()
        .is_some_and(|agent| agent.starts_with("holdfast-confirm/"))
}
