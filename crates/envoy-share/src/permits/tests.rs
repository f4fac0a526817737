//! Several members and one quota in a bad world: writes that others win, members that stand still, are taken for dead and live on, die,
//! come back under another name, or under an id that another gate had.

use proptest::prelude::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use hold::GateId;
use hold::testing::mk_runner;

use super::*;
use crate::testing::Shelf;

fn member(id: u32, nonce: u64) -> Member {
    Member {
        id: GateId(id),
        nonce,
        gate: true,
    }
}

const A: Option<Slot> = Some(Slot(0));

fn back(slot: Option<Slot>, requests: u32, bytes: u64) -> ReturnedPermits {
    ReturnedPermits {
        slot,
        requests,
        bytes,
    }
}

#[test]
fn what_cannot_be_given_back_now_is_given_back_at_a_later_tick() {
    let shelf = Shelf::default();
    let me = member(1, 11);
    let mut permits = Permits::default();
    for slot in [A, None] {
        permits.take_of(&shelf, me, slot, 10, 9, 99).unwrap();
    }
    permits.give_back(&[back(A, 1, 10)]);
    // The first quota's tries are all lost, and half of those of the second.
    shelf.lost.set(TRIES + TRIES / 2);
    permits.settle(&shelf, me);
    assert!(permits.owes(), "must know that something is owed");
    assert_eq!(shelf.total(None), (0, 0), "must write what can be written");
    permits.settle(&shelf, me);
    assert!(!permits.owes());
    assert_eq!(shelf.total(A), (0, 0), "must not keep a permit for ever");
}

#[test]
fn one_that_was_taken_for_dead_and_lives_on_gives_back_only_its_own() {
    let shelf = Shelf::default();
    let (me, heir) = (member(1, 11), member(1, 12));
    let (mut mine, mut theirs) = (Permits::default(), Permits::default());
    for _ in 0..3 {
        mine.take_of(&shelf, me, None, 10, 9, 99).unwrap();
    }
    assert!(close_accounts(&shelf, me, 0), "the relay takes it for dead");
    theirs.take_of(&shelf, heir, None, 10, 9, 99).unwrap();
    mine.take_of(&shelf, me, None, 10, 9, 99).unwrap();
    assert_eq!(shelf.total(None), (5, 50), "what it holds must count again");
    mine.give_back(&[back(None, 3, 30)]);
    mine.settle(&shelf, me);
    assert_eq!(shelf.total(None), (2, 20), "must not eat what is held now");
    mine.give_back(&[back(None, 1, 10)]);
    mine.settle(&shelf, me);
    assert_eq!(shelf.total(None), (1, 10), "must not eat what another holds");
}

#[test]
fn a_member_that_changes_its_name_takes_its_accounts_along() {
    let shelf = Shelf::default();
    let (me, renamed) = (member(1, 11), member(2, 12));
    let mut permits = Permits::default();
    permits.take_of(&shelf, me, A, 10, 9, 99).unwrap();
    shelf.lost.set(TRIES);
    assert!(
        !permits.disown(&shelf, me),
        "must keep its name while an account stands under it"
    );
    assert!(permits.disown(&shelf, me));
    assert_eq!(shelf.total(A), (0, 0));
    permits.settle(&shelf, renamed);
    assert_eq!(
        shelf.total(A),
        (1, 10),
        "what it holds must count under the new name"
    );
    assert!(permits.close(&shelf, renamed));
    assert_eq!(shelf.total(A), (0, 0));
}

#[test]
fn nothing_is_taken_if_the_envoy_has_no_room() {
    let shelf = Shelf::default();
    let me = member(1, 11);
    let mut permits = Permits::default();
    let limits = Limits {
        requests: 9,
        bytes: 99,
    };
    let claim = |bytes, max_bytes| PermitRequest::of(Slot(0), bytes, 9, max_bytes);
    assert_eq!(permits.take(&shelf, me, &claim(60, 1_000), &limits), Ok(()));
    assert_eq!(
        permits.take(&shelf, me, &claim(60, 1_000), &limits),
        Err((Bound::Bytes, true))
    );
    assert_eq!(
        permits.take(&shelf, me, &claim(60, 100), &limits),
        Err((Bound::Bytes, false))
    );
    assert_eq!((shelf.total(A), shelf.total(None)), ((1, 60), (1, 60)));
}

