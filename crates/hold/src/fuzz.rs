//! Entry points for fuzzers and property tests: each takes any bytes and panics where something is wrong. Never part of the filter.

use proptest::collection::vec;
use proptest::prelude::any;
use proptest::sample::{Index, select};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config as RunnerConfig, RngAlgorithm, TestRng, TestRunner};

use crate::Config;
use crate::gate::model as gate_model;

/// The plugin's configuration: taken, or refused in one line.
pub fn configuration(bytes: &[u8]) {
    if let Err(refusal) = Config::parse(bytes) {
        let line = refusal.to_string();
        assert!(
            !line.is_empty() && !line.contains('\n'),
            "must be one line: {line:?}"
        );
    }
}

/// Everything that can happen to a gate, against the model.
pub fn gate(bytes: &[u8]) {
    gate_model::check(bytes.len(), &made_of(bytes, &gate_model::event()));
}

/// One event for each eight bytes, so that a fuzzer that moves, drops and doubles bytes does so with events.
pub fn made_of<S: Strategy>(bytes: &[u8], strategy: &S) -> Vec<S::Value> {
    const MOST: usize = 200;
    let made = bytes.chunks(8).take(MOST).map(|chunk| {
        let mut seed = [0; 32];
        for (to, from) in seed.iter_mut().zip(chunk) {
            *to = *from;
        }
        let dice = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let config = RunnerConfig {
            failure_persistence: None,
            ..RunnerConfig::default()
        };
        strategy.new_tree(&mut TestRunner::new_with_rng(config, dice))
    });
    made.filter_map(|tree| tree.ok().map(|tree| tree.current()))
        .collect()
}

/// One of `samples` with some pieces replaced by any bytes.
pub fn damaged(samples: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let piece = (any::<Index>(), 0..12_usize, vec(any::<u8>(), 0..12));
    (select(samples), vec(piece, 0..4)).prop_map(|(mut bytes, pieces)| {
        for (at, length, piece) in pieces {
            let at = at.index(bytes.len() + 1);
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, piece);
        }
        bytes
    })
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::testing::mk_runner;

    const CONFIGURATION: &str = r#"{"service":true,"control_plane":{"cluster":"cp","timeout":"5s"},"startup":{"wait":"2s"},
        "limits":{"requests":20,"bytes":"1Gi"},"buffer_limit":2000,"ticks":{"period":"100ms"}}"#;

    fn check(cases: u32, strategy: &impl Strategy<Value = Vec<u8>>, entry: impl Fn(&[u8])) {
        let outcome = mk_runner(cases).run(strategy, |bytes| {
            entry(&bytes);
            Ok(())
        });
        outcome.unwrap();
    }

    #[test]
    fn a_damaged_configuration_is_taken_or_refused_in_one_line() {
        check(1_000, &damaged(vec![CONFIGURATION.into()]), configuration);
        // Found by the fuzzer.
        configuration(b"{\"\n}");
    }

    #[test]
    fn any_bytes_make_events_of_a_gate() {
        check(200, &vec(any::<u8>(), 0..800), gate);
    }
}
