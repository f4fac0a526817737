//! What holds of every exchange, whatever Envoy sends, in whatever order, and whatever the handlers do: random scripts of both,
//! in tokio's paused time. The rules are the invariants W2 to W7 and W9 to W15, which the facts beside this show one by one.

mod bytes;
mod check;
mod handlers;
mod plan;
mod play;
mod script;
mod seen;

use proptest::prelude::*;

use check::check;
use plan::mk_plan;
use play::play;
use script::{mk_complete_script, mk_script};

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn every_exchange_keeps_the_rules(script in mk_script(), plan in mk_plan()) {
        let played = play(&script, &plan);
        check(&script, &plan, &played)?;
    }

    #[test]
    fn handlers_that_change_nothing_lose_nothing(script in mk_complete_script(), plan in plan::mk_identity()) {
        let played = play(&script, &plan);
        check(&script, &plan, &played)?;
        let ended = played.ended.as_ref().map(crate::testing::Ended::code);
        prop_assert!(ended.is_none_or(|code| code == tonic::Code::Ok), "{:?}", played.ended);
        for direction in script::DIRECTIONS {
            let Some(side) = script.side(direction) else { continue };
            prop_assert!(seen::output(&played, direction, side.mode) == side.whole(), "the {} body changed", direction.name());
        }
    }
}

/// `PROPTEST_CASES`, or as many as take some ten seconds in a debug build.
fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|text| text.parse().ok());
    asked.unwrap_or(512)
}
