//! Lists the root contexts that have registered, and gives each the id under which it has its status and its queue.

use hold::{GateId, Member};

/// Every root context that has registered and not signed off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// In order of registration.
    pub live: Vec<Member>,
}

impl Members {
    /// Adds a member under the lowest id that is free, so that ids, and with them keys, do not grow with reloads.
    pub fn join(&mut self, nonce: u64, gate: bool) -> Member {
        let id = (1..)
            .map(GateId)
            .find(|id| self.live.iter().all(|member| member.id != *id))
            .unwrap_or(GateId(u32::MAX));
        let member = Member { id, nonce, gate };
        self.live.push(member);
        member
    }

    /// Takes a member out. True if it was in.
    pub fn leave(&mut self, member: Member) -> bool {
        let before = self.live.len();
        self.live.retain(|other| *other != member);
        self.live.len() != before
    }

    /// True if the member has registered and not been taken out.
    pub fn contains(&self, member: Member) -> bool {
        self.live.contains(&member)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn ids_are_used_again() {
        let mut members = Members::default();
        let first = members.join(11, true);
        let second = members.join(12, true);
        assert_ne!(first.id, second.id);
        assert!(members.leave(first));
        assert!(!members.leave(first), "must leave once");
        let third = members.join(13, true);
        assert_eq!(third.id, first.id);
        assert!(members.contains(second) && members.contains(third));
        assert!(!members.contains(first), "must tell two users of one id apart");
    }
}
