//! One connection through the Socket.IO door, as a machine: a socket for each namespace to which its
//! client has connected, each with a user, channels and a place of its own.
//!
//! The socket of `/` is the connection itself to the channels. Each further one is a subscriber of its
//! own, which shares the connection's way to the client: a [`Seat`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::app::App;
use crate::authorization::Shown;
use crate::door::{self, Close, Counted, Request, Seat, Signal};
use crate::intake::Intake;
use crate::name::SocketId;
use crate::refusal::Refusal;
use crate::socketio::{Action, Input, Sockets, Terms};
use crate::time::{Moment, Now};
use crate::wire::Wire;

use super::namespaces::{MAIN, Profile};
use super::socket::Socket;
use super::voice::Voice;

/// How long a machine without a deadline sleeps.
const NEVER: Moment = Moment::from_micros(u64::MAX);
/// How long a client has to close the connection when it was told to go.
const FAREWELL: Duration = Duration::from_secs(5);

/// Who a socket is: others may know its id, and nobody can guess its secret. What a client says to come
/// back is both, and whose they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The id, which has no dot in it.
    pub id: String,
    /// The secret, 128 random bits or more.
    pub secret: String,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Session {
    sockets: Sockets,
    identity: Identity,
    /// What the connection's first request showed.
    shown: Arc<Shown>,
    messages: Intake,
    members: BTreeMap<Arc<str>, Member>,
    /// Further sockets so far.
    seats: u64,
    /// When a client that was told to go has to have gone.
    gone_by: Option<Moment>,
}

/// A socket, and what it is to the relay if it is not the connection itself.
#[derive(Debug)]
struct Member {
    seat: Option<Seat>,
    socket: Socket,
}

impl Session {
    /// The session of a connection that has said nothing yet.
    #[must_use]
    pub fn new(identity: Identity, shown: Shown, app: &App, now: Now) -> Self {
        let terms = Terms { namespaces: app.namespaces.names(), ..Terms::default() };
        Self {
            sockets: Sockets::new(terms, now),
            identity,
            shown: Arc::new(shown),
            messages: Intake::default(),
            members: BTreeMap::new(),
            seats: 0,
            gone_by: None,
        }
    }

