//! A client of Laravel Echo in one namespace (its broadcaster `socket.io`), as a machine: the events
//! `subscribe`, `unsubscribe` and `client event`.
//!
//! Anyone may connect. Into a private channel Echo's clients are let by the application, which the
//! server asks for each subscription, as laravel-echo-server did: the client shows nothing but its
//! headers.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::app::Secret;
use crate::authorization::{Backend, Header, Shown};
use crate::channel::{Member, Role};
use crate::client_event::{self, ClientEvents};
use crate::door::{Action, Input, Proof, Request, Signal};
use crate::json::quoted;
use crate::name::{ChannelName, SocketId};
use crate::plain::code;
use crate::refusal::Refusal;
use crate::socketio;

use super::asked::argument;
use super::session::normal;
use super::voice::Voice;

mod answer;
pub mod frame;

/// The state of one socket.
#[derive(Debug)]
pub(super) struct Echo {
    id: SocketId,
    shown: Arc<Shown>,
    channels: BTreeSet<ChannelName>,
    /// Channels about which the application is being asked, by the question whose answer counts.
    asking: BTreeMap<ChannelName, u64>,
    /// Questions so far.
    questions: u64,
    client_events: ClientEvents,
}

/// The one argument of a client's events.
#[derive(Debug, Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    auth: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Echo's option `auth`. What is no text in it says nothing.
#[derive(Debug, Default, Deserialize)]
struct Auth {
    #[serde(default)]
    headers: BTreeMap<String, Value>,
}

impl Echo {
    /// The socket of a client that has asked to be let in. Its id is the one that back ends are told in
    /// `X-Socket-ID`, so that an event can leave it out.
    pub(super) fn new(id: SocketId, shown: Arc<Shown>) -> Self {
        let (channels, asking) = (BTreeSet::new(), BTreeMap::new());
        let client_events = ClientEvents::new();
        Self { id, shown, channels, asking, questions: 0, client_events }
    }

    /// Something happened that is about it.
    pub(super) fn apply(&mut self, input: Input<'_>, voice: &mut Voice<'_>) {
        match input {
            Input::Verified(_) => {
                let id = self.id.to_string();
                voice.accept(socketio::Socket { id: &id, private: None });
            }
            Input::Authorized { channel, number, answer } => {
                self.authorized((channel, number), answer, voice);
            }
            Input::Refused { channel, request: Request::Join { .. }, refusal } => {
                self.channels.remove(&channel);
                refused(channel.as_str(), &refusal, voice);
            }
            // It would hear what it does not want.
            Input::Refused { request: Request::Unsubscribe, .. } => {
                voice.actions.push(Action::Close(normal()));
            }
            Input::Refused { refusal, .. } => error(&refusal, voice),
            Input::Signal(Signal::Terminated) => voice.disconnect(),
            // What was granted shows in what the channel sends.
            _ => {}
        }
    }

    /// The client says something.
    pub(super) fn event(
        &mut self,
        name: &str,
        arguments: &str,
        admitted: Result<(), Refusal>,
        voice: &mut Voice<'_>,
    ) {
        let message = match admitted.and_then(|()| argument::<Message<'_>>(arguments)) {
            Ok(message) => message,
            Err(refusal) => return error(&refusal, voice),
        };
        match name {
            "subscribe" => {
                if let Err(refusal) = self.subscribe(&message, voice) {
                    refused(&message.channel, &refusal, voice);
                }
            }
            "unsubscribe" => {
                self.asking.remove(&*message.channel);
                if let Some(channel) = self.channels.take(&*message.channel) {
                    voice.ask(channel, Request::Unsubscribe);
                }
            }
            "client event" => {
                if let Err(refusal) = self.whisper(&message, voice) {
                    error(&refusal, voice);
                }
            }
            _ => {
                let events = "the events are subscribe, unsubscribe and client event";
                error(&Refusal::Rule(events), voice);
            }
        }
    }

