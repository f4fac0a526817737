//! A body on its way through the handlers of a chain, which run at the same time, each behind a pipe that holds one piece.
//!
//! The chain is polled as one body handler: it reads the body that Envoy sends, moves pieces from one handler to the next, and
//! writes what the last one lets out. In STREAMED it asks for Envoy's next chunk only when every handler waits for input, so that
//! each chunk is answered with what all of them made of it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::{Chain, ChainState};
use crate::body::{Body, Pipe, Take, joined};
use crate::driver::lane_body::check_use;
use crate::edits::Edits;
use crate::erased::{AnyState, Erased};
use crate::exchange::Exchange;
use crate::modes::{BodyMode, Direction};
use crate::processor::Processor;
use crate::reply::{BodyReply, Content, Metadata};
use crate::stop::{Reply, Stop};

/// A processor of a chain in one exchange, with its place in the chain.
pub(super) type Member<'a> = (usize, &'a Erased, Exchange<AnyState>);

/// What the handlers of a chain made of a body.
pub(super) struct Passed {
    pub(super) edits: Edits,
    pub(super) metadata: Metadata,
    /// The body, where it was not read from Envoy.
    pub(super) whole: Bytes,
    /// No handler read or wrote anything, nor said that the body is another.
    is_untouched: bool,
}

impl Chain {
    pub(super) async fn body(
        &self,
        exchange: &Exchange<ChainState>,
        body: Body,
        direction: Direction,
    ) -> Reply<BodyReply> {
        let (mode, hint) = (body.mode(), body.size_hint());
        let members = self.members(exchange, direction);
        let outer = Outer::Envoy(body.into_pipe());
        let passed = pass(&members, outer, mode, hint, direction)
            .await
            .map_err(|(place, stop)| self.stopped(place, stop))?;
        let mut reply = if passed.is_untouched {
            BodyReply::unchanged()
        } else {
            BodyReply::written()
        };
        reply.edits = passed.edits;
        reply.metadata = passed.metadata;
        Ok(reply)
    }

    /// A body that a processor put in the place of Envoy's, through the body handler of one behind it.
    pub(super) async fn replaced(
        &self,
        member: Member<'_>,
        body: Bytes,
        direction: Direction,
    ) -> Reply<Passed> {
        let hint = u64::try_from(body.len()).ok();
        let outer = Outer::Whole(Some(body), Vec::new());
        pass(&[member], outer, BodyMode::Buffered, hint, direction)
            .await
            .map_err(|(place, stop)| self.stopped(place, stop))
    }
}

/// Where the body comes from and goes to.
enum Outer {
    Envoy(Arc<Pipe>),
    Whole(Option<Bytes>, Vec<Bytes>),
}

impl Outer {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Reply<Option<Bytes>>> {
        match self {
            Self::Envoy(pipe) => pipe.poll_chunk(cx, Take::Own),
            Self::Whole(body, _) => Poll::Ready(Ok(body.take())),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, piece: impl FnOnce() -> Bytes) -> Poll<Reply<()>> {
        match self {
            Self::Envoy(pipe) => {
                ready!(pipe.poll_room(cx))?;
                Poll::Ready(pipe.write(piece()))
            }
            Self::Whole(_, out) => {
                out.push(piece());
                Poll::Ready(Ok(()))
            }
        }
    }

    fn is_complete(&self) -> bool {
        match self {
            Self::Envoy(pipe) => pipe.is_complete(),
            Self::Whole(..) => true,
        }
    }
}

/// What a stage, or Envoy, has for the next one.
enum Next {
    Piece(Bytes),
    /// Nothing more; whether it was the whole body.
    End(bool),
}

type Handler<'a> = Pin<Box<dyn Future<Output = Reply<BodyReply>> + Send + 'a>>;

/// One handler, and what is left of its body when it has returned.
struct Stage<'a> {
    place: usize,
    pipe: Arc<Pipe>,
    /// None when it has returned.
    handler: Option<Handler<'a>>,
    /// Something happened to it since it was polled last.
    is_due: bool,
    edits: Edits,
    metadata: Metadata,
    /// It has returned, and what it did not read passes on; else it is dropped.
    passes: bool,
    /// What it left, once it has returned.
    out: VecDeque<Bytes>,
    has_input_ended: bool,
    is_complete: bool,
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.pipe.close();
    }
}