    /// When [`door::Input::Timer`] is to be applied next.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        let expire = self.members.values().filter_map(|member| member.socket.expires_at());
        let deadlines = [self.sockets.deadline(), self.gone_by].into_iter().flatten();
        deadlines.chain(expire).min().unwrap_or(NEVER)
    }

    /// Tells the session what happened: see [`Door::apply`](crate::door::Door::apply). `to` is the
    /// further socket that it happened to, if it was one.
    pub fn apply(
        &mut self,
        (to, input): (Option<SocketId>, door::Input<'_>),
        app: &App,
        now: Now,
        actions: &mut Vec<door::Action>,
    ) {
        match input {
            door::Input::Text(text) => self.hear(Input::Text(text), app, now, actions),
            door::Input::Binary(bytes) => self.hear(Input::Binary(bytes), app, now, actions),
            door::Input::Signal(Signal::Close(_)) => actions.push(door::Action::Close(normal())),
            door::Input::Timer => self.timer(app, now, actions),
            // The transport greets, and has its own signs of life.
            door::Input::Opened | door::Input::Alive { .. } => {}
            door::Input::Verified(_)
            | door::Input::Answered { .. }
            | door::Input::Refused { .. }
            | door::Input::Signal(_) => {
                let is_it = |(_, member): &(&Arc<str>, &Member)| {
                    member.seat.as_ref().map(|seat| seat.socket) == to
                };
                // One that has gone is told nothing.
                if let Some((namespace, _)) = self.members.iter().find(is_it) {
                    let namespace = Arc::clone(namespace);
                    let tell =
                        |socket: &mut Socket, voice: &mut Voice<'_>| socket.apply(input, voice);
                    self.with(&namespace, tell, (app, now), actions);
                }
            }
        }
    }

    /// Tells the sockets something, and does what they want.
    fn hear(&mut self, input: Input<'_>, app: &App, now: Now, actions: &mut Vec<door::Action>) {
        let mut wanted = Vec::new();
        self.sockets.apply(input, now, &mut wanted);
        for action in wanted {
            match action {
                Action::Send(text) => actions.push(door::Action::Send(text)),
                Action::Asked { namespace, auth } => {
                    let admitted = self.admit(app, now, actions);
                    self.begin(&namespace, app);
                    let connect = |socket: &mut Socket, voice: &mut Voice<'_>| match admitted {
                        Ok(()) => socket.connect(&auth, voice),
                        Err(refusal) => voice.reject(&format!("Authentication failed: {refusal}")),
                    };
                    self.with(&namespace, connect, (app, now), actions);
                }
                Action::Event { namespace, name, arguments, ack } => {
                    let admitted = self.admit(app, now, actions);
                    let event = |socket: &mut Socket, voice: &mut Voice<'_>| {
                        socket.event((&name, ack), &arguments.json, admitted, voice);
                    };
                    self.with(&namespace, event, (app, now), actions);
                }
                Action::Left { namespace } => self.end(&namespace, actions),
                Action::Close(_) => actions.push(door::Action::Close(normal())),
                // Nothing that is sent here has bytes, and nothing is to be acknowledged.
                Action::SendBinary(_) | Action::Acked { .. } => {}
            }
        }
    }

    /// What each costs is paid by the connection, whatever the namespace. To connect is a message, too:
    /// there is a token to check.
    fn admit(
        &mut self,
        app: &App,
        now: Now,
        actions: &mut Vec<door::Action>,
    ) -> Result<(), Refusal> {
        self.messages.admit(&app.limits, now.moment).inspect_err(|_| {
            actions.push(door::Action::Count(Counted::RateLimited("messages_per_second")));
        })
    }

    /// A client asks for a namespace that is one.
    fn begin(&mut self, namespace: &Arc<str>, app: &App) {
        self.gone_by = None;
        let profile = app.namespaces.profile(namespace).unwrap_or_default();
        let is_connection = **namespace == *MAIN && profile == Profile::Topics;
        let seat = (!is_connection).then(|| self.seat(namespace));
        let identity = match &seat {
            None => self.identity.clone(),
            Some(_) => Identity {
                id: format!("{}-{}", self.identity.id, self.seats),
                secret: self.identity.secret.clone(),
            },
        };
        let socket = Socket::new(identity, Arc::clone(&self.shown));
        self.members.insert(Arc::clone(namespace), Member { seat, socket });
    }

    /// A further socket to the relay, whose id nobody else has: it is as random as the secret, and says
    /// nothing of it.
    fn seat(&mut self, namespace: &Arc<str>) -> Seat {
        self.seats += 1;
        let digest = Sha256::new()
            .chain_update(&self.identity.secret)
            .chain_update(self.seats.to_be_bytes())
            .finalize();
        let bits = digest.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte));
        let socket = SocketId::from_random(bits);
        Seat { socket, namespace: Arc::clone(namespace), wire: Wire::SocketIo }
    }

    /// Lets something happen to the socket of a namespace.
    fn with(
        &mut self,
        namespace: &Arc<str>,
        happens: impl FnOnce(&mut Socket, &mut Voice<'_>),
        (app, now): (&App, Now),
        actions: &mut Vec<door::Action>,
    ) {
        let Some(Member { seat, socket }) = self.members.get_mut(namespace) else { return };
        let sockets = &mut self.sockets;
        let seat = seat.as_ref();
        let mut voice = Voice { sockets, namespace, seat, app, now, actions, is_over: false };
        happens(socket, &mut voice);
        if voice.is_over {
            self.end(namespace, actions);
            if self.members.is_empty() && self.sockets.deadline().is_none() {
                // Were the connection closed here at once, the client would notice that first.
                self.gone_by = Some(now.moment + FAREWELL);
            }
        }
    }

    /// There is no socket in a namespace any more.
    fn end(&mut self, namespace: &Arc<str>, actions: &mut Vec<door::Action>) {
        match self.members.remove(namespace) {
            Some(Member { seat: Some(seat), .. }) => actions.push(door::Action::Leave(seat.socket)),
            Some(Member { seat: None, mut socket }) => {
                let leave = |channel| door::Action::Ask { channel, request: Request::Unsubscribe };
                actions.extend(socket.leave().map(leave));
            }
            None => {}
        }
    }

    fn timer(&mut self, app: &App, now: Now, actions: &mut Vec<door::Action>) {
        if self.gone_by.is_some_and(|gone_by| now.moment >= gone_by) {
            return actions.push(door::Action::Close(normal()));
        }
        let is_over =
            |member: &Member| member.socket.expires_at().is_some_and(|at| now.moment >= at);
        let over = self.members.iter().filter(|(_, member)| is_over(member));
        let over: Vec<Arc<str>> = over.map(|(namespace, _)| Arc::clone(namespace)).collect();
        for namespace in over {
            self.with(&namespace, |_, voice| voice.disconnect(), (app, now), actions);
        }
        self.hear(Input::Timer, app, now, actions);
    }
}

/// Engine.IO ends a session without a reason.
pub(super) const fn normal() -> Close {
    Close { code: 1000, reason: std::borrow::Cow::Borrowed("") }
}
