//! Several processors behind one filter: the order, the headers and the bodies as if each had a filter of its own, for one call.

mod bodies;
mod merge;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use crate::body::Body;
use crate::erased::{AnyState, Erased};
use crate::exchange::Exchange;
use crate::headers::Headers;
use crate::modes::Direction;
use crate::needs::Needs;
use crate::processor::{End, Processor};
use crate::reply::{BodyReply, HeadersReply, TrailersReply};
use crate::stop::{Reply, Stop};

/// Several processors as one: [`chain!`](crate::chain!) or [`Chain::of`]. It saves a filter, a call and a round trip for each
/// phase of each processor behind the first.
///
/// - The request's phases run in the order of the chain, the response's in reverse, as Envoy runs filters.
/// - Each processor sees the headers as those before left them, in its handlers and in its [`Exchange`]. What a body's reply
///   changes in the headers is not seen by the handlers of headers, which have run by then.
/// - Body handlers run at the same time, joined by pipes that hold one piece: a slow one holds up those before it, and Envoy.
/// - An [`Immediate`](crate::Immediate) or a failure of one ends the exchange for all: those behind it are not asked.
/// - A body that one replaces in its answer to the headers is the body of those behind it. Envoy then sends no body, so the body
///   handlers of those before it do not run.
/// - [`done`](HeadersReply::done) ends the exchange for the processor that says it; for Envoy when all have said it.
/// - Of modes that several ask for, a body that one wants is sent, in the mode of the first that asks; nothing is turned off
///   unless all ask for it.
/// - [`Needs`]: the larger limits, the modes that all accept, the tightest deadlines, which hold for the chain as a whole.
/// - [`ended`](Processor::ended) is called for each, in the order of the chain, also for those that were never asked.
pub struct Chain {
    processors: Vec<Erased>,
    name: String,
    needs: Needs,
}

/// The processors of one exchange, each with its state and what it was shown.
#[derive(Debug, Default)]
pub struct ChainState {
    members: Vec<Member>,
}

#[derive(Clone, Debug)]
struct Member {
    exchange: Exchange<AnyState>,
    /// It wants nothing more of this exchange.
    is_done: bool,
}

/// One filter for several processors: `chain!(a, b, c)` is [`Chain::of`] them in this order.
///
/// ```
/// let a = extproc::processor::<()>("a");
/// let b = extproc::processor::<()>("b");
/// let server = extproc::Server::new(extproc::chain!(a, b));
/// # drop(server);
/// ```
#[macro_export]
macro_rules! chain {
    ($($processor:expr),+ $(,)?) => {
        $crate::Chain::of([$($crate::Erased::new($processor)),+])
    };
}

impl Chain {
    /// These processors, in the order of the request.
    pub fn of(processors: impl IntoIterator<Item = Erased>) -> Self {
        let processors: Vec<Erased> = processors.into_iter().collect();
        let names: Vec<_> = processors.iter().map(Processor::name).collect();
        let name = names.join(",");
        let needs = merge::needs(processors.iter().map(Processor::needs));
        Self {
            processors,
            name,
            needs,
        }
    }

    /// The processors of this exchange in the order of a direction, with their places in the chain.
    fn members(
        &self,
        exchange: &Exchange<ChainState>,
        direction: Direction,
    ) -> Vec<(usize, &Erased, Exchange<AnyState>)> {
        let mut state = exchange.state();
        if state.members.is_empty() {
            let member = |_: &Erased| Member {
                exchange: Exchange::member(exchange),
                is_done: false,
            };
            state.members = self.processors.iter().map(member).collect();
        }
        let members = state.members.iter().zip(&self.processors).enumerate();
        let mut members: Vec<_> = members
            .filter(|(_, (member, _))| !member.is_done)
            .map(|(place, (member, processor))| (place, processor, member.exchange.clone()))
            .collect();
        drop(state);
        if direction == Direction::Response {
            members.reverse();
        }
        members
    }

    /// The stop of the processor at `place`: an answer names those that the exchange went through.
    fn stopped(&self, place: usize, stop: Stop) -> Stop {
        let Stop::Respond(mut answer) = stop else {
            return stop;
        };
        let names: Vec<_> = self
            .processors
            .iter()
            .take(place + 1)
            .map(Processor::name)
            .collect();
        answer.names.get_or_insert_with(|| names.join(",").into());
        Stop::Respond(answer)
    }

