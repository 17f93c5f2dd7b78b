//! A client's socket in one namespace, as a machine: the events `subscribe`, `unsubscribe`, `publish` and
//! `heartbeat` from the client, for those who show a token.
//!
//! A client that comes back says the private id that it was given and the last argument of the last
//! event that it had, which is its place in all its channels. From these any node lets it go on: the
//! owners of the channels give it what it missed, and if they all can, it is told the same ids again,
//! which the stock client calls `recovered`.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::app::App;
use crate::authorization::Shown;
use crate::channel::{Reply, Role};
use crate::cursor::Cursor;
use crate::door::{Action, Counted, Input, Proof, Request, Signal};
use crate::name::ChannelName;
use crate::plain::code;
use crate::refusal::Refusal;
use crate::time::Moment;
use crate::visitor::Visitor;

use super::asked::{self, Asked, Auth, Message};
use super::coming_back::ComingBack;
use super::session::normal;
use super::voice::Voice;

/// The state of one socket.
#[derive(Debug)]
pub(super) struct Socket {
    /// The id that it has unless it comes back under another one.
    pub(super) id: String,
    shown: Arc<Shown>,
    pub(super) visitor: Visitor,
    pub(super) channels: BTreeSet<ChannelName>,
    /// Requests that the client waits for, in their order.
    asked: VecDeque<Asked>,
    /// What a client that comes back is waiting for.
    pub(super) coming_back: Option<ComingBack>,
    expires_at: Option<Moment>,
}

impl Socket {
    /// The socket of a client that has asked to be let in.
    pub(super) fn new(id: String, shown: Arc<Shown>) -> Self {
        Self {
            id,
            shown,
            visitor: Visitor::anyone(),
            channels: BTreeSet::new(),
            asked: VecDeque::new(),
            coming_back: None,
            expires_at: None,
        }
    }

    /// When its token ends.
    pub(super) const fn expires_at(&self) -> Option<Moment> {
        self.expires_at
    }

    /// The client says who it is.
    pub(super) fn connect(&mut self, auth: &str, voice: &mut Voice<'_>) {
        let auth = Auth::parse(auth);
        let proof = match (auth.token, &voice.app.authorization) {
            (Some(token), _) => Proof::Token(token),
            (None, Some(_)) => Proof::Request(Arc::clone(&self.shown)),
            (None, None) => {
                return voice.reject(&failed("a token is missing (`auth: { token }`)"));
            }
        };
        let cursor = auth.offset.as_deref().and_then(|offset| Cursor::parse(offset).ok());
        let was = auth.pid.as_deref().and_then(|pid| pid.split_once('.'));
        self.coming_back = was.zip(cursor).map(|((id, signature), cursor)| ComingBack {
            id: id.to_owned(),
            signature: signature.to_owned(),
            cursor,
            waiting: BTreeSet::new(),
        });
        voice.verify(proof);
    }

    /// Something happened that is about it.
    pub(super) fn apply(&mut self, input: Input<'_>, voice: &mut Voice<'_>) {
        match input {
            Input::Verified(verdict) => self.verified(verdict, voice),
            Input::Answered { channel, request, reply } => {
                self.answered((&channel, &request), Ok(&reply), voice);
            }
            Input::Refused { channel, request, refusal } => {
                self.answered((&channel, &request), Err(&refusal), voice);
            }
            Input::Moot { channel, request, refusal } => {
                self.settle((&channel, &request), Err(&refusal), voice);
            }
            Input::Signal(signal) => self.signal(signal, voice),
            // The connection deals with these, and asks the app about no subscription.
            Input::Opened
            | Input::Text(_)
            | Input::Binary(_)
            | Input::Alive { .. }
            | Input::Proven(_)
            | Input::Timer
            | Input::Authorized { .. } => {}
        }
    }

    fn verified(&mut self, verdict: Result<Visitor, String>, voice: &mut Voice<'_>) {
        self.visitor = match verdict {
            Ok(visitor) => visitor,
            Err(why) => return voice.reject(&failed(&why)),
        };
        self.expires_at = self.visitor.expires_at(voice.now);
        if let Some(user) = self.visitor.user() {
            let request = Request::Join { role: Role::SignedIn, since: None };
            voice.ask(ChannelName::of_user(user), request);
        }
        match self.coming_back.take() {
            Some(was) if self.may_come_back(&was, voice) => self.go_on(was, voice),
            _ => self.accept(None, voice),
        }
    }

    /// The channels that it was in, and is in no more.
    pub(super) fn leave(&mut self) -> impl Iterator<Item = ChannelName> {
        self.asked.clear();
        self.coming_back = None;
        std::mem::take(&mut self.channels).into_iter()
    }

