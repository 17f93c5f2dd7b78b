//! One connection through the Pusher door, as a machine: greet, subscribe, publish, sign in, ping.
//!
//! ```text
//!   Opened ──► greeted ──► Text … ──► silent for activity_timeout ──► pinged ──► Close 4201
//!                 ▲                                                     │
//!                 └──────────────── anything from the client ◄──────────┘
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use crate::app::App;
use crate::channel::{Reply, Role};
use crate::client_event::{self, ClientEvents};
use crate::door::{Action, Counted, Input, Request, Signal};
use crate::intake::Intake;
use crate::name::{ChannelName, SocketId, UserId};
use crate::refusal::Refusal;
use crate::time::{Moment, Now};

use super::auth::UserData;
use super::code::{CloseCode, ErrorCode};
use super::frame::{self, ClientFrame};
use super::resumption::Resumption;
use super::watch::Watch;

mod signing_in;
mod subscribing;

/// How long a client may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Silence after which the client is pinged. At least a second: clients are told whole seconds.
    pub activity_timeout: Duration,
    /// How long it then has to answer.
    pub pong_timeout: Duration,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Session {
    socket: SocketId,
    timing: Timing,
    channels: BTreeSet<ChannelName>,
    user: Option<Box<UserData>>,
    watch: Watch,
    messages: Intake,
    client_events: ClientEvents,
    heard_at: Moment,
    pinged_at: Option<Moment>,
    /// Whether the client has answered a WebSocket ping, which costs it less than an event.
    answers_pings: bool,
    /// What outlives the connection, if anything does.
    resumption: Option<Box<Resumption>>,
}

impl Session {
    /// The session of a connection that was let in.
    #[must_use]
    pub fn new(socket: SocketId, timing: Timing, resumption: Option<Resumption>, now: Now) -> Self {
        Self {
            socket,
            timing,
            channels: BTreeSet::new(),
            user: None,
            watch: Watch::default(),
            messages: Intake::default(),
            client_events: ClientEvents::new(),
            heard_at: now.moment,
            pinged_at: None,
            answers_pings: false,
            resumption: resumption.map(Box::new),
        }
    }

    /// Tells the session what happened: see [`Door::apply`](crate::door::Door::apply).
    pub fn apply(&mut self, input: Input<'_>, app: &App, now: Now, actions: &mut Vec<Action>) {
        match input {
            Input::Opened => match &mut self.resumption {
                Some(resumption) => resumption.open(actions),
                None => self.greet(actions),
            },
            Input::Text(text) => {
                self.heard(now);
                self.receive(text, app, now, actions);
            }
            Input::Binary(_) => {
                self.heard(now);
                let refusal = Refusal::Rule("binary messages are not part of the protocol");
                actions.push(Action::Send(frame::refusal(ErrorCode::Malformed, &refusal)));
            }
            Input::Alive { is_pong } => {
                self.heard(now);
                self.answers_pings |= is_pong;
            }
            Input::Proven(number) => {
                self.heard(now);
                self.answers_pings = true;
                if let Some(resumption) = &mut self.resumption {
                    resumption.proven(number, now);
                }
            }
            Input::Refused { channel, request, refusal } => {
                match self.resumption.as_mut().filter(|own| *own.channel() == channel) {
                    Some(resumption) => resumption.refused(&request, &refusal, now, actions),
                    None => self.refused(&channel, &request, &refusal, actions),
                }
            }
            Input::Signal(signal) => self.signal(signal, now, actions),
            Input::Answered { channel, request, reply } => {
                self.answered((&channel, &request), &reply, now, actions);
            }
            Input::Moot { .. } | Input::Verified(_) | Input::Authorized { .. } => {}
            Input::Timer => self.timer(now, actions),
        }
    }