    fn subscribe(&mut self, message: &Message<'_>, voice: &mut Voice<'_>) -> Result<(), Refusal> {
        let channel = voice.app.channel(&message.channel)?;
        if !self.channels.contains(&channel) && !self.asking.contains_key(&channel) {
            voice.app.check_channels(self.channels.len() + self.asking.len() + 1)?;
        }
        match (channel.kind(), &voice.app.laravel_echo) {
            (kind, _) if kind.reserved => Err(Refusal::Unauthorized(code::PERMISSION_DENIED)),
            (kind, Some(backend)) if kind.is_guarded() => {
                let headers = self.headers(backend, message.auth);
                self.questions += 1;
                self.asking.insert(channel.clone(), self.questions);
                voice.act(Action::Authorize { channel, number: self.questions, headers });
                Ok(())
            }
            (kind, None) if kind.is_guarded() => {
                Err(Refusal::Unauthorized(code::PERMISSION_DENIED))
            }
            _ => {
                self.join(channel, None, voice);
                Ok(())
            }
        }
    }

    /// What the application is shown: the client's own headers, and those of its first request.
    fn headers(&self, backend: &Backend, auth: Option<&RawValue>) -> Vec<Header> {
        let auth = auth.and_then(|auth| serde_json::from_str::<Auth>(auth.get()).ok());
        let own = auth.unwrap_or_default().headers.into_iter().filter_map(|(name, value)| {
            let text = value.as_str()?;
            Some((name.to_ascii_lowercase(), Secret::new(text)))
        });
        let mut headers: Vec<Header> = own.filter(|(name, _)| backend.takes(name)).collect();
        for (name, value) in &self.shown.headers {
            if backend.takes(name) && headers.iter().all(|(known, _)| known != name) {
                headers.push((name.clone(), value.clone()));
            }
        }
        headers
    }

    fn authorized(
        &mut self,
        (channel, number): (ChannelName, u64),
        answer: Result<Vec<u8>, Refusal>,
        voice: &mut Voice<'_>,
    ) {
        if self.asking.get(&channel) != Some(&number) {
            // The client has left it meanwhile, and may have asked again, as somebody else.
            return;
        }
        self.asking.remove(&channel);
        let member = answer.and_then(|body| answer::read(&body, voice.app, self.id, &channel));
        match member {
            Ok(member) => self.join(channel, member, voice),
            Err(refusal) => refused(channel.as_str(), &refusal, voice),
        }
    }

    fn join(&mut self, channel: ChannelName, member: Option<Member>, voice: &mut Voice<'_>) {
        self.channels.insert(channel.clone());
        let role = Role::Subscriber(member.map(Arc::new));
        voice.ask(channel, Request::Join { role, since: None });
    }

    fn whisper(&mut self, message: &Message<'_>, voice: &mut Voice<'_>) -> Result<(), Refusal> {
        let name = message.event.as_deref().unwrap_or_default();
        if !name.starts_with(client_event::PREFIX) {
            return Err(Refusal::Rule("the name of a client event begins with `client-`"));
        }
        let json = message.data.map_or("null", RawValue::get);
        let said = (name, Some(&*message.channel), json);
        let (channel, event) =
            self.client_events.admit(said, &self.channels, voice.app, voice.now)?;
        voice.ask(channel, Request::Publish(event));
        Ok(())
    }

    /// Anyone may connect.
    pub(super) fn connect(voice: &mut Voice<'_>) {
        voice.verify(Proof::Nobody);
    }
}

/// The client is not let into a channel: a status, as laravel-echo-server said it.
fn refused(channel: &str, refusal: &Refusal, voice: &mut Voice<'_>) {
    let status = match refusal {
        Refusal::Unauthorized(_) | Refusal::Disabled { .. } => 403,
        Refusal::RateLimited { .. } => 429,
        Refusal::Unavailable => 503,
        _ => 400,
    };
    voice.emit("subscription_error", &format!("{},{status}", quoted(channel)));
}

fn error(refusal: &Refusal, voice: &mut Voice<'_>) {
    let (word, message) = (code::word(refusal), quoted(&refusal.to_string()));
    voice.emit("error", &format!(r#"{{"code":"{word}","message":{message}}}"#));
}

#[cfg(test)]
mod tests;
