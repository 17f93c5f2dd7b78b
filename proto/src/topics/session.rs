//! One connection through the Socket.IO door, as a machine: the namespace `/`, with the events
//! `subscribe`, `unsubscribe`, `publish` and `heartbeat` from the client.
//!
//! A client that comes back says the private id that it was given and the last argument of the last
//! event that it had, which is its place in all its channels. From these any node lets it go on: the
//! owners of the channels give it what it missed, and if they all can, it is told the same ids again,
//! which the stock client calls `recovered`.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use serde::Deserialize;

use crate::app::App;
use crate::channel::Role;
use crate::cursor::Cursor;
use crate::door::{self, Close, Counted, Request, Signal};
use crate::intake::Intake;
use crate::name::{ChannelName, UserId};
use crate::refusal::Refusal;
use crate::time::{Moment, Now};
use crate::visitor::Visitor;

use crate::socketio::{Action, Arguments, Input, Sockets, Terms};

use super::asked::{Asked, Message};
use super::coming_back::ComingBack;

/// The one namespace.
pub(super) const ROOT: &str = "/";
/// How long a machine without a deadline sleeps.
const NEVER: Moment = Moment::from_micros(u64::MAX);

/// How long a client has to close the connection when it was told to go.
const FAREWELL: Duration = Duration::from_secs(5);

/// The ids of a socket: others may know the first, and nobody can guess the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The id.
    pub id: String,
    /// What the client says to come back.
    pub private: String,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Session {
    sockets: Sockets,
    pub(super) identity: Identity,
    pub(super) visitor: Visitor,
    messages: Intake,
    pub(super) channels: BTreeSet<ChannelName>,
    /// Requests that the client waits for, in their order.
    pub(super) asked: VecDeque<Asked>,
    /// What a client that comes back is waiting for.
    pub(super) coming_back: Option<ComingBack>,
    expires_at: Option<Moment>,
    /// When a client that was told to go has to have gone.
    gone_by: Option<Moment>,
}

/// What a client says of itself.
#[derive(Debug, Default, Deserialize)]
struct Auth {
    token: Option<String>,
    pid: Option<String>,
    offset: Option<String>,
}

impl Session {
    /// The session of a connection that has said nothing yet.
    #[must_use]
    pub fn new(identity: Identity, now: Now) -> Self {
        Self {
            sockets: Sockets::new(Terms::default(), now),
            identity,
            visitor: Visitor::anyone(),
            messages: Intake::default(),
            channels: BTreeSet::new(),
            asked: VecDeque::new(),
            coming_back: None,
            expires_at: None,
            gone_by: None,
        }
    }

