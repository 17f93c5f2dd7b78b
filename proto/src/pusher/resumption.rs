//! What outlives a connection whose client keeps an id: another connection of the same client, at
//! any node, finds it and goes on where the first one had come to.
//!
//! ```text
//!   open ──► looking ──nobody holds it──► entering ──► held
//!               │  ▲
//!        held   ▼  │ whoever holds it had time to show that it lives, or came in between
//!           challenging        and does: this one is a session of its own (a duplicated tab)
//! ```
//!
//! A session is a channel that no client can name (`#session-…`): who holds it is signed in there, and
//! its last event is the record of how far the client had proven to be.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::channel::{Reply, Role, Summary};
use crate::cursor::Cursor;
use crate::door::{Action, Request, SessionAsk, Signal};
use crate::event::Data;
use crate::name::{ChannelName, SocketId};
use crate::position::Position;
use crate::refusal::{Refusal, SESSION_IS_HELD};
use crate::time::{Moment, Now, earliest};

use super::code::CloseCode;

/// How long members of presence channels stay when a connection is lost that can be gone on with.
pub const PRESENCE_GRACE: Duration = Duration::from_secs(3);
/// The first delivery that is not proven waits so long for others that one ping proves with it.
const MARK_AFTER: Duration = Duration::from_secs(1);
/// What is proven is not written more often.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// A mark that a challenge wants is asked for again so soon, if it does not come.
const MARK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Nor are the places at which channels begin, for which a crash should not find no place at all.
const KEEP_FIRST_AFTER: Duration = Duration::from_millis(100);
/// How long a connection has to show that it lives.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How long another waits for that.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(1_500);
/// How long a client that is back may take to subscribe again.
const RESUBSCRIBE_WITHIN: Duration = Duration::from_secs(30);
/// Marks without an answer. A later one is left out and made up for: of a client that is slow to answer
/// the oldest is the next to be proven.
const MARKS_MAX: usize = 16;
/// Channels of a record.
const CHANNELS_MAX: usize = 10_000;

/// The part of a session that outlives its connection.
#[derive(Debug)]
pub struct Resumption {
    channel: ChannelName,
    stage: Stage,
    /// For how long a record is remembered; none if there is no record, and the session has only to be
    /// found.
    window: Option<Duration>,
    /// How far the client has proven to be, here or on an earlier connection.
    places: Cursor,
    /// The earlier connection.
    was: Option<SocketId>,
    marks: VecDeque<(u32, Cursor)>,
    mark_at: Option<Moment>,
    kept_at: Option<Moment>,
    keep_at: Option<Moment>,
    is_keeping: bool,
    answer_by: Option<Moment>,
    forget_at: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Looking { is_last: bool },
    Challenging { until: Moment },
    Entering,
    Held,
    Alone,
}

impl Resumption {
    /// A session that is gone on with, if its client comes back while a record is remembered. It
    /// should be for as long as channels have their history.
    #[must_use]
    pub fn resumable(channel: ChannelName, window: Duration, now: Now) -> Self {
        Self::new(channel, Some(window), now)
    }

    /// A session that ends with its connection; other nodes have to find it until then.
    #[must_use]
    pub fn findable(channel: ChannelName, now: Now) -> Self {
        Self::new(channel, None, now)
    }

    fn new(channel: ChannelName, window: Option<Duration>, now: Now) -> Self {
        Self {
            channel,
            stage: Stage::Entering,
            window,
            places: Cursor::default(),
            was: None,
            marks: VecDeque::new(),
            mark_at: None,
            kept_at: None,
            keep_at: None,
            is_keeping: false,
            answer_by: None,
            forget_at: now.moment + RESUBSCRIBE_WITHIN,
        }
    }

    /// The session's channel.
    #[must_use]
    pub const fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// Whether another connection can go on with it.
    #[must_use]
    pub const fn is_resumable(&self) -> bool {
        self.window.is_some() && !matches!(self.stage, Stage::Alone)
    }

