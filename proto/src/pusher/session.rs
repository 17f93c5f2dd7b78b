//! One connection through the Pusher door, as a machine: greet, subscribe, publish, sign in, ping.
//!
//! ```text
//!   Opened ──► greeted ──► Text … ──► silent for activity_timeout ──► pinged ──► Close 4201
//!                 ▲                                                     │
//!                 └──────────────── anything from the client ◄──────────┘
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::channel::{Member, Role};
use crate::door::{Action, Counted, Input, Request, Signal};
use crate::event::{Data, Event};
use crate::intake::Intake;
use crate::name::{Access, ChannelName, SocketId, UserId};
use crate::rate::{Bucket, Rate};
use crate::refusal::Refusal;
use crate::time::{Moment, Now};

use super::auth::{self, UserData};
use super::code::{CloseCode, ErrorCode};
use super::frame::{self, ClientFrame};
use super::watch::Watch;

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
    client_events: Bucket,
    heard_at: Moment,
    pinged_at: Option<Moment>,
    /// Whether the client has answered a WebSocket ping, which costs it less than an event.
    answers_pings: bool,
}

impl Session {
    /// The session of a connection that was let in.
    #[must_use]
    pub fn new(socket: SocketId, timing: Timing, now: Now) -> Self {
        Self {
            socket,
            timing,
            channels: BTreeSet::new(),
            user: None,
            watch: Watch::default(),
            messages: Intake::default(),
            client_events: Bucket::new(),
            heard_at: now.moment,
            pinged_at: None,
            answers_pings: false,
        }
    }

