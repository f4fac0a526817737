//! What each answer proves, and how often is asked.
//!
//! Long because it is one table of facts: every kind of answer against every pace.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use std::time::Duration;

use protocol::Confirm;

use crate::Time;
use crate::gate::TargetIx;
use crate::gate::confirm::rules::*;
use crate::gate::confirm::{ConfirmOutcome, ConfirmToken};
use crate::gate::testing::at;

const SECOND: Duration = Duration::from_secs(1);
const NOT_THERE: [ConfirmOutcome; 7] = [
    ConfirmOutcome::Cut,
    ConfirmOutcome::NoAnswer,
    ConfirmOutcome::NotServing,
    answered(502, None),
    answered(503, None),
    answered(504, None),
    answered(200, Some(14)),
];
const NOBODY: [ConfirmOutcome; 4] = [
    ConfirmOutcome::NoCluster,
    ConfirmOutcome::NoEndpoint,
    ConfirmOutcome::Refused,
    ConfirmOutcome::Failed,
];

const fn answered(status: u16, grpc_status: Option<u32>) -> ConfirmOutcome {
    ConfirmOutcome::Answered { status, grpc_status }
}

/// A second for an answer, five to give up.
fn mk_terms(confirmed: bool, sharers: u32) -> Terms {
    let confirm = Confirm::Http {
        path: String::new(),
        authority: None,
        timeout_ms: 1_000,
        give_up_ms: 5_000,
    };
    Terms::new(&confirm, confirmed, sharers).unwrap()
}

/// The tries after these outcomes.
fn after(outcomes: &[(Time, ConfirmOutcome)], terms: &Terms) -> (Time, Tries) {
    let mut last = (Time::ZERO, Tries::default());
    for (at, outcome) in outcomes {
        let ConfirmVerdict::No {
            check: Check::Waiting { again, tries },
            ..
        } = judge(*at, last.1, *outcome, terms)
        else {
            panic!("{outcome:?} at {at:?} must be a no")
        };
        last = (again, tries);
    }
    last
}

fn is_yes(verdict: ConfirmVerdict) -> bool {
    matches!(verdict, ConfirmVerdict::Yes { .. })
}

#[test]
fn any_answer_of_the_workload_is_a_yes() {
    for status in [200, 301, 401, 404, 405, 500, 501] {
        let verdict = judge(
            Time::ZERO,
            Tries::default(),
            answered(status, None),
            &mk_terms(false, 0),
        );
        assert_eq!(verdict, ConfirmVerdict::Yes { believed: false }, "{status}");
    }
    let unimplemented = judge(
        Time::ZERO,
        Tries::default(),
        answered(200, Some(12)),
        &mk_terms(false, 0),
    );
    assert_eq!(unimplemented, ConfirmVerdict::Yes { believed: false });
}

#[test]
fn a_doubtful_answer_is_believed_from_the_first_such() {
    let terms = mk_terms(false, 0);
    for outcome in NOT_THERE {
        // No host was there for long before.
        let refused = (at(SECOND * 7), ConfirmOutcome::Refused);
        let (_, tries) = after(
            &[
                (Time::ZERO, ConfirmOutcome::Refused),
                refused,
                (at(SECOND * 8), outcome),
            ],
            &terms,
        );
        let judged = |now| judge(at(now), tries, outcome, &terms);
        assert!(
            !is_yes(judged(SECOND * 13 - Duration::from_millis(1))),
            "{outcome:?}"
        );
        assert!(is_yes(judged(SECOND * 13)), "{outcome:?}");
        let check = Check::Waiting {
            again: at(SECOND * 60),
            tries,
        };
        assert_eq!(
            check.believed_at(&terms),
            Some(at(SECOND * 13)),
            "must not need another question: {outcome:?}"
        );
    }
}

#[test]
fn a_cluster_without_a_host_is_a_no_without_end() {
    for terms in [mk_terms(false, 0), mk_terms(false, 3), mk_terms(true, 3)] {
        for outcome in NOBODY {
            let (again, tries) = after(&[(Time::ZERO, outcome), (at(SECOND * 3_600), outcome)], &terms);
            let check = Check::Waiting { again, tries };
            assert_eq!(check.believed_at(&terms), None, "{outcome:?}");
            // What was doubtful before says nothing any more.
            let (again, tries) = after(
                &[
                    (Time::ZERO, outcome),
                    (at(SECOND), ConfirmOutcome::Refused),
                    (at(SECOND * 9), outcome),
                ],
                &terms,
            );
            assert_eq!(Check::Waiting { again, tries }.believed_at(&terms), None);
        }
    }
}

