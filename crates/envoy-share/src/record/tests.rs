//! Records survive their encoding, and nothing else is taken for one.

use std::collections::VecDeque;

use hold::testing::mk_target;
use proptest::prelude::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

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
        heartbeat: 128,
    });
    check(&Members {
        live: vec![member; 3],
    });
    check(&Manifest {
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
    check(&GateStatus {
        nonce: 1,
        applied: 2,
        heartbeat: 3,
        entries: vec![TargetUsage {
            slot: Slot(4),
            held: 5,
            in_flight: 6,
            idle_ms: None,
            confirmed_epoch: Some(7),
        }],
        unreached: vec![UnreachedCluster {
            slot: Slot(4),
            cluster: "é".to_owned(),
            saw: "refused".to_owned(),
            for_ms: 1 << 40,
        }],
    });
}

#[test]
fn targets_survive_in_every_shape() {
    let confirms = [
        Confirm::Off { settle_ms: 1 },
        Confirm::Grpc {
            authority: Some("grpc.internal".to_owned()),
            timeout_ms: 2,
            give_up_ms: 3,
        },
        Confirm::Http {
            path: "/".to_owned(),
            authority: None,
            timeout_ms: 4,
            give_up_ms: 5,
        },
        Confirm::Unknown,
    ];
    let states = [
        State::Asleep,
        State::Waking,
        State::Ready,
        State::Draining,
        State::Failed,
        State::Suspended,
        State::Unknown,
    ];
    for confirm in confirms {
        for (state, policy) in states.into_iter().zip(
            [
                LossPolicy::Hold,
                LossPolicy::Pass,
                LossPolicy::Refuse,
                LossPolicy::Unknown,
            ]
            .into_iter()
            .cycle(),
        ) {
            let mut target = mk_target("shop/web");
            target.state = state;
            target.confirm = confirm.clone();
            target.hold.on_control_plane_loss = policy;
            target.reason = Some("why".to_owned());
            target.reason_class = Some("crash".to_owned());
            target.ignore.paths.push("/healthz".to_owned());
            check(&SlotRecord {
                target: Some(target),
                shares: vec![(GateId(1), 2)],
                preconfirmed_epoch: Some(3),
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
        let _ = (Manifest::decode(&bytes), SlotRecord::decode(&bytes), GateStatus::decode(&bytes), Members::decode(&bytes));
    }
}