    /// Whether the client is still to be greeted.
    pub(super) const fn is_opening(&self) -> bool {
        !matches!(self.stage, Stage::Held | Stage::Alone)
    }

    /// The connection of the same client before this one.
    #[must_use]
    pub const fn earlier_socket(&self) -> Option<SocketId> {
        self.was
    }

    /// How far the client had come in a channel.
    pub(super) fn since(&self, channel: &ChannelName) -> Option<Position> {
        self.places.get(channel)
    }

    /// The client does not want a channel any more.
    pub(super) fn left(&mut self, channel: &ChannelName) {
        self.places.remove(channel);
        for (_, cursor) in &mut self.marks {
            cursor.remove(channel);
        }
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        let challenge = match self.stage {
            Stage::Challenging { until } => Some(until),
            _ => self.answer_by,
        };
        earliest(earliest(self.mark_at, self.keep_at), challenge)
    }

    /// The connection is open.
    pub(super) fn open(&mut self, actions: &mut Vec<Action>) {
        match self.window {
            Some(_) => self.look(false, actions),
            None => self.enter(actions),
        }
    }

    fn look(&mut self, is_last: bool, actions: &mut Vec<Action>) {
        // Another connection may have gone on with what an earlier look had found.
        (self.was, self.places) = (None, Cursor::default());
        self.stage = Stage::Looking { is_last };
        self.ask(SessionAsk::Inspect, actions);
    }

    fn enter(&mut self, actions: &mut Vec<Action>) {
        self.stage = Stage::Entering;
        let request = Request::Join { role: Role::SignedIn, since: None };
        actions.push(Action::Ask { channel: self.channel.clone(), request });
    }

    fn ask(&self, what: SessionAsk, actions: &mut Vec<Action>) {
        let request = Request::Session(what);
        actions.push(Action::Ask { channel: self.channel.clone(), request });
    }

    /// The session's channel has answered.
    pub(super) fn answered(
        &mut self,
        request: &Request,
        reply: &Reply,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        match (request, reply) {
            (Request::Session(SessionAsk::Inspect), Reply::Channel(summary)) => {
                self.found(summary, now, actions);
            }
            (Request::Join { .. }, _) => self.stage = Stage::Held,
            (Request::Session(SessionAsk::Keep(_)), _) => self.kept(now),
            _ => {}
        }
    }

    /// The session's channel cannot be reached, or another connection has come first.
    pub(super) fn refused(
        &mut self,
        request: &Request,
        refusal: &Refusal,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        match request {
            Request::Session(SessionAsk::Keep(_)) => {
                self.is_keeping = false;
                self.keep_at = Some(now.moment + KEEP_EVERY);
            }
            // Of a refusal that comes from another node only the text is left.
            Request::Join { .. } if refusal.to_string() == SESSION_IS_HELD => {
                self.look(false, actions);
            }
            _ => {
                let reason = "the session cannot be reached; reconnect";
                actions.push(Action::Close(CloseCode::OverCapacity.because(reason)));
            }
        }
    }

    fn found(&mut self, summary: &Summary, now: Now, actions: &mut Vec<Action>) {
        match self.stage {
            Stage::Looking { .. } if summary.signed_in.is_empty() => {
                self.adopt(summary);
                self.enter(actions);
            }
            Stage::Looking { is_last: false } => {
                self.stage = Stage::Challenging { until: now.moment + LOOK_AGAIN_AFTER };
                self.ask(SessionAsk::Challenge, actions);
            }
            _ => self.stage = Stage::Alone,
        }
    }

    fn adopt(&mut self, summary: &Summary) {
        let Some((publication, _)) = &summary.cached else { return };
        let (Data::Text(record) | Data::Json(record)) = &publication.draft.event.data;
        let Some((socket, places)) = record.split_once(' ') else { return };
        self.was = SocketId::parse(socket).ok();
        self.places = Cursor::parse_up_to(places, CHANNELS_MAX).unwrap_or_default();
    }

