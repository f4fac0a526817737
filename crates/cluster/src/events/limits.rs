//! How many Events may be written: of one target, and of all.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::TargetId;

use fleet::bucket::{Bucket, Rate};
use fleet::time::Time;

/// Events of one target at once, and one more each five minutes: what client-go allows a source and an object. An Event
/// has about a kilobyte and is kept for an hour, so a target has no more than 37 kB of them.
const EACH: Rate = Rate {
    burst: 25,
    period: Duration::from_secs(300),
};
/// Over all targets: a thousand that wake together are told of within a minute and a half, and no scaling waits
/// for an API server that is busy with Events.
const ALL: Rate = Rate {
    burst: 100,
    period: Duration::from_millis(100),
};

/// How many Events may still be written. Pure.
#[derive(Debug, Default)]
pub(super) struct Limits {
    all: Bucket,
    /// Those that are not full, so no more than have had an Event within the last two hours.
    each: BTreeMap<TargetId, Bucket>,
}

impl Limits {
    /// True if one more may be written about `target` now. It is counted, then.
    pub(super) fn take(&mut self, target: &TargetId, now: Time) -> bool {
        self.each.retain(|_, bucket| !bucket.is_full(now));
        let each = self.each.entry(target.clone()).or_default();
        // Both or none: what one target may not write must not count against the others.
        let (mut one, mut all) = (*each, self.all);
        let taken = one.take(EACH, now) && all.take(ALL, now);
        if taken {
            (*each, self.all) = (one, all);
        }
        taken
    }
}
