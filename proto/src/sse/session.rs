//! One event stream, as a machine: it joins its channels, keeps the stream from falling silent, and
//! ends it when its token does.

use std::time::Duration;

use crate::app::App;
use crate::channel::Role;
use crate::door::{Action, Input, Request, Signal};
use crate::name::{ChannelName, UserId};
use crate::position::Position;
use crate::pusher::code::CloseCode;
use crate::refusal::Refusal;
use crate::time::{Moment, Now};
use crate::visitor::Visitor;

use super::frame;

/// How often an open stream says something, and how long its client is told to wait after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Silence after which a comment is sent.
    pub heartbeat: Duration,
    /// How long a client waits before it connects again. It differs between streams, so that those of
    /// a node that goes away do not all come at once.
    pub retry: Duration,
}

/// A channel, as what the stream is there, and how far it had come.
pub type Wanted = (ChannelName, Role, Option<Position>);

/// The state of one stream.
#[derive(Debug)]
pub struct Session {
    visitor: Visitor,
    wanted: Vec<Wanted>,
    timing: Timing,
    /// When the next comment is due.
    next: Moment,
    expires_at: Option<Moment>,
}

impl Session {
    /// The stream of a visitor who may read these channels.
    #[must_use]
    pub fn new(visitor: Visitor, wanted: Vec<Wanted>, timing: Timing, now: Now) -> Self {
        let expires_at = visitor.expires_at(now);
        Self { visitor, wanted, timing, next: now.moment + timing.heartbeat, expires_at }
    }

    /// Tells the session what happened: see [`Door::apply`](crate::door::Door::apply).
    pub fn apply(&mut self, input: Input<'_>, _: &App, now: Now, actions: &mut Vec<Action>) {
        match input {
            Input::Opened => self.open(actions),
            Input::Timer => self.timer(now, actions),
            Input::Refused { channel, request: Request::Join { .. }, refusal } => {
                refused(&channel, &refusal, actions);
            }
            Input::Signal(Signal::Close(close)) => actions.push(Action::Close(close)),
            Input::Signal(Signal::Terminated) => {
                let close = CloseCode::Unauthorized.because("You got disconnected by the app.");
                actions.push(Action::Close(close));
            }
            Input::Signal(Signal::Notified(text)) => {
                actions.push(Action::Send(frame::notification(&text)));
            }
            // It asks for nothing else, and what a client sends into a stream means nothing.
            _ => {}
        }
    }

    /// Who the client is, if its token said so.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        self.visitor.user()
    }

    /// When [`Input::Timer`] is to be applied next.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        self.expires_at.map_or(self.next, |expires| expires.min(self.next))
    }

    fn open(&mut self, actions: &mut Vec<Action>) {
        let retry = u64::try_from(self.timing.retry.as_millis()).unwrap_or(u64::MAX);
        actions.push(Action::Send(frame::retry(retry)));
        let ask = |(channel, role, since)| Action::Ask {
            channel,
            request: Request::Join { role, since },
        };
        actions.extend(std::mem::take(&mut self.wanted).into_iter().map(ask));
        if let Some(user) = self.visitor.user() {
            let (channel, role) = (ChannelName::of_user(user), Role::SignedIn);
            actions.push(ask((channel, role, None)));
        }
    }

    fn timer(&mut self, now: Now, actions: &mut Vec<Action>) {
        if self.expires_at.is_some_and(|expires| now.moment >= expires) {
            let close = CloseCode::Unauthorized.because("the token has expired");
            actions.push(Action::Close(close));
        } else if now.moment >= self.next {
            actions.push(Action::Ping);
            self.next = now.moment + self.timing.heartbeat;
        }
    }
}

/// Who cannot be told now comes again by itself; what is refused is said.
fn refused(channel: &ChannelName, refusal: &Refusal, actions: &mut Vec<Action>) {
    actions.push(match refusal {
        Refusal::Unavailable => {
            Action::Close(CloseCode::OverCapacity.because("a channel cannot be reached"))
        }
        refusal => Action::Send(frame::refused(channel, &refusal.to_string())),
    });
}