    /// The relay has news.
    pub(super) fn signal(&mut self, signal: Signal, now: Now, actions: &mut Vec<Action>) {
        match signal {
            // It may not have heard that it is in, and asks again then.
            Signal::Entered { channel, position } => {
                self.places.begin(&channel, position);
                self.keep_after(KEEP_FIRST_AFTER, now);
            }
            Signal::Unproven if self.is_resumable() => {
                self.mark_at = earliest(self.mark_at, Some(now.moment + MARK_AFTER));
            }
            Signal::Marked { number, cursor } => {
                self.mark_at = None;
                if self.marks.len() < MARKS_MAX {
                    self.marks.push_back((number, cursor));
                } else {
                    self.mark_at = Some(now.moment + MARK_AFTER);
                }
            }
            Signal::Challenged => {
                self.answer_by = Some(now.moment + ANSWER_WITHIN);
                self.mark(now, actions);
            }
            _ => {}
        }
    }

    /// The client has had everything before a ping.
    pub(super) fn proven(&mut self, number: u32, now: Now) {
        let Some(at) = self.marks.iter().position(|(mark, _)| *mark == number) else { return };
        let Some((_, cursor)) = self.marks.drain(..=at).next_back() else { return };
        self.answer_by = None;
        self.places.advance(&cursor);
        self.keep_after(KEEP_EVERY, now);
    }

    fn keep_after(&mut self, pause: Duration, now: Now) {
        let soonest = self.kept_at.map_or(now.moment, |at| now.moment.max(at + pause));
        self.keep_at = earliest(self.keep_at, Some(soonest));
    }

    pub(super) fn timer(
        &mut self,
        (socket, channels): (SocketId, &BTreeSet<ChannelName>),
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let is_due = |at: Option<Moment>| at.is_some_and(|at| at <= now.moment);
        if is_due(self.answer_by) {
            let reason = "another connection goes on with this session";
            return actions.push(Action::Close(CloseCode::PongMissing.because(reason)));
        }
        if let Stage::Challenging { until } = self.stage
            && is_due(Some(until))
        {
            self.look(true, actions);
        }
        if is_due(self.mark_at) {
            self.mark(now, actions);
        }
        if is_due(self.keep_at) {
            if now.moment >= self.forget_at {
                self.places.retain(|channel| channels.contains(channel));
            }
            self.keep(socket, now, actions);
        }
    }

    /// Asks for a mark until it is there: the relay may be too busy to take it.
    fn mark(&mut self, now: Now, actions: &mut Vec<Action>) {
        let pause = if self.answer_by.is_some() { MARK_AGAIN_AFTER } else { MARK_AFTER };
        self.mark_at = Some(now.moment + pause);
        // The answers to those that are on their way show as well that the client lives.
        if self.marks.len() < MARKS_MAX {
            actions.push(Action::Mark);
        }
    }

    fn keep(&mut self, socket: SocketId, now: Now, actions: &mut Vec<Action>) {
        if self.is_keeping {
            self.keep_at = Some(now.moment + KEEP_FIRST_AFTER);
            return;
        }
        self.keep_at = None;
        if let Some(record) = self.record(socket) {
            self.is_keeping = true;
            self.ask(SessionAsk::Keep(record), actions);
        }
    }

    fn kept(&mut self, now: Now) {
        self.is_keeping = false;
        self.kept_at = Some(now.moment);
        // What is not written again is forgotten.
        let again = self.window.map(|window| now.moment + window / 2);
        self.keep_at = earliest(self.keep_at, again);
    }

    /// What the next connection is to find.
    #[must_use]
    pub fn record(&self, socket: SocketId) -> Option<String> {
        let is_something = self.stage == Stage::Held && !self.places.is_empty();
        is_something.then(|| format!("{socket} {}", self.places.whole()))
    }
}

#[cfg(test)]
mod tests;