    /// The client says something.
    pub(super) fn event(
        &mut self,
        (name, ack): (&str, Option<u64>),
        arguments: &str,
        admitted: Result<(), Refusal>,
        voice: &mut Voice<'_>,
    ) {
        let message = match admitted.and_then(|()| asked::argument::<Message>(arguments)) {
            Ok(message) => message,
            Err(refusal) => return answer(&Asked::new(name, None, ack), Err(&refusal), voice),
        };
        if name == "heartbeat" {
            voice.act(Action::Count(Counted::Heartbeat));
            let data = format!(r#"{{"timestamp":{}}}"#, message.timestamp());
            return voice.emit("heartbeat_ack", &data);
        }
        let asked = Asked::new(name, Some(&message), ack);
        match self.request(name, &message, voice.app) {
            Ok((channel, request)) => {
                self.asked.push_back(Asked { channel: Some(channel.clone()), ..asked });
                voice.ask(channel, request);
            }
            Err(refusal) => answer(&asked, Err(&refusal), voice),
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
                if !self.channels.contains(&channel) {
                    app.check_channels(self.channels.len() + 1)?;
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

    fn answered(
        &mut self,
        (channel, request): (&ChannelName, &Request),
        outcome: Result<&Reply, &Refusal>,
        voice: &mut Voice<'_>,
    ) {
        let is_join = matches!(request, Request::Join { role: Role::Subscriber(_), .. });
        match (request, outcome) {
            // The relay says more of it, with the channel's word.
            (Request::Join { .. }, Ok(_)) => return,
            (Request::Join { .. }, Err(_)) if is_join => {
                self.channels.remove(channel);
                self.came_back(channel, false, voice);
            }
            // Without it the connection could not be ended, or would hear what it does not want.
            (Request::Join { .. } | Request::Unsubscribe, Err(_)) => {
                return voice.actions.push(Action::Close(normal()));
            }
            _ => {}
        }
        self.settle((channel, request), outcome, voice);
    }

    /// Answers the client that waits for this, if it does.
    fn settle(
        &mut self,
        (channel, request): (&ChannelName, &Request),
        outcome: Result<&Reply, &Refusal>,
        voice: &mut Voice<'_>,
    ) {
        let name = match request {
            Request::Join { .. } => "subscribe",
            Request::Unsubscribe => "unsubscribe",
            _ => "publish",
        };
        if let Some(asked) = self.take_asked(channel, name) {
            let outcome = outcome.map(|reply| match reply {
                Reply::Published(published) => {
                    format!(r#","deliveredTo":{}"#, published.subscribers)
                }
                _ => String::new(),
            });
            answer(&asked, outcome, voice);
        }
    }

    /// The first request of this kind to a channel: they are answered in their order.
    fn take_asked(&mut self, channel: &ChannelName, name: &str) -> Option<Asked> {
        let is_it = |asked: &Asked| asked.channel.as_ref() == Some(channel) && asked.name == name;
        let index = self.asked.iter().position(is_it)?;
        let asked = self.asked.remove(index);
        if self.asked.is_empty() {
            // An idle socket keeps no buffer.
            self.asked = VecDeque::new();
        }
        asked
    }

    fn signal(&mut self, signal: Signal, voice: &mut Voice<'_>) {
        match signal {
            Signal::Welcomed { channel, subscribers, is_whole } => {
                if let Some(is_whole) = is_whole {
                    return self.came_back(&channel, is_whole, voice);
                }
                if let Some(asked) = self.take_asked(&channel, "subscribe") {
                    answer(&asked, Ok(format!(r#","subscriberCount":{subscribers}"#)), voice);
                }
            }
            Signal::Terminated => voice.disconnect(),
            Signal::Notified(text) => voice.emit("notification", &text),
            // The connection deals with its end, and nothing else is told to such a socket.
            _ => {}
        }
    }
}

fn failed(why: &str) -> String {
    format!("Authentication failed: {why}")
}

/// Answers a request, in the two ways in which clients wait: by its acknowledgement, and by the
/// event `ack`.
fn answer(asked: &Asked, outcome: Result<String, &Refusal>, voice: &mut Voice<'_>) {
    let refusal = outcome.as_ref().err().copied();
    let (status, more) = asked::status(outcome);
    if let Some(id) = asked.ack {
        voice.acknowledge(id, &format!("{{{status}{more}}}"));
    }
    if let Some(event) = asked.event(&status, &more) {
        voice.emit("ack", &event);
    }
    if let (None, None, Some(refusal)) = (asked.ack, &asked.id, refusal) {
        voice.emit("error", &format!(r#"{{"code":"{}"{more}}}"#, code::word(refusal)));
    }
}