    /// Who the client is, once its token was checked.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        self.visitor.user()
    }

    /// When [`door::Input::Timer`] is to be applied next.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        let deadlines = [self.sockets.deadline(), self.expires_at, self.gone_by];
        deadlines.into_iter().flatten().min().unwrap_or(NEVER)
    }

    /// Tells the session what happened: see [`Door::apply`](crate::door::Door::apply).
    pub fn apply(
        &mut self,
        input: door::Input<'_>,
        app: &App,
        now: Now,
        actions: &mut Vec<door::Action>,
    ) {
        match input {
            door::Input::Text(text) => self.hear(Input::Text(text), app, now, actions),
            door::Input::Binary(bytes) => self.hear(Input::Binary(bytes), app, now, actions),
            door::Input::Verified(verdict) => self.verified(verdict, app, now, actions),
            door::Input::Answered { channel, request, reply } => {
                self.answered((&channel, &request), Ok(&reply), now, actions);
            }
            door::Input::Refused { channel, request, refusal } => {
                self.answered((&channel, &request), Err(&refusal), now, actions);
            }
            door::Input::Moot { channel, request, refusal } => {
                self.settle((&channel, &request), Err(&refusal), now, actions);
            }
            door::Input::Signal(signal) => self.signal(signal, now, actions),
            door::Input::Timer => self.timer(app, now, actions),
            // The transport greets, and has its own signs of life.
            door::Input::Opened | door::Input::Alive { .. } => {}
        }
    }

    /// Tells the sockets something, and does what they want.
    fn hear(&mut self, input: Input<'_>, app: &App, now: Now, actions: &mut Vec<door::Action>) {
        let mut wanted = Vec::new();
        self.sockets.apply(input, now, &mut wanted);
        for action in wanted {
            match action {
                Action::Send(text) => actions.push(door::Action::Send(text)),
                Action::Asked { auth, .. } => self.connect(&auth, (app, now), actions),
                Action::Event { name, arguments, ack, .. } => {
                    self.event((&name, ack), &arguments.json, (app, now), actions);
                }
                Action::Left { .. } => {
                    self.coming_back = None;
                    self.leave(actions);
                }
                Action::Close(_) => actions.push(door::Action::Close(normal())),
                // Nothing that is sent here has bytes, and nothing is to be acknowledged.
                Action::SendBinary(_) | Action::Acked { .. } => {}
            }
        }
    }

    /// As [`Session::hear`], for what needs no answer of the sockets but what they send.
    pub(super) fn say(&mut self, input: Input<'_>, now: Now, actions: &mut Vec<door::Action>) {
        let mut wanted = Vec::new();
        self.sockets.apply(input, now, &mut wanted);
        actions.extend(wanted.into_iter().filter_map(|action| match action {
            Action::Send(text) => Some(door::Action::Send(text)),
            _ => None,
        }));
    }

    /// Each has a token to check, so there may not be more of them than of other messages.
    fn connect(&mut self, auth: &str, (app, now): (&App, Now), actions: &mut Vec<door::Action>) {
        if let Err(refusal) = self.messages.admit(&app.limits, now.moment) {
            actions.push(door::Action::Count(Counted::RateLimited("messages_per_second")));
            return self.reject(&refusal.to_string(), now, actions);
        }
        let auth: Auth = serde_json::from_str(auth).unwrap_or_default();
        let Some(token) = auth.token else {
            return self.reject("a token is missing (`auth: { token }`)", now, actions);
        };
        let cursor = auth.offset.as_deref().and_then(|offset| Cursor::parse(offset).ok());
        self.coming_back = auth.pid.zip(cursor).map(|(private, cursor)| ComingBack {
            private,
            cursor,
            waiting: BTreeSet::new(),
        });
        actions.push(door::Action::Verify(token));
    }

    fn reject(&mut self, why: &str, now: Now, actions: &mut Vec<door::Action>) {
        let message = format!("Authentication failed: {why}");
        self.say(Input::Reject { namespace: ROOT, message: &message }, now, actions);
    }

    fn verified(
        &mut self,
        verdict: Result<Visitor, String>,
        app: &App,
        now: Now,
        actions: &mut Vec<door::Action>,
    ) {
        self.visitor = match verdict {
            Ok(visitor) => visitor,
            Err(why) => return self.reject(&why, now, actions),
        };
        self.expires_at = self.visitor.expires_at(now);
        if let Some(user) = self.visitor.user() {
            let request = Request::Join { role: Role::SignedIn, since: None };
            actions.push(door::Action::Ask { channel: ChannelName::of_user(user), request });
        }
        let owner = self.owner();
        match self.coming_back.take().filter(|who| who.private.ends_with(&owner)) {
            Some(coming_back) => self.go_on(coming_back, app, now, actions),
            None => self.accept(None, now, actions),
        }
    }

    pub(super) fn emit(
        &mut self,
        name: &str,
        data: &str,
        now: Now,
        actions: &mut Vec<door::Action>,
    ) {
        let arguments = Arguments::of(format!("[{data}]"));
        self.say(Input::Emit { namespace: ROOT, name, arguments }, now, actions);
    }

    /// The client is in no channel any more.
    pub(super) fn leave(&mut self, actions: &mut Vec<door::Action>) {
        let channels = std::mem::take(&mut self.channels).into_iter();
        actions.extend(
            channels.map(|channel| door::Action::Ask { channel, request: Request::Unsubscribe }),
        );
        self.asked.clear();
    }

    fn event(
        &mut self,
        (name, ack): (&str, Option<u64>),
        arguments: &str,
        (app, now): (&App, Now),
        actions: &mut Vec<door::Action>,
    ) {
        let message = match self.messages.admit(&app.limits, now.moment) {
            Ok(()) => Message::parse(arguments),
            Err(refusal) => {
                actions.push(door::Action::Count(Counted::RateLimited("messages_per_second")));
                Err(refusal)
            }
        };
        let message = match message {
            Ok(message) => message,
            Err(refusal) => {
                let asked = Asked::new(name, None, ack);
                return self.answer(&asked, Err(&refusal), now, actions);
            }
        };
        if name == "heartbeat" {
            actions.push(door::Action::Count(Counted::Heartbeat));
            let data = format!(r#"{{"timestamp":{}}}"#, message.timestamp());
            return self.emit("heartbeat_ack", &data, now, actions);
        }
        let asked = Asked::new(name, Some(&message), ack);
        match self.request(name, &message, app) {
            Ok((channel, request)) => {
                self.asked.push_back(Asked { channel: Some(channel.clone()), ..asked });
                actions.push(door::Action::Ask { channel, request });
            }
            Err(refusal) => self.answer(&asked, Err(&refusal), now, actions),
        }
    }

    fn request(
        &mut self,
        name: &str,
        message: &Message,
        app: &App,
    ) -> Result<(ChannelName, Request), Refusal> {
        match name {
            "subscribe" => {
                let (channel, role) = self.visitor.subscribe(app, message.topic()?)?;
                let limit = app.limits.channels_per_connection;
                if self.channels.len() >= limit && !self.channels.contains(&channel) {
                    let what = "channels of a connection";
                    let setting = "channels_per_connection";
                    return Err(Refusal::TooMany { what, limit, setting });
                }
                self.channels.insert(channel.clone());
                Ok((channel, Request::Join { role, since: None }))
            }
            "unsubscribe" => {
                let channel = self.channels.take(message.topic()?);
                let channel =
                    channel.ok_or(Refusal::Rule("you are not subscribed to this topic"))?;
                Ok((channel, Request::Unsubscribe))
            }
            "publish" => {
                let channel = self.visitor.publish(app, message.topic()?)?;
                Ok((channel, Request::Post(message.post(&self.visitor, app)?)))
            }
            _ => Err(Refusal::Rule("the events are subscribe, unsubscribe, publish and heartbeat")),
        }
    }

    fn signal(&mut self, signal: Signal, now: Now, actions: &mut Vec<door::Action>) {
        match signal {
            Signal::Welcomed { channel, subscribers, is_whole } => {
                if let Some(is_whole) = is_whole {
                    return self.came_back(&channel, is_whole, now, actions);
                }
                if let Some(asked) = self.take_asked(&channel, "subscribe") {
                    let count = format!(r#","subscriberCount":{subscribers}"#);
                    self.answer(&asked, Ok(count), now, actions);
                }
            }
            Signal::Terminated => self.disconnect(now, actions),
            Signal::Close(_) => actions.push(door::Action::Close(normal())),
            Signal::Notified(text) => self.emit("notification", &text, now, actions),
            Signal::Watched { .. } => {}
        }
    }

    /// Ends the client's socket: the stock client says `io server disconnect`, does not come back by
    /// itself, and closes the connection. If that were closed here at once it would notice that first.
    fn disconnect(&mut self, now: Now, actions: &mut Vec<door::Action>) {
        self.say(Input::Disconnect { namespace: ROOT }, now, actions);
        self.leave(actions);
        self.expires_at = None;
        self.gone_by = Some(now.moment + FAREWELL);
    }

    fn timer(&mut self, app: &App, now: Now, actions: &mut Vec<door::Action>) {
        if self.gone_by.is_some_and(|gone_by| now.moment >= gone_by) {
            return actions.push(door::Action::Close(normal()));
        }
        if self.expires_at.is_some_and(|expires| now.moment >= expires) {
            return self.disconnect(now, actions);
        }
        self.hear(Input::Timer, app, now, actions);
    }
}

/// Engine.IO ends a session without a reason.
pub(super) const fn normal() -> Close {
    Close { code: 1000, reason: std::borrow::Cow::Borrowed("") }
}

#[cfg(test)]
mod tests;
