//! Decides which proxy makes room for one that comes when there are as many as may be. Made-up proxies must not keep real ones
//! out, and must not be able to bring about a sleep either: a proxy that has made room goes on blocking sleeps, as one of
//! [`super::others`].

use std::ops::Bound;

use protocol::Incarnation;

use super::{PollId, Proxies, ProxyKey, ProxyState, TooMany};
use crate::time::Time;

/// Silent lives of one node id that are known by name. An Envoy that crashes all the time has a new one each time.
const MAX_SILENT_LIVES: usize = 16;

/// Which proxy makes room first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Silent, and has never confirmed anything.
    Unproven,
    /// Silent.
    Silent,
    /// Speaks, but has only asked so far, and never reported. A real one reports within a heartbeat of its first sync.
    OnlyAsks,
}

impl Rank {
    /// `None`: it stays.
    fn of(state: &ProxyState) -> Option<Self> {
        match (state.silent, state.proven) {
            (true, false) => Some(Self::Unproven),
            (true, true) => Some(Self::Silent),
            (false, _) => state.reported.is_none().then_some(Self::OnlyAsks),
        }
    }
}

impl Proxies {
    /// Makes room for `key`, which is not known yet. Returns the proxy that made it, with its open poll.
    pub(super) fn make_room(
        &mut self,
        key: &ProxyKey,
        now: Time,
    ) -> Result<Option<(ProxyKey, Option<PollId>)>, TooMany> {
        let lives = self.silent_lives(&key.id);
        let least = if lives.len() >= MAX_SILENT_LIVES {
            lives.into_iter().min()
        } else if self.all.len() >= self.limits.max {
            let ranked = self.all.iter().filter_map(|(key, state)| ranked(key, state));
            Some(ranked.min().ok_or(TooMany)?)
        } else {
            None
        };
        let Some((_, _, key)) = least else { return Ok(None) };
        let key = key.clone();
        let Some(state) = self.remove(&key) else {
            return Ok(None);
        };
        // With a poll open it is heard of all the time.
        let last_word = if state.poll.is_some() {
            now
        } else {
            state.last_word
        };
        self.others.add(1, last_word);
        if let Some(at) = self.others.deadline() {
            self.expires_at(at);
        }
        Ok(Some((key, state.poll)))
    }

    fn silent_lives(&self, id: &str) -> Vec<(Rank, Time, &ProxyKey)> {
        let first = ProxyKey {
            id: id.to_owned(),
            incarnation: Incarnation::new(String::new()),
        };
        let lives = self.all.range((Bound::Included(first), Bound::Unbounded));
        let lives = lives.take_while(|(key, _)| key.id == id);
        let silent = lives.filter(|(_, state)| state.silent);
        silent.filter_map(|(key, state)| ranked(key, state)).collect()
    }
}

/// The least goes first: of one rank, the proxy that was heard of longest ago.
fn ranked<'a>(key: &'a ProxyKey, state: &ProxyState) -> Option<(Rank, Time, &'a ProxyKey)> {
    Rank::of(state).map(|rank| (rank, state.last_word, key))
}