    /// Tells the session what happened: see [`Door::apply`](crate::door::Door::apply).
    pub fn apply(&mut self, input: Input<'_>, app: &App, now: Now, actions: &mut Vec<Action>) {
        match input {
            Input::Opened => {
                let seconds = self.timing.activity_timeout.as_secs().max(1);
                actions.push(Action::Send(frame::connection_established(self.socket, seconds)));
            }
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
            Input::Refused { channel, request, refusal } => {
                self.refused(&channel, &request, &refusal, actions);
            }
            Input::Signal(signal) => self.signal(signal, actions),
            // What was granted shows in what the channel sends.
            Input::Answered { .. } | Input::Moot { .. } | Input::Verified(_) => {}
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
        match self.pinged_at {
            Some(pinged) => pinged + self.timing.pong_timeout,
            None => self.heard_at + self.timing.activity_timeout,
        }
    }

    fn heard(&mut self, now: Now) {
        self.heard_at = now.moment;
        self.pinged_at = None;
    }

    fn timer(&mut self, now: Now, actions: &mut Vec<Action>) {
        if now.moment < self.deadline() {
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
            name if name.starts_with("client-") => match self.client_event(frame, app, now) {
                Ok(action) => actions.push(action),
                Err(refusal) => refuse(ErrorCode::ClientEventRejected, &refusal, actions),
            },
            _ => {
                return Err(Refusal::Rule(
                    "clients can send `pusher:` requests and `client-` events",
                ));
            }
        }
        Ok(())
    }

    fn subscribe(&mut self, request: &frame::Subscribe, app: &App) -> Result<Action, Refusal> {
        let channel = app.channel(&request.channel)?;
        let limit = app.limits.channels_per_connection;
        if self.channels.len() >= limit && !self.channels.contains(&channel) {
            let what = "channels of a connection";
            return Err(Refusal::TooMany { what, limit, setting: "channels_per_connection" });
        }
        let member = self.authorize(&channel, request, app)?;
        self.channels.insert(channel.clone());
        let role = Role::Subscriber(member.map(Arc::new));
        Ok(Action::Ask { channel, request: Request::Join { role, since: None } })
    }

    /// Checks that the subscription is allowed, and finds out who the new member is.
    fn authorize(
        &self,
        channel: &ChannelName,
        request: &frame::Subscribe,
        app: &App,
    ) -> Result<Option<Member>, Refusal> {
        let kind = channel.kind();
        if kind.user {
            let own = self.user.as_ref().map(|user| ChannelName::of_user(&user.id));
            if own.as_ref() != Some(channel) {
                return Err(Refusal::Unauthorized("this channel is for its signed-in user only"));
            }
            return Ok(None);
        }
        if !kind.is_guarded() {
            return Ok(None);
        }
        let auth = request.auth.as_deref().unwrap_or_default();
        let data = request.channel_data.as_deref();
        auth::check_subscription(app, self.socket, channel, data, auth)?;
        match (kind.access, data, &self.user) {
            (Access::Public | Access::Private, ..) => Ok(None),
            (Access::Presence, Some(data), _) => auth::member(app, data).map(Some),
            (Access::Presence, None, Some(user)) => {
                let info = user.info.clone();
                Ok(Some(Member { user: user.id.clone(), info }))
            }
            (Access::Presence, None, None) => Err(Refusal::Unauthorized(
                "a presence channel needs channel_data with a user_id, or a signed-in user",
            )),
        }
    }

    fn client_event(
        &mut self,
        frame: &ClientFrame<'_>,
        app: &App,
        now: Now,
    ) -> Result<Action, Refusal> {
        if !app.client_events {
            let feature = "client events";
            return Err(Refusal::Disabled { feature, setting: "client_events" });
        }
        let name = app.event_name(&frame.event)?;
        let channel = frame.channel.as_deref();
        let channel = channel.ok_or(Refusal::Rule("a client event needs a `channel`"))?;
        let json = frame.data.map_or("null", |data| data.get());
        app.check_event_data(json.len())?;
        let Some(channel) = self.channels.get(channel).cloned() else {
            return Err(Refusal::Rule("a client event needs a channel that you are subscribed to"));
        };
        if !channel.kind().is_guarded() {
            return Err(Refusal::Rule("client events are for private and presence channels"));
        }
        let rate = Rate::per_second(app.limits.client_events_per_second);
        self.client_events.take(1, rate, now.moment).map_err(|retry_after| {
            Refusal::RateLimited {
                what: "client events from this connection",
                limit: rate.per_second,
                setting: "client_events_per_second",
                retry_after,
            }
        })?;
        let event = Event { name, data: Data::Json(json.into()) };
        Ok(Action::Ask { channel, request: Request::Publish(event) })
    }

    fn sign_in(
        &mut self,
        request: &frame::Signin,
        app: &App,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        auth::check_signin(app, self.socket, &request.user_data, &request.auth)?;
        let user = auth::user_data(app, &request.user_data)?;
        if self.user.as_ref().is_some_and(|present| present.id != user.id) {
            return Err(Refusal::Unauthorized("the connection is signed in as another user"));
        }
        actions.push(Action::Send(frame::signin_success(&request.user_data)));
        if self.user.is_none() {
            let channel = ChannelName::of_user(&user.id);
            actions.push(Action::Ask {
                channel,
                request: Request::Join { role: Role::SignedIn, since: None },
            });
            self.watch(&user, app, actions);
            self.user = Some(Box::new(user));
        }
        Ok(())
    }

    fn watch(&mut self, user: &UserData, app: &App, actions: &mut Vec<Action>) {
        if !app.watchlist {
            return;
        }
        let limit = app.limits.watchlist_users;
        let watched = &user.watchlist[..user.watchlist.len().min(limit)];
        if watched.len() < user.watchlist.len() {
            let what = "users on a watchlist";
            let refusal = Refusal::TooMany { what, limit, setting: "watchlist_users" };
            actions.push(Action::Send(frame::refusal(ErrorCode::WatchlistTooLong, &refusal)));
        }
        self.watch.begin(watched);
        actions.extend(watched.iter().map(|user| Action::Ask {
            channel: ChannelName::of_user(user),
            request: Request::Join { role: Role::Watcher, since: None },
        }));
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
            Request::Post(_) | Request::Members => {}
        }
    }

    fn signal(&mut self, signal: Signal, actions: &mut Vec<Action>) {
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
