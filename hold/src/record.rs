//! Values of shared data as bytes: whole numbers of seven bits a byte, texts and lists with their length before them, the
//! fields in the order of the type.
//!
//! What cannot be read to its last byte is no record: it was written by another version, and counts as missing. A change of
//! a type raises [`FORMAT`].

use std::collections::VecDeque;

use protocol::{Confirm, Hold, Ignore, Incarnation, LossPolicy, Release, Revision, State, Target, TargetId};

use crate::{GateId, Head, Lease, Member, Members, Row, RowEntry, Slot, SlotRecord};

/// The first byte of every record.
const FORMAT: u8 = 1;

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
impl Record for Head {}
impl Record for SlotRecord {}
impl Record for Row {}
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
    Lease { owner, term, beat }
    Member { id, nonce, gate }
    Members { live }
    Head { term, version, revision, known, lost, slots, floor, changes }
    SlotRecord { version, since, target, shares, prober, proven, trusted }
    Row { nonce, applied, beat, entries }
    RowEntry { slot, held, in_flight, idle_ms, proven }
    Revision { instance, n }
    Target {
        id, state, reason, retry_after_ms, epoch, ready_endpoints, hosts, clusters, hold, release, confirm, ignore
    }
    Hold { timeout_ms, max_requests, max_bytes, unknown_body, on_control_plane_loss }
    Release { concurrency_per_endpoint }
    Ignore { paths, user_agents }
}

names! {
    State { Asleep = 0, Waking = 1, Ready = 2, Draining = 3, Failed = 4, Suspended = 5 }
    LossPolicy { Hold = 0, Pass = 1, Refuse = 2 }
}

impl Field for Confirm {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Http {
                path,
                timeout_ms,
                give_up_ms,
            } => {
                out.push(0);
                path.put(out);
                timeout_ms.put(out);
                give_up_ms.put(out);
            }
            Self::Grpc {
                timeout_ms,
                give_up_ms,
            } => {
                out.push(1);
                timeout_ms.put(out);
                give_up_ms.put(out);
            }
            Self::Off { settle_ms } => {
                out.push(2);
                settle_ms.put(out);
            }
        }
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        Some(match byte(rest)? {
            0 => Self::Http {
                path: Field::take(rest)?,
                timeout_ms: Field::take(rest)?,
                give_up_ms: Field::take(rest)?,
            },
            1 => Self::Grpc {
                timeout_ms: Field::take(rest)?,
                give_up_ms: Field::take(rest)?,
            },
            2 => Self::Off {
                settle_ms: Field::take(rest)?,
            },
            _ => return None,
        })
    }
}

impl Field for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut left = *self;
        while left >= 0x80 {
            out.push(left.to_le_bytes()[0] | 0x80);
            left >>= 7;
        }
        out.push(left.to_le_bytes()[0]);
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = byte(rest)?;
            let bits = u64::from(byte & 0x7f);
            value |= bits
                .checked_shl(shift)
                .filter(|shifted| shifted >> shift == bits)?;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

impl Field for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        u64::from(*self).put(out);
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        u64::take(rest)?.try_into().ok()
    }
}

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        match byte(rest)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Field for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self, out);
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        let length = usize::try_from(u64::take(rest)?).ok()?;
        let (text, after) = rest.split_at_checked(length)?;
        *rest = after;
        Some(std::str::from_utf8(text).ok()?.to_owned())
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        Some(if bool::take(rest)? {
            Some(T::take(rest)?)
        } else {
            None
        })
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        self.iter().for_each(|item| item.put(out));
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        let mut out = Self::new();
        // Every item is a byte at least, so a length that is a lie ends with the bytes.
        for _ in 0..u64::take(rest)? {
            out.push(T::take(rest)?);
        }
        Some(out)
    }
}

impl<T: Field> Field for VecDeque<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        self.iter().for_each(|item| item.put(out));
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        Vec::take(rest).map(Self::from)
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        Some((A::take(rest)?, B::take(rest)?))
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

impl Field for Slot {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        u32::take(rest).map(Self)
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

fn put_text(text: &str, out: &mut Vec<u8>) {
    (text.len() as u64).put(out);
    out.extend_from_slice(text.as_bytes());
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::gate::testing::mk_target;

    fn check<T: Record + PartialEq + std::fmt::Debug>(value: &T) {
        let bytes = value.encode();
        assert_eq!(T::decode(&bytes).as_ref(), Some(value));
        for length in 0..bytes.len() {
            assert!(
                T::decode(&bytes[..length]).is_none(),
                "must not take a part for the whole"
            );
        }
        assert!(
            T::decode(&[&bytes[..], b"\0"].concat()).is_none(),
            "must refuse more"
        );
        assert!(
            T::decode(&[&[FORMAT + 1], &bytes[1..]].concat()).is_none(),
            "must refuse another version's"
        );
    }

    #[test]
    fn records_survive() {
        let member = Member {
            id: GateId(300),
            nonce: u64::MAX,
            gate: true,
        };
        check(&Incarnation::from_random(7));
        check(&Lease {
            owner: Some(member),
            term: 127,
            beat: 128,
        });
        check(&Members {
            live: vec![member; 3],
        });
        check(&Head {
            term: 1,
            version: 1 << 40,
            revision: Some(Revision {
                instance: "é".to_owned(),
                n: 9,
            }),
            known: true,
            lost: false,
            slots: 5,
            floor: 6,
            changes: VecDeque::from([(7, Slot(8)), (9, Slot(u32::MAX))]),
        });
        check(&Row {
            nonce: 1,
            applied: 2,
            beat: 3,
            entries: vec![RowEntry {
                slot: Slot(4),
                held: 5,
                in_flight: 6,
                idle_ms: None,
                proven: Some(7),
            }],
        });
    }

    #[test]
    fn targets_survive_in_every_shape() {
        let confirms = [
            Confirm::Off { settle_ms: 1 },
            Confirm::Grpc {
                timeout_ms: 2,
                give_up_ms: 3,
            },
            Confirm::Http {
                path: "/".to_owned(),
                timeout_ms: 4,
                give_up_ms: 5,
            },
        ];
        let states = [
            State::Asleep,
            State::Waking,
            State::Ready,
            State::Draining,
            State::Failed,
            State::Suspended,
        ];
        for confirm in confirms {
            for (state, policy) in states.into_iter().zip(
                [LossPolicy::Hold, LossPolicy::Pass, LossPolicy::Refuse]
                    .into_iter()
                    .cycle(),
            ) {
                let mut target = mk_target("shop/web");
                target.state = state;
                target.confirm = confirm.clone();
                target.hold.on_control_plane_loss = policy;
                target.reason = Some("why".to_owned());
                target.ignore.paths.push("/healthz".to_owned());
                check(&SlotRecord {
                    target: Some(target),
                    shares: vec![(GateId(1), 2)],
                    trusted: Some(3),
                    ..SlotRecord::default()
                });
            }
        }
    }

    proptest! {
        #[test]
        fn numbers_survive(number: u64, small in 0_u64..300) {
            for number in [number, small] {
                let mut bytes = Vec::new();
                number.put(&mut bytes);
                prop_assert_eq!(u64::take(&mut &bytes[..]), Some(number));
            }
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let bytes = [&[FORMAT], &bytes[..]].concat();
            let _ = (Head::decode(&bytes), SlotRecord::decode(&bytes), Row::decode(&bytes), Members::decode(&bytes));
        }
    }
}
