//! What the gate knows of a request that it refuses.

use std::time::Duration;

use crate::Reply;
use crate::gate::{Gate, TargetIx};
use crate::reply::{About, Refusal};

impl Gate {
    pub(super) fn reply(&self, refusal: Refusal, grpc: bool, ix: Option<TargetIx>) -> Reply {
        self.reply_because(refusal, grpc, ix, None)
    }

    /// `why` this proxy does not reach a target that is ready, if that is the reason.
    pub(super) fn reply_because(
        &self,
        refusal: Refusal,
        grpc: bool,
        ix: Option<TargetIx>,
        why: Option<&str>,
    ) -> Reply {
        let target = ix.and_then(|ix| self.entry(ix)).map(|entry| &entry.target);
        let failed = target.filter(|_| refusal == Refusal::Failed);
        let about = About {
            target: target.map(|target| target.id.as_str()),
            unreached: why.is_some(),
            reason: why.or_else(|| failed.and_then(|target| target.reason.as_deref())),
            class: failed.and_then(|target| target.reason_class.as_deref()),
            retry_after: failed
                .and_then(|target| target.retry_after_ms)
                .map(Duration::from_millis),
        };
        Reply::new(refusal, grpc, self.config.answers.detail, &about)
    }
}