#[test]
fn a_member_leaves_only_when_it_has_given_everything_back() {
    let shelf = Shelf::default();
    let me = member(1, 11);
    let mut permits = Permits::default();
    permits.take_of(&shelf, me, A, 10, 9, 99).unwrap();
    shelf.lost.set(TRIES);
    assert!(!permits.close(&shelf, me), "must stay listed");
    assert!(permits.close(&shelf, me), "must have given everything back");
    permits.give_back(&[back(A, 1, 10)]);
    assert!(
        permits.own.is_empty(),
        "what was given back before opens no account"
    );
    assert_eq!(shelf.total(A), (0, 0));
}

#[test]
fn accounts_that_cannot_be_closed_are_told() {
    let shelf = Shelf::default();
    let me = member(1, 11);
    let mut permits = Permits::default();
    permits.take_of(&shelf, me, A, 10, 9, 99).unwrap();
    shelf.lost.set(TRIES);
    assert!(!close_accounts(&shelf, me, 1), "must be tried again");
    assert!(close_accounts(&shelf, me, 1));
    assert_eq!(shelf.total(A), (0, 0));
}

#[test]
fn accounts_of_no_gate_are_found() {
    let shelf = Shelf::default();
    let (me, forgotten) = (member(1, 12), member(1, 11));
    let listed = || Members { live: vec![me] };
    assert_eq!(strangers(&shelf, listed), []);
    for member in [me, forgotten] {
        Permits::default()
            .take_of(&shelf, member, None, 10, 9, 99)
            .unwrap();
    }
    assert_eq!(strangers(&shelf, listed), [forgotten]);
}

#[derive(Clone, Debug)]
enum Op {
    Take { who: usize, slot: u32, bytes: u64 },
    GiveBack { who: usize, nth: usize },
    Tick { who: usize },
    Jam { writes: u32 },
    TakeForDead { who: usize },
    Rename { who: usize },
    Die { who: usize },
    Leave { who: usize },
}

const WHO: usize = 3;
const SLOTS: u32 = 2;
const MAX: u32 = 4;
const MAX_BYTES: u64 = 100;

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..WHO, 0..SLOTS, 0..60_u64).prop_map(|(who, slot, bytes)| Op::Take { who, slot, bytes }),
        6 => (0..WHO, any::<usize>()).prop_map(|(who, nth)| Op::GiveBack { who, nth }),
        3 => (0..WHO).prop_map(|who| Op::Tick { who }),
        1 => (0..3 * TRIES).prop_map(|writes| Op::Jam { writes }),
        1 => (0..WHO).prop_map(|who| Op::TakeForDead { who }),
        1 => (0..WHO).prop_map(|who| Op::Rename { who }),
        1 => (0..WHO).prop_map(|who| Op::Die { who }),
        1 => (0..WHO).prop_map(|who| Op::Leave { who }),
    ]
}

/// One root context: its book, and what it truly holds.
#[derive(Default)]
struct Context {
    me: Option<Member>,
    permits: Permits,
    held: Vec<(u32, u64)>,
}

#[derive(Default)]
struct World {
    shelf: Shelf,
    contexts: Vec<Context>,
    nonces: u64,
    /// No gate was taken for dead: the bounds are exact.
    exact: bool,
    /// Dead, or gone in debt: the relay closes their accounts.
    dead: Vec<Member>,
}

impl World {
    fn name(&mut self, who: usize) -> Member {
        // Ids are used again; nonces are not.
        self.nonces += 1;
        member(who as u32 % 2 + 1, self.nonces)
    }

