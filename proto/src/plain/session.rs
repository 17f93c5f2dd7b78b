//! One connection through the plain WebSocket door, as a machine.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::app::App;
use crate::channel::{Reply, Role};
use crate::door::{Action, Close, Counted, Input, Post, Request, Signal};
use crate::event::{Data, Event, Priority};
use crate::intake::Intake;
use crate::json::{is_too_deep, quoted};
use crate::name::{ChannelName, UserId};
use crate::position::Position;
use crate::pusher::Timing;
use crate::refusal::Refusal;
use crate::time::{Moment, Now};
use crate::visitor::Visitor;

use super::code;
use super::frame;

/// The close code of a connection whose token has ended.
const TOKEN_ENDED: u16 = 4401;

/// The state of one connection.
#[derive(Debug)]
pub struct Session {
    visitor: Visitor,
    timing: Timing,
    channels: BTreeSet<ChannelName>,
    messages: Intake,
    heard_at: Moment,
    pinged_at: Option<Moment>,
    expires_at: Option<Moment>,
}

/// What a client says.
#[derive(Debug, Deserialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    kind: String,
    channel: Option<String>,
    since: Option<String>,
    event: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    id: Option<String>,
}

impl Session {
    /// The session of a visitor.
    #[must_use]
    pub fn new(visitor: Visitor, timing: Timing, now: Now) -> Self {
        let expires_at = visitor.expires_at(now);
        Self {
            visitor,
            timing,
            channels: BTreeSet::new(),
            messages: Intake::default(),
            heard_at: now.moment,
            pinged_at: None,
            expires_at,
        }
    }

    /// Tells the session what happened: see [`Door::apply`](crate::door::Door::apply).
    pub fn apply(&mut self, input: Input<'_>, app: &App, now: Now, actions: &mut Vec<Action>) {
        match input {
            Input::Opened => self.open(actions),
            Input::Text(text) => {
                self.heard(now);
                self.receive(text, app, now, actions);
            }
            Input::Binary(_) | Input::Alive { .. } | Input::Proven(_) => self.heard(now),
            Input::Answered { channel, request, reply } => {
                answered(&channel, &request, &reply, actions);
            }
            Input::Refused { channel, request, refusal } => {
                self.refused(&channel, &request, &refusal, actions);
            }
            Input::Moot { channel, refusal, .. } => {
                actions.push(error(Some(channel.as_str()), None, &refusal));
            }
            Input::Signal(Signal::Close(close)) => actions.push(Action::Close(close)),
            Input::Signal(Signal::Terminated) => {
                actions.push(token_ended("You got disconnected by the app."));
            }
            // It has the form of this door's messages already.
            Input::Signal(Signal::Notified(text)) => actions.push(Action::Send((*text).into())),
            Input::Signal(_) | Input::Verified(_) | Input::Authorized { .. } => {}
            Input::Timer => self.timer(now, actions),
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
        let silent = match self.pinged_at {
            Some(pinged) => pinged + self.timing.pong_timeout,
            None => self.heard_at + self.timing.activity_timeout,
        };
        self.expires_at.map_or(silent, |expires| expires.min(silent))
    }

    fn heard(&mut self, now: Now) {
        self.heard_at = now.moment;
        self.pinged_at = None;
    }

    /// The user's connections can be ended by the application.
    fn open(&self, actions: &mut Vec<Action>) {
        if let Some(user) = self.visitor.user() {
            let request = Request::Join { role: Role::SignedIn, since: None };
            actions.push(Action::Ask { channel: ChannelName::of_user(user), request });
        }
    }

    fn timer(&mut self, now: Now, actions: &mut Vec<Action>) {
        if now.moment < self.deadline() {
            return;
        }
        if self.expires_at.is_some_and(|expires| now.moment >= expires) {
            actions.push(token_ended("the token has expired"));
        } else if self.pinged_at.is_some() {
            let reason = "the client did not answer a ping in time".into();
            actions.push(Action::Close(Close { code: 4201, reason }));
        } else {
            self.pinged_at = Some(now.moment);
            actions.push(Action::Ping);
        }
    }

    /// What is no JSON object is ignored: old clients send such things to keep proxies awake.
    fn receive(&mut self, text: &str, app: &App, now: Now, actions: &mut Vec<Action>) {
        if let Err(refusal) = self.messages.admit(&app.limits, now.moment) {
            actions.push(Action::Count(Counted::RateLimited("messages_per_second")));
            return actions.push(error(None, None, &refusal));
        }
        let is_json = !is_too_deep(text) && serde_json::from_str::<&RawValue>(text).is_ok();
        if !is_json {
            return;
        }
        let Ok(message) = serde_json::from_str::<Message<'_>>(text) else {
            let refusal = Refusal::Rule("a message is an object with a `type`");
            return actions.push(error(None, None, &refusal));
        };
        if let Err(refusal) = self.understand(&message, app, actions) {
            actions.push(error(message.channel.as_deref(), message.id.as_deref(), &refusal));
        }
    }

