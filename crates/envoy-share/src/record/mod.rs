//! Encodes values of shared data as bytes: whole numbers of seven bits a byte, texts and lists with their length before them, the
//! fields in the order of the type.
//!
//! What cannot be read to its last byte is no record, and counts as missing. A change of a type raises [`FORMAT`], which stands
//! in the names of the keys as well ([`crate::keys`]): modules that write differently never see each other's.

mod basic;

use hold::{GateId, GateStatus, Manifest, Member, Slot, SlotRecord, TargetUsage, UnreachedCluster};
use protocol::{Confirm, Hold, Ignore, Incarnation, LossPolicy, Release, Revision, State, Target, TargetId};

use basic::{byte, put_text};

use crate::{Lease, Members};

/// The format as a literal, for [`concat!`]. The feature `test-next-format` makes the module that follows this one.
#[cfg(not(feature = "test-next-format"))]
macro_rules! format_number {
    () => {
        7
    };
}
#[cfg(feature = "test-next-format")]
macro_rules! format_number {
    () => {
        8
    };
}
pub(crate) use format_number;

/// The first byte of every record, and a part of every key's name. Raised with each change of a type that lies in shared data.
pub(crate) const FORMAT: u8 = format_number!();

/// Something that lies in shared data.
pub trait Record: Field {
    /// As it stands in shared data.
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        self.put(&mut out);
        out
    }

    /// Reads what [`Record::encode`] wrote; `None` for anything else.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[FORMAT])?;
        let value = Self::take(&mut rest)?;
        rest.is_empty().then_some(value)
    }
}

/// A part of a record.
pub trait Field: Sized {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes it off the front.
    fn take(rest: &mut &[u8]) -> Option<Self>;
}

impl Record for Lease {}
impl Record for Members {}
impl Record for Manifest {}
impl Record for SlotRecord {}
impl Record for GateStatus {}
impl Record for Incarnation {}

/// `fields!(Type { a, b })`: a struct is its fields, in this order.
macro_rules! fields {
    ($($type:ident { $($field:ident),+ })+) => {$(
        impl Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)+
            }

            fn take(rest: &mut &[u8]) -> Option<Self> {
                Some(Self { $($field: Field::take(rest)?),+ })
            }
        }
    )+};
}

/// `names!(Type { A, B })`: a variant without fields is its place in this list.
macro_rules! names {
    ($($type:ident { $($name:ident = $n:literal),+ })+) => {$(
        impl Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.push(match self { $(Self::$name => $n),+ });
            }

            fn take(rest: &mut &[u8]) -> Option<Self> {
                Some(match byte(rest)? {
                    $($n => Self::$name,)+
                    _ => return None,
                })
            }
        }
    )+};
}

fields! {
    Lease { owner, term, heartbeat }
    Member { id, nonce, gate }
    Members { live }
    Manifest { term, version, revision, known, lost, slots, floor, changes }
    SlotRecord { version, since, target, shares, prober, confirmed_epoch, preconfirmed_epoch }
    GateStatus { nonce, applied, heartbeat, entries, unreached }
    UnreachedCluster { slot, cluster, saw, for_ms }
    TargetUsage { slot, held, in_flight, idle_ms, confirmed_epoch }
    Revision { instance, n }
    Target {
        id, state, reason, reason_class, retry_after_ms, epoch, found, ready_endpoints, hosts, clusters, leaving, hold, release, confirm,
        ignore
    }
    Hold { timeout_ms, max_requests, max_bytes, unknown_body, on_control_plane_loss }
    Release { concurrency_per_endpoint }
    Ignore { paths, user_agents }
}

names! {
    State { Asleep = 0, Waking = 1, Ready = 2, Draining = 3, Failed = 4, Suspended = 5, Unknown = 6 }
    LossPolicy { Hold = 0, Pass = 1, Refuse = 2, Unknown = 3 }
}

impl Field for Confirm {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Http {
                path,
                authority,
                timeout_ms,
                give_up_ms,
            } => {
                out.push(0);
                path.put(out);
                authority.put(out);
                timeout_ms.put(out);
                give_up_ms.put(out);
            }
            Self::Grpc {
                authority,
                timeout_ms,
                give_up_ms,
            } => {
                out.push(1);
                authority.put(out);
                timeout_ms.put(out);
                give_up_ms.put(out);
            }
            Self::Off { settle_ms } => {
                out.push(2);
                settle_ms.put(out);
            }
            Self::Unknown => out.push(3),
        }
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        Some(match byte(rest)? {
            0 => Self::Http {
                path: Field::take(rest)?,
                authority: Field::take(rest)?,
                timeout_ms: Field::take(rest)?,
                give_up_ms: Field::take(rest)?,
            },
            1 => Self::Grpc {
                authority: Field::take(rest)?,
                timeout_ms: Field::take(rest)?,
                give_up_ms: Field::take(rest)?,
            },
            2 => Self::Off {
                settle_ms: Field::take(rest)?,
            },
            3 => Self::Unknown,
            _ => return None,
        })
    }
}

impl Field for GateId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        u32::take(rest).map(Self)
    }
}

/// Four bytes, whatever the number: each manifest lists hundreds, and must not take longer to read where there are more targets.
impl Field for Slot {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        let (bytes, after) = rest.split_first_chunk()?;
        *rest = after;
        Some(Self(u32::from_le_bytes(*bytes)))
    }
}

impl Field for TargetId {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self.as_str(), out);
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        String::take(rest).map(Self::new)
    }
}

impl Field for Incarnation {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self.as_str(), out);
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        String::take(rest).map(Self::new)
    }
}

#[cfg(test)]
mod tests;