    fn member(&mut self, who: usize) -> Member {
        if let Some(me) = self.contexts[who].me {
            return me;
        }
        let me = self.name(who);
        self.contexts[who].me = Some(me);
        me
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Take { who, slot, bytes } => {
                let me = self.member(who);
                let context = &mut self.contexts[who];
                if context
                    .permits
                    .take_of(&self.shelf, me, Some(Slot(slot)), bytes, MAX, MAX_BYTES)
                    .is_ok()
                {
                    context.held.push((slot, bytes));
                    let (requests, bytes) = self.shelf.total(Some(Slot(slot)));
                    assert!(
                        requests <= u64::from(MAX) && bytes <= MAX_BYTES,
                        "bounds must hold"
                    );
                }
            }
            Op::GiveBack { who, nth } => {
                let me = self.member(who);
                let context = &mut self.contexts[who];
                if context.held.is_empty() {
                    return;
                }
                let (slot, bytes) = context.held.swap_remove(nth % context.held.len());
                context.permits.put_back(Some(Slot(slot)), 1, bytes);
                context.permits.settle(&self.shelf, me);
            }
            Op::Tick { who } => self.tick(who),
            Op::Jam { writes } => self.shelf.lost.set(writes),
            Op::TakeForDead { who } => {
                let me = self.member(who);
                close_accounts(&self.shelf, me, SLOTS);
                self.exact = false;
            }
            Op::Rename { who } => {
                let old = self.member(who);
                if self.contexts[who].permits.disown(&self.shelf, old) {
                    let new = self.name(who);
                    self.contexts[who].me = Some(new);
                    // Others may take what it has left before it takes it again.
                    self.exact = false;
                }
            }
            Op::Die { who } => {
                let me = self.member(who);
                self.dead.push(me);
                self.contexts[who] = Context::default();
            }
            Op::Leave { who } => {
                let me = self.member(who);
                if !self.contexts[who].permits.close(&self.shelf, me) {
                    self.dead.push(me);
                }
                self.contexts[who] = Context::default();
            }
        }
        if self.exact {
            for slot in 0..SLOTS {
                let (requests, bytes) = self.truth(slot);
                assert!(
                    requests <= u64::from(MAX) && bytes <= MAX_BYTES,
                    "what is held must be within the bounds"
                );
            }
        }
    }

    fn tick(&mut self, who: usize) {
        let me = self.member(who);
        let permits = &mut self.contexts[who].permits;
        permits.doubt();
        permits.settle(&self.shelf, me);
    }

    fn truth(&self, slot: u32) -> (u64, u64) {
        let held = self.contexts.iter().flat_map(|context| &context.held);
        held.filter(|(of, _)| *of == slot)
            .fold((0, 0), |(requests, sum), (_, bytes)| (requests + 1, sum + bytes))
    }
}

#[test]
fn a_tick_after_the_trouble_has_ended_the_ledgers_say_what_is_held() {
    let ops = proptest::collection::vec(any_op(), 1..80);
    mk_runner(1_000)
        .run(&ops, |ops| {
            let mut world = World {
                exact: true,
                ..World::default()
            };
            world.contexts.resize_with(WHO, Context::default);
            for op in &ops {
                world.step(op);
            }
            world.shelf.lost.set(0);
            for dead in std::mem::take(&mut world.dead) {
                assert!(close_accounts(&world.shelf, dead, SLOTS));
            }
            for who in 0..WHO {
                world.tick(who);
                let permits = &world.contexts[who].permits;
                assert!(!permits.owes(), "must owe nothing");
                let held = &world.contexts[who].held;
                let slots: std::collections::BTreeSet<_> =
                    held.iter().map(|(slot, _)| Some(Slot(*slot))).collect();
                assert!(
                    permits.own.iter().map(|(slot, _)| *slot).eq(slots),
                    "must have an account of what is held, and of nothing else"
                );
            }
            for slot in 0..SLOTS {
                assert_eq!(
                    world.shelf.total(Some(Slot(slot))),
                    world.truth(slot),
                    "the quota must say what is held"
                );
            }
            Ok(())
        })
        .unwrap();
}