    /// Who the client is, once it has signed in.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        self.user.as_ref().map(|user| &user.id)
    }

    /// When [`Input::Timer`] is to be applied next.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        let resumption = self.resumption.as_ref().and_then(|resumption| resumption.deadline());
        resumption.map_or(self.silent_until(), |deadline| deadline.min(self.silent_until()))
    }

    fn silent_until(&self) -> Moment {
        match self.pinged_at {
            Some(pinged) => pinged + self.timing.pong_timeout,
            None => self.heard_at + self.timing.activity_timeout,
        }
    }

    /// What outlives the connection, if anything does.
    #[must_use]
    pub fn resumption(&self) -> Option<&Resumption> {
        self.resumption.as_deref()
    }

    fn greet(&self, actions: &mut Vec<Action>) {
        let seconds = self.timing.activity_timeout.as_secs().max(1);
        actions.push(Action::Send(frame::connection_established(self.socket, seconds)));
    }

    fn heard(&mut self, now: Now) {
        self.heard_at = now.moment;
        self.pinged_at = None;
    }

    fn timer(&mut self, now: Now, actions: &mut Vec<Action>) {
        if let Some(resumption) = &mut self.resumption {
            resumption.timer((self.socket, &self.channels), now, actions);
        }
        if now.moment < self.silent_until() {
            return;
        }
        if self.pinged_at.is_some() {
            let close = CloseCode::PongMissing.because("the client did not answer a ping in time");
            actions.push(Action::Close(close));
            return;
        }
        self.pinged_at = Some(now.moment);
        actions.push(Action::Ping);
        if !self.answers_pings {
            actions.push(Action::Send(frame::ping()));
        }
    }

    fn receive(&mut self, text: &str, app: &App, now: Now, actions: &mut Vec<Action>) {
        let outcome = self.messages.admit(&app.limits, now.moment).and_then(|()| {
            if self.resumption.as_ref().is_some_and(|resumption| resumption.is_opening()) {
                return Err(Refusal::Rule("the connection is not established yet"));
            }
            let frame = ClientFrame::parse(text)?;
            self.understand(&frame, app, now, actions)
        });
        if let Err(refusal) = outcome {
            let code = match refusal {
                Refusal::RateLimited { .. } => ErrorCode::ClientEventRejected,
                _ => ErrorCode::Malformed,
            };
            refuse(code, &refusal, actions);
        }
    }

    fn understand(
        &mut self,
        frame: &ClientFrame<'_>,
        app: &App,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        match frame.event.as_ref() {
            "pusher:ping" => actions.push(Action::Send(frame::pong())),
            "pusher:pong" => {}
            "pusher:subscribe" => {
                let request: frame::Subscribe = frame.data()?;
                match self.subscribe(&request, app) {
                    Ok(action) => actions.push(action),
                    Err(refusal) => {
                        let name = ChannelName::parse(&request.channel);
                        let kind = name.map_or("invalid", |name| name.kind().label());
                        let is_unauthorized = matches!(refusal, Refusal::Unauthorized(_));
                        actions
                            .push(Action::Count(Counted::Subscription { kind, is_unauthorized }));
                        let message = frame::subscription_error(&request.channel, &refusal);
                        actions.push(Action::Send(message));
                    }
                }
            }
            "pusher:unsubscribe" => {
                let request: frame::Unsubscribe = frame.data()?;
                if let Some(channel) = self.channels.take(request.channel.as_str()) {
                    if let Some(resumption) = &mut self.resumption {
                        resumption.left(&channel);
                    }
                    actions.push(Action::Ask { channel, request: Request::Unsubscribe });
                }
            }
            "pusher:signin" => {
                let request: frame::Signin = frame.data()?;
                if let Err(refusal) = self.sign_in(&request, app, actions) {
                    let message = frame::refusal(ErrorCode::Unauthorized, &refusal);
                    actions.push(Action::Send(message));
                }
            }
            name if name.starts_with(client_event::PREFIX) => {
                match self.client_event(frame, app, now) {
                    Ok(action) => actions.push(action),
                    Err(refusal) => refuse(ErrorCode::ClientEventRejected, &refusal, actions),
                }
            }
            _ => {
                return Err(Refusal::Rule(
                    "clients can send `pusher:` requests and `client-` events",
                ));
            }
        }
        Ok(())
    }

    fn client_event(
        &mut self,
        frame: &ClientFrame<'_>,
        app: &App,
        now: Now,
    ) -> Result<Action, Refusal> {
        let json = frame.data.map_or("null", |data| data.get());
        let said = (frame.event.as_ref(), frame.channel.as_deref(), json);
        let (channel, event) = self.client_events.admit(said, &self.channels, app, now)?;
        Ok(Action::Ask { channel, request: Request::Publish(event) })
    }

    fn refused(
        &mut self,
        channel: &ChannelName,
        request: &Request,
        refusal: &Refusal,
        actions: &mut Vec<Action>,
    ) {
        match request {
            Request::Join { role: Role::Subscriber(_), .. } => {
                self.channels.remove(channel);
                let message = frame::subscription_error(channel.as_str(), refusal);
                actions.push(Action::Send(message));
            }
            Request::Join { role: Role::Watcher, .. } => {
                let told = channel.user().and_then(|user| self.watch.unknown(&user));
                actions.extend(told.map(Action::Send));
            }
            // A connection that could not be registered could not be terminated either.
            Request::Join { role: Role::SignedIn, .. } => {
                let close = CloseCode::OverCapacity.because("the signin could not be completed");
                actions.push(Action::Close(close));
            }
            Request::Publish(_) => {
                let code = match refusal {
                    Refusal::Unavailable => ErrorCode::Unavailable,
                    _ => ErrorCode::ClientEventRejected,
                };
                actions.push(Action::Send(frame::refusal(code, refusal)));
            }
            // Events would go on: a new connection begins with no channels.
            Request::Unsubscribe => {
                let close =
                    CloseCode::OverCapacity.because("the unsubscribe could not be completed");
                actions.push(Action::Close(close));
            }
            // The protocol has no such requests.
            Request::Post(_) | Request::Members | Request::Session(_) => {}
        }
    }

    /// What a channel granted shows in what it sends; only the session's own is waited for.
    fn answered(
        &mut self,
        (channel, request): (&ChannelName, &Request),
        reply: &Reply,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let own = self.resumption.as_mut().filter(|own| own.channel() == channel);
        let Some(resumption) = own else { return };
        let was_opening = resumption.is_opening();
        resumption.answered(request, reply, now, actions);
        if was_opening && !resumption.is_opening() {
            self.greet(actions);
        }
    }

    fn signal(&mut self, signal: Signal, now: Now, actions: &mut Vec<Action>) {
        match signal {
            Signal::Watched { user, is_online } => {
                actions.extend(self.watch.state(user, is_online).map(Action::Send));
            }
            Signal::Terminated => {
                let close = CloseCode::Unauthorized.because("You got disconnected by the app.");
                actions.push(Action::Send(frame::error(close.code, &close.reason)));
                actions.push(Action::Close(close));
            }
            Signal::Close(close) => actions.push(Action::Close(close)),
            Signal::Entered { .. }
            | Signal::Unproven
            | Signal::Marked { .. }
            | Signal::Challenged => {
                if let Some(resumption) = &mut self.resumption {
                    resumption.signal(signal, now, actions);
                }
            }
            Signal::Notified(text) => actions.push(Action::Send(frame::notification(&text))),
            Signal::Welcomed { .. } => {}
        }
    }
}

/// Answers with an error event.
fn refuse(code: ErrorCode, refusal: &Refusal, actions: &mut Vec<Action>) {
    if let Refusal::RateLimited { setting, .. } = refusal {
        actions.push(Action::Count(Counted::RateLimited(setting)));
    }
    actions.push(Action::Send(frame::refusal(code, refusal)));
}

#[cfg(test)]
mod tests;
