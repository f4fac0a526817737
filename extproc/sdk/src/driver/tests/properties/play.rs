//! Plays one exchange in paused time, and writes down what was sent and answered.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tonic::Status;

use super::handlers::{Notes, Planned};
use super::plan::Plan;
use super::script::{Script, Send, Way};
use crate::body::BodyMemory;
use crate::driver::settings::Phase;
use crate::sync::lock;
use crate::testing::{Call, Ended};
use crate::wire::ProcessingResponse;

/// Longer than any handler may take.
const LONG: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) enum Event {
    Sent(Send),
    Answered(ProcessingResponse),
}

#[derive(Debug)]
pub(super) struct Played {
    pub(super) events: Vec<Event>,
    /// None: it is open, or was dropped.
    pub(super) ended: Option<Ended>,
    /// Neither an answer nor an end came, where one of them must.
    pub(super) stuck: bool,
    pub(super) polled: bool,
    pub(super) notes: Notes,
    /// Bytes of bodies that were not given back, and exchanges that are counted as open.
    pub(super) left: (usize, i64),
}

pub(super) fn play(script: &Script, plan: &Plan) -> Played {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(played(script, plan))
}

async fn played(script: &Script, plan: &Plan) -> Played {
    let notes = Arc::new(Mutex::new(Notes::default()));
    let planned = Planned {
        plan: plan.clone(),
        asked: script.asked(),
        notes: notes.clone(),
    };
    let mut call = Call::with(planned, |settings| {
        settings.memory = BodyMemory::new(script.memory);
        settings.eager_headers = script.eager;
    });
    let (memory, stats) = (call.memory.clone(), call.stats.clone());
    let mut played = Played {
        events: vec![],
        ended: None,
        stuck: false,
        polled: false,
        notes: Notes::default(),
        left: (0, 0),
    };
    for send in script.sends() {
        let looks = send.looks;
        call.send(send.message.clone());
        played.events.push(Event::Sent(send));
        for look in 0..looks {
            played.polled = true;
            let answer = if look == 2 {
                // Some time passes.
                timeout(Duration::from_millis(700), call.next())
                    .await
                    .unwrap_or(Ok(None))
            } else {
                call.now().await
            };
            played.note(answer, &call);
        }
    }
    match script.way {
        Way::HalfClose => call.close(),
        Way::Reset => call.fail(Status::from_error(Box::new(std::io::Error::other("reset")))),
        Way::Cut => call.stop(Phase::Cut),
        Way::HandOver => {
            call.stop(Phase::HandOver);
            call.close();
        }
        Way::Drop | Way::Stay => {}
    }
    if script.way != Way::Drop {
        played.polled = true;
        let began = Instant::now();
        while !call.is_over() {
            let Ok(answer) = timeout(LONG, call.next()).await else {
                played.stuck = script.way != Way::Stay;
                break;
            };
            played.note(answer, &call);
        }
        played.stuck |= began.elapsed() > 10 * LONG;
    }
    drop(call);
    played.left = (memory.used(), stats.open());
    played.notes = std::mem::take(&mut lock(&notes));
    played
}

impl Played {
    fn note(&mut self, answer: Result<Option<ProcessingResponse>, Status>, call: &Call) {
        match answer {
            Ok(Some(answer)) => self.events.push(Event::Answered(answer)),
            Ok(None) if call.is_over() && self.ended.is_none() => self.ended = Some(Ended::Cleanly),
            Ok(None) => {}
            Err(status) => self.ended = Some(Ended::With(status)),
        }
    }
}