#[test]
fn a_refusal_after_a_doubt_is_not_outlasted() {
    let terms = mk_terms(false, 0);
    let (again, tries) = after(
        &[
            (Time::ZERO, ConfirmOutcome::Cut),
            (at(SECOND), ConfirmOutcome::Refused),
        ],
        &terms,
    );
    assert_eq!(Check::Waiting { again, tries }.believed_at(&terms), None);
    assert!(
        is_yes(judge(at(SECOND * 6), tries, ConfirmOutcome::Cut, &terms)),
        "the first doubt counts"
    );
}

#[test]
fn a_question_that_stays_open_is_a_yes_after_give_up_and_never_a_time_out_before() {
    let terms = mk_terms(false, 0);
    let mut check = Check::Asking {
        token: ConfirmToken {
            n: 1,
            target: TargetIx(0),
        },
        since: at(SECOND),
        tries: Tries::default(),
    };
    assert_eq!(check.believed_at(&terms), Some(at(SECOND * 7)));
    assert!(SECOND + terms.open() > SECOND * 7, "must not end before");
    assert_eq!(check.taken_at(&terms), None, "must be alone to answer");
    assert_eq!(
        check.seen(at(SECOND * 2 - Duration::from_millis(1)), &terms),
        None
    );
    assert_eq!(
        check.seen(at(SECOND * 4), &terms),
        Some((ConfirmOutcome::NoAnswer, at(SECOND * 2))),
        "must be told of"
    );
    let terms = mk_terms(true, 3);
    assert_eq!(
        check.taken_at(&terms),
        Some(at(SECOND + TAKEN)),
        "another one's yes must do"
    );
    assert_eq!(check.believed_at(&terms), Some(at(SECOND * 2)));
    check = Check::Yes;
    assert_eq!(
        (check.taken_at(&terms), check.seen(at(SECOND * 4), &terms)),
        (None, None)
    );
}

#[test]
fn once_another_gate_has_had_its_yes_a_host_that_is_there_is_enough() {
    for outcome in NOT_THERE {
        let verdict = judge(Time::ZERO, Tries::default(), outcome, &mk_terms(true, 3));
        assert_eq!(verdict, ConfirmVerdict::Yes { believed: true }, "{outcome:?}");
    }
}

/// Failed tries of the gates of one Envoy, when no host is ever there.
fn failures(gates: u32) -> Vec<Time> {
    let mut all = Vec::new();
    for gate in 0..gates {
        let terms = mk_terms(false, if gate == 0 { 0 } else { gates - 1 });
        let mut now = match gate {
            0 => Time::ZERO,
            // As `Entry::asks_from` has it.
            place => at(terms.timeout + terms.give_up + SECOND * 2 + SLOW_GAP * (place - 1)),
        };
        let mut tries = Tries::default();
        while now < at(SECOND * 120) {
            all.push(now);
            let (again, next) = {
                let ConfirmVerdict::No {
                    check: Check::Waiting { again, tries },
                    ..
                } = judge(now, tries, ConfirmOutcome::Refused, &terms)
                else {
                    panic!("must wait")
                };
                (again, tries)
            };
            assert!(again > now, "must not spin");
            (now, tries) = (again, next);
        }
    }
    all.sort_unstable();
    all
}

#[test]
fn four_failed_tries_of_an_envoy_fit_into_any_five_seconds() {
    for gates in [1, 2, 4, 16] {
        let all = failures(gates);
        for (n, first) in all.iter().enumerate() {
            let within = all[n..]
                .iter()
                .take_while(|at| **at < *first + SECOND * 5)
                .count();
            assert!(
                within <= 4,
                "must stay below the five that eject a host: {within} from {first:?} on, {gates} gates"
            );
        }
    }
}

#[test]
fn no_five_time_outs_in_a_row() {
    let terms = mk_terms(false, 0);
    let mut now = Time::ZERO;
    let mut tries = Tries::default();
    let mut asked = 0;
    // Each try is cut: the worst that a host that is there can do.
    loop {
        asked += 1;
        match judge(now, tries, ConfirmOutcome::Cut, &terms) {
            ConfirmVerdict::Yes { .. } => break,
            ConfirmVerdict::No { check, .. } => {
                let Check::Waiting { again, tries: next } = check else {
                    panic!("must wait")
                };
                if check.believed_at(&terms).is_some_and(|at| at <= again) {
                    break;
                }
                (now, tries) = (again, next);
            }
        }
    }
    assert_eq!(asked, 4, "the fifth would eject the host");
}

#[test]
fn a_silent_cluster_is_named_once() {
    let terms = mk_terms(false, 0);
    let (_, tries) = after(&[(Time::ZERO, ConfirmOutcome::Refused)], &terms);
    let late = SECOND * 6;
    let ConfirmVerdict::No {
        check: Check::Waiting { tries, .. },
        warn: true,
    } = judge(at(late), tries, ConfirmOutcome::Refused, &terms)
    else {
        panic!("must warn")
    };
    let again = judge(at(late), tries, ConfirmOutcome::Refused, &terms);
    assert!(
        matches!(again, ConfirmVerdict::No { warn: false, .. }),
        "{again:?}"
    );
}