impl<'a> Stage<'a> {
    fn new(member: &'a Member<'_>, mode: BodyMode, hint: Option<u64>, direction: Direction) -> Self {
        let (place, processor, exchange) = member;
        let limits = processor.needs().limits;
        // Whatever Envoy's mode: between handlers, pieces come and go independently.
        let pipe = Pipe::new(BodyMode::FullDuplex, limits, exchange.core.memory.clone());
        let body = Body::new(pipe.clone(), mode, hint);
        let handler: Handler<'a> = match direction {
            Direction::Request => Box::pin(processor.request_body(exchange, body)),
            Direction::Response => Box::pin(processor.response_body(exchange, body)),
        };
        Self {
            place: *place,
            pipe,
            handler: Some(handler),
            is_due: true,
            edits: Edits::default(),
            metadata: Metadata::new(),
            passes: false,
            out: VecDeque::new(),
            has_input_ended: false,
            is_complete: true,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Result<(), Stop> {
        if !std::mem::take(&mut self.is_due) {
            return Ok(());
        }
        let Some(handler) = &mut self.handler else {
            return Ok(());
        };
        let Poll::Ready(reply) = handler.as_mut().poll(cx) else {
            return Ok(());
        };
        self.handler = None;
        self.pipe.end_handler();
        let reply = reply?;
        let used = self.pipe.used();
        check_use(&reply, &used)?;
        self.pipe.pass_last();
        while let Some(piece) = self.pipe.take_piece(usize::MAX) {
            self.out.push_back(piece);
        }
        self.passes = reply.content == Content::Unchanged;
        match reply.content {
            Content::Unchanged => self.out.extend(used.collected.filter(|all| !all.is_empty())),
            Content::Replaced(body) if !body.is_empty() => self.out.push_back(body),
            Content::Replaced(_) | Content::Written => {}
        }
        if let Some(unread) = self.pipe.take_unread()
            && self.passes
        {
            self.out.push_back(unread);
        }
        self.edits = reply.edits;
        self.metadata = reply.metadata;
        Ok(())
    }

    /// Whether it takes a piece.
    fn wants_input(&self) -> bool {
        if self.has_input_ended {
            false
        } else if self.handler.is_some() {
            self.pipe.wants_chunk()
        } else {
            !self.passes || self.out.is_empty()
        }
    }

    fn take(&mut self, next: Next) {
        self.is_due = true;
        match next {
            // Between handlers an empty piece says nothing.
            Next::Piece(piece) if piece.is_empty() => {}
            Next::Piece(piece) if self.handler.is_some() => self.pipe.feed(piece, false),
            Next::Piece(piece) if self.passes => self.out.push_back(piece),
            Next::Piece(_) => {}
            Next::End(complete) => {
                self.has_input_ended = true;
                self.is_complete = complete;
                self.pipe.end_input(complete);
            }
        }
    }

    fn has_output(&self) -> bool {
        !self.out.is_empty() || self.pipe.has_output()
    }

    fn output(&mut self) -> Option<Bytes> {
        self.is_due = true;
        self.out.pop_front().or_else(|| self.pipe.take_piece(usize::MAX))
    }

    /// What it has for the next stage; none while that has to wait.
    fn next(&mut self) -> Option<Next> {
        if self.has_output() {
            return self.output().map(Next::Piece);
        }
        self.is_finished().then_some(Next::End(self.is_complete))
    }

    /// Whether nothing more comes out of it.
    fn is_finished(&self) -> bool {
        self.handler.is_none() && self.out.is_empty() && (!self.passes || self.has_input_ended)
    }

    /// Whether its handler waits for something else than its input or its output.
    fn is_busy(&self) -> bool {
        self.handler.is_some() && !self.pipe.waits_for_envoy()
    }
}

/// Passes a body through the handlers of `members`.
///
/// # Errors
/// What a handler stopped with, and its place.
async fn pass(
    members: &[Member<'_>],
    mut outer: Outer,
    mode: BodyMode,
    hint: Option<u64>,
    direction: Direction,
) -> Result<Passed, (usize, Stop)> {
    let first = members.first().map_or(0, |member| member.0);
    let mut hint = hint;
    let mut stages: Vec<Stage<'_>> = members
        .iter()
        // What those behind the first get may have another length.
        .map(|member| Stage::new(member, mode, hint.take(), direction))
        .collect();
    let mut is_untouched = true;
    poll_fn(|cx| {
        for stage in &mut stages {
            stage.is_due = true;
            stage.pipe.set_lane(cx.waker());
        }
        loop {
            for stage in &mut stages {
                stage.poll(cx).map_err(|stop| (stage.place, stop))?;
            }
            let is_through =
                |stage: &Stage<'_>| stage.handler.is_none() && stage.passes && !stage.has_output();
            if is_untouched && matches!(outer, Outer::Envoy(_)) && stages.iter().all(is_through) {
                return Poll::Ready(Ok(()));
            }
            let mut moved = poll_input(&mut stages, &mut outer, mode, cx).map_err(|stop| (first, stop))?;
            is_untouched &= !moved;
            moved |= move_on(&mut stages);
            while let Some(last) = stages.last_mut()
                && last.has_output()
            {
                let piece = || last.output().unwrap_or_default();
                match outer.poll_write(cx, piece) {
                    Poll::Ready(written) => written.map_err(|stop| (first, stop))?,
                    Poll::Pending => break,
                }
                (moved, is_untouched) = (true, false);
            }
            if stages.iter().all(Stage::is_finished) {
                is_untouched &= stages.is_empty();
                return Poll::Ready(Ok(()));
            }
            if !moved {
                if let Outer::Envoy(pipe) = &outer {
                    let progress = stages.iter().map(|stage| stage.pipe.progress()).sum();
                    pipe.set_inner(stages.iter().any(Stage::is_busy), progress);
                }
                return Poll::Pending;
            }
        }
    })
    .await?;
    let mut passed = Passed {
        edits: Edits::default(),
        metadata: Metadata::new(),
        whole: Bytes::new(),
        is_untouched,
    };
    for stage in &mut stages {
        passed.edits.extend(std::mem::take(&mut stage.edits));
        passed.metadata.append(&mut stage.metadata);
    }
    if let Outer::Whole(_, out) = outer {
        passed.whole = joined(out);
    }
    Ok(passed)
}

/// Gives the first stage what Envoy sent, if it takes it. True if something moved.
fn poll_input(
    stages: &mut [Stage<'_>],
    outer: &mut Outer,
    mode: BodyMode,
    cx: &mut Context<'_>,
) -> Result<bool, Stop> {
    let is_in_the_way = |stage: &Stage<'_>| stage.is_busy() || stage.has_output();
    if mode == BodyMode::Streamed && stages.iter().any(is_in_the_way) {
        return Ok(false);
    }
    let Some(first) = stages.first_mut().filter(|first| first.wants_input()) else {
        return Ok(false);
    };
    // What it drops need not be read: the driver drops it when the chain returns.
    if first.handler.is_none() && !first.passes {
        return Ok(false);
    }
    let next = match outer.poll_chunk(cx)? {
        Poll::Pending => return Ok(false),
        Poll::Ready(Some(chunk)) => Next::Piece(chunk),
        Poll::Ready(None) => Next::End(outer.is_complete()),
    };
    first.take(next);
    Ok(true)
}

/// Moves pieces from each stage to the next. True if one moved.
fn move_on(stages: &mut [Stage<'_>]) -> bool {
    let mut moved = false;
    let mut before: Option<&mut Stage<'_>> = None;
    for stage in stages {
        if stage.wants_input()
            && let Some(next) = before.and_then(Stage::next)
        {
            stage.take(next);
            moved = true;
        }
        before = Some(stage);
    }
    moved
}