    async fn headers(
        &self,
        exchange: &Exchange<ChainState>,
        headers: &Headers,
        direction: Direction,
    ) -> Reply<HeadersReply> {
        let members = self.members(exchange, direction);
        let mut shown = headers.clone();
        let mut merged = merge::Headers::new(self.processors.len());
        for (place, processor, member) in members {
            member.show(direction, &shown);
            let began = Instant::now();
            let replied = match direction {
                Direction::Request => processor.request_headers(&member, &shown).await,
                Direction::Response => processor.response_headers(&member, &shown).await,
            };
            member.add_processing(began.elapsed());
            let mut reply = replied.map_err(|stop| self.stopped(place, stop))?;
            shown = reply.edits.apply(&shown)?;
            if reply.done {
                self.done(exchange, place);
            }
            // A body that stands in the place of the one that Envoy has is the body of those behind it.
            if reply.replace.is_none()
                && let Some(replaced) = merged.replaced()
                && !reply.done
            {
                let passed = self
                    .replaced((place, processor, member), replaced, direction)
                    .await?;
                reply.edits.extend(passed.edits);
                reply.metadata.extend(passed.metadata);
                reply.replace = Some(passed.whole);
            }
            if let Some(replaced) = &reply.replace {
                shown = merge::with_length(&shown, replaced.len())?;
            }
            merged.add(reply);
        }
        let all_done = exchange.state().members.iter().all(|member| member.is_done);
        Ok(merged.into_reply(all_done))
    }

    fn done(&self, exchange: &Exchange<ChainState>, place: usize) {
        if let Some(member) = exchange.state().members.get_mut(place) {
            member.is_done = true;
        }
    }

    async fn trailers(
        &self,
        exchange: &Exchange<ChainState>,
        trailers: &Headers,
        direction: Direction,
    ) -> Reply<TrailersReply> {
        let mut shown = trailers.clone();
        let mut merged = TrailersReply::unchanged();
        for (place, processor, member) in self.members(exchange, direction) {
            let began = Instant::now();
            let replied = match direction {
                Direction::Request => processor.request_trailers(&member, &shown).await,
                Direction::Response => processor.response_trailers(&member, &shown).await,
            };
            member.add_processing(began.elapsed());
            let reply = replied.map_err(|stop| self.stopped(place, stop))?;
            shown = reply.edits.apply(&shown)?;
            merged.edits.extend(reply.edits);
            merged.metadata.extend(reply.metadata);
        }
        Ok(merged)
    }
}

impl Processor for Chain {
    type State = ChainState;

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn needs(&self) -> Needs {
        self.needs.clone()
    }

    async fn request_headers(
        &self,
        exchange: &Exchange<ChainState>,
        headers: &Headers,
    ) -> Reply<HeadersReply> {
        self.headers(exchange, headers, Direction::Request).await
    }

    async fn request_body(&self, exchange: &Exchange<ChainState>, body: Body) -> Reply<BodyReply> {
        self.body(exchange, body, Direction::Request).await
    }

    async fn request_trailers(
        &self,
        exchange: &Exchange<ChainState>,
        trailers: &Headers,
    ) -> Reply<TrailersReply> {
        self.trailers(exchange, trailers, Direction::Request).await
    }

    async fn response_headers(
        &self,
        exchange: &Exchange<ChainState>,
        headers: &Headers,
    ) -> Reply<HeadersReply> {
        self.headers(exchange, headers, Direction::Response).await
    }

    async fn response_body(&self, exchange: &Exchange<ChainState>, body: Body) -> Reply<BodyReply> {
        self.body(exchange, body, Direction::Response).await
    }

    async fn response_trailers(
        &self,
        exchange: &Exchange<ChainState>,
        trailers: &Headers,
    ) -> Reply<TrailersReply> {
        self.trailers(exchange, trailers, Direction::Response).await
    }

    fn ended(&self, exchange: &Exchange<ChainState>, end: End) {
        // Those that are done are told as well.
        let _ = self.members(exchange, Direction::Request);
        let members: Vec<Member> = exchange.state().members.clone();
        let mut panicked = None;
        for (processor, member) in self.processors.iter().zip(members) {
            let told = catch_unwind(AssertUnwindSafe(|| processor.ended(&member.exchange, end)));
            panicked = panicked.or(told.err());
        }
        // The driver counts it; each of the others has been told by now.
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
    }
}