    fn understand(
        &mut self,
        message: &Message<'_>,
        app: &App,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        let name = || message.channel.as_deref().ok_or(Refusal::Rule("a `channel` is missing"));
        let (channel, request) = match message.kind.as_str() {
            "ping" => {
                actions.push(Action::Count(Counted::Heartbeat));
                actions.push(Action::Send(r#"{"type":"pong"}"#.into()));
                return Ok(());
            }
            "subscribe" => self.subscribe(name()?, message.since.as_deref(), app)?,
            "unsubscribe" => match self.channels.take(name()?) {
                Some(channel) => (channel, Request::Unsubscribe),
                None => return Err(Refusal::Rule("you are not subscribed to this channel")),
            },
            "publish" => {
                let channel = self.visitor.publish(app, name()?)?;
                (channel, Request::Post(self.post(message, app)?))
            }
            "presence" => (self.visitor.subscribe(app, name()?)?.0, Request::Members),
            _ => {
                return Err(Refusal::Rule(
                    "the type is one of ping, subscribe, unsubscribe, publish, presence",
                ));
            }
        };
        actions.push(Action::Ask { channel, request });
        Ok(())
    }

    fn subscribe(
        &mut self,
        name: &str,
        since: Option<&str>,
        app: &App,
    ) -> Result<(ChannelName, Request), Refusal> {
        let (channel, role) = self.visitor.subscribe(app, name)?;
        let since: Option<Position> = since
            .map(str::parse)
            .transpose()
            .map_err(|_| Refusal::Rule("`since` is the `position` of an event, unchanged"))?;
        if !self.channels.contains(&channel) {
            app.check_channels(self.channels.len() + 1)?;
        }
        self.channels.insert(channel.clone());
        Ok((channel, Request::Join { role, since }))
    }

    fn post(&self, message: &Message<'_>, app: &App) -> Result<Post, Refusal> {
        let user = self.visitor.user().ok_or(Refusal::Unauthorized(code::PERMISSION_DENIED))?;
        let name = message.event.as_deref().unwrap_or("message");
        let data = message.data.map_or("null", RawValue::get);
        app.check_event_data(data.len())?;
        let id = message.id.clone();
        Post::check_id(id.as_deref())?;
        // As text, in which back ends of every door publish JSON.
        let event = Event { name: app.event_name(name)?, data: Data::Text(data.into()) };
        let (ttl_ms, priority) = (0, Priority::default());
        Ok(Post { user: user.clone(), event, id, ttl_ms, priority })
    }

    fn refused(
        &mut self,
        channel: &ChannelName,
        request: &Request,
        refusal: &Refusal,
        actions: &mut Vec<Action>,
    ) {
        let id = match request {
            Request::Join { role: Role::Subscriber(_), .. } => {
                self.channels.remove(channel);
                None
            }
            Request::Post(post) => post.id.as_deref(),
            Request::Members | Request::Publish(_) | Request::Session(_) => None,
            // Without it the connection could not be ended, or would go on to hear what it does not
            // want.
            Request::Join { .. } | Request::Unsubscribe => {
                let reason = "a channel cannot be reached; reconnect".into();
                return actions.push(Action::Close(Close { code: 4100, reason }));
            }
        };
        actions.push(error(Some(channel.as_str()), id, refusal));
    }
}

/// What of an answer the client is told; that it is in, the channel says.
fn answered(channel: &ChannelName, request: &Request, reply: &Reply, actions: &mut Vec<Action>) {
    let object = match (request, reply) {
        (Request::Unsubscribe, _) => frame::open("unsubscribed", channel, ""),
        (Request::Post(post), Reply::Published(published)) => {
            frame::accepted(channel, post.id.as_deref(), published)
        }
        (Request::Members, Reply::Members(members)) => {
            let members = format!(r#","members":{}"#, frame::members(members));
            frame::open("presence", channel, &members)
        }
        _ => return,
    };
    actions.push(Action::Send(format!("{{{object}")));
}

fn error(channel: Option<&str>, id: Option<&str>, refusal: &Refusal) -> Action {
    let field = |name: &str, text: Option<&str>| {
        text.map(|text| format!(r#","{name}":{}"#, quoted(text))).unwrap_or_default()
    };
    let retry = match refusal {
        Refusal::RateLimited { retry_after, .. } => {
            format!(r#","retryAfterMs":{}"#, retry_after.as_micros().div_ceil(1000))
        }
        _ => String::new(),
    };
    let (word, message) = (code::word(refusal), quoted(&refusal.to_string()));
    Action::Send(format!(
        r#"{{"type":"error"{}{},"error":"{word}","message":{message}{retry}}}"#,
        field("channel", channel),
        field("id", id),
    ))
}

fn token_ended(reason: &'static str) -> Action {
    Action::Close(Close { code: TOKEN_ENDED, reason: reason.into() })
}