#[test]
fn envoys_own_words_are_told_apart() {
    let reset = "upstream connect error or disconnect/reset before headers. reset reason: ";
    for (reason, outcome) in [
        (
            "remote connection failure, transport failure reason: delayed connect error: 111",
            ConfirmOutcome::Refused,
        ),
        ("remote connection failure", ConfirmOutcome::Refused),
        ("local connection failure", ConfirmOutcome::Refused),
        ("connection timeout", ConfirmOutcome::Refused),
        (
            "remote connection failure, transport failure reason: TLS_error:|268435703",
            ConfirmOutcome::Cut,
        ),
        ("connection termination", ConfirmOutcome::Cut),
        ("remote reset", ConfirmOutcome::Cut),
        ("protocol error", ConfirmOutcome::Cut),
        ("overflow", ConfirmOutcome::Cut),
    ] {
        for status in [200, 503] {
            let told = ConfirmOutcome::of_envoy(status, format!("{reset}{reason}").as_bytes());
            assert_eq!(told, outcome, "{status}: {reason}");
        }
    }
    for (status, text, outcome) in [
        (200, "upstream request timeout", ConfirmOutcome::NoAnswer),
        (503, "no healthy upstream", ConfirmOutcome::NoEndpoint),
        // To a HEAD.
        (504, "", ConfirmOutcome::NoAnswer),
        (503, "", ConfirmOutcome::Failed),
        (502, "", ConfirmOutcome::Cut),
    ] {
        assert_eq!(
            ConfirmOutcome::of_envoy(status, text.as_bytes()),
            outcome,
            "{status}: {text}"
        );
    }
}

#[test]
fn what_a_head_does_not_tell_the_next_get_does() {
    let terms = mk_terms(false, 0);
    assert!(Tries::default().head(), "must ask for headers first");
    let (_, tries) = after(&[(Time::ZERO, ConfirmOutcome::Failed)], &terms);
    assert!(!tries.head(), "must ask for a text now");
    let (again, tries) = after(
        &[
            (Time::ZERO, ConfirmOutcome::Failed),
            (at(SECOND), ConfirmOutcome::Cut),
            (at(SECOND * 2), ConfirmOutcome::Failed),
        ],
        &terms,
    );
    let check = Check::Waiting { again, tries };
    assert_eq!(
        check.believed_at(&terms),
        Some(at(SECOND * 6)),
        "must go on as told"
    );
    let (again, tries) = after(
        &[
            (Time::ZERO, ConfirmOutcome::Failed),
            (at(SECOND), ConfirmOutcome::Refused),
            (at(SECOND * 9), ConfirmOutcome::Failed),
        ],
        &terms,
    );
    assert_eq!(
        Check::Waiting { again, tries }.believed_at(&terms),
        None,
        "must go on as told"
    );
}

#[test]
fn the_health_services_message_counts() {
    let message = |bytes: &[u8]| [&[0, 0, 0, 0, u8::try_from(bytes.len()).unwrap()], bytes].concat();
    for (body, serves) in [
        (message(&[8, 1]), true),
        (message(&[8, 2]), false),
        (message(&[8, 0]), false),
        (message(&[8, 3]), false),
        (message(&[]), false),
        // Of some other service, of a later version, compressed, cut, none at all.
        (message(&[8, 1, 16, 5]), true),
        (message(&[18, 1, 65]), true),
        ([&[1], &message(&[8, 2])[1..]].concat(), true),
        (message(&[8, 2])[..6].to_vec(), true),
        (Vec::new(), true),
    ] {
        let said = ConfirmOutcome::of_health(&body);
        assert_eq!(said.is_none(), serves, "{body:?}: {said:?}");
    }
}

#[test]
fn what_was_seen_is_told_in_a_few_words() {
    for (outcome, text) in [
        (ConfirmOutcome::NoEndpoint, "no endpoint"),
        (ConfirmOutcome::Refused, "refused"),
        (ConfirmOutcome::NotServing, "NOT_SERVING"),
        (answered(503, None), "status 503"),
        (answered(200, Some(14)), "UNAVAILABLE"),
    ] {
        assert_eq!(outcome.text(SECOND), text);
    }
    assert_eq!(ConfirmOutcome::NoAnswer.text(SECOND), "no answer in 1 s");
    assert_eq!(ConfirmOutcome::NoAnswer.text(SECOND / 4), "no answer in 250 ms");
}
