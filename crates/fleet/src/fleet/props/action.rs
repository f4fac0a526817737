//! What happens to the fleet under test.

use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(super) enum Action {
    Arrive(usize),
    Finish(usize),
    Abandon(usize),
    Sync(usize),
    Report(usize),
    /// Says nothing for a while, but goes on letting pass what it believes may pass.
    Mute(usize),
    Leave(usize),
    /// A poll in the name of a proxy that does not exist, and perhaps a report too.
    MakeUp(bool),
    /// The backend carries out what it was told.
    Carry,
    /// The workload dies.
    Die,
    /// Another manager sets the replicas.
    Others(u32),
    Wait(u64),
    AskSleep,
    AskWake,
    /// Its document gets the other of two names.
    Rename,
}

pub(super) fn action() -> impl Strategy<Value = Action> {
    let envoy = || 0usize..2;
    prop_oneof![
        3 => envoy().prop_map(Action::Arrive),
        4 => envoy().prop_map(Action::Finish),
        2 => envoy().prop_map(Action::Abandon),
        8 => envoy().prop_map(Action::Sync),
        8 => envoy().prop_map(Action::Report),
        1 => envoy().prop_map(Action::Mute),
        1 => envoy().prop_map(Action::Leave),
        2 => any::<bool>().prop_map(Action::MakeUp),
        6 => Just(Action::Carry),
        1 => Just(Action::Die),
        2 => (0u32..4).prop_map(Action::Others),
        4 => (0u64..12_000).prop_map(Action::Wait),
        1 => Just(Action::Wait(700_000)),
        2 => Just(Action::AskSleep),
        1 => Just(Action::AskWake),
        1 => Just(Action::Rename),
    ]
}
