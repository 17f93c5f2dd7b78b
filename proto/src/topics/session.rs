//! One connection through the Socket.IO door, as a machine: a socket for each namespace to which its
//! client has connected, each with a user, channels and a place of its own.
//!
//! The socket of `/` is the connection itself to the channels. Each further one is a subscriber of its
//! own, which shares the connection's way to the client: a [`Seat`].

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::app::App;
use crate::authorization::Shown;
use crate::door::{self, Close, Counted, Request, Seat, Signal};
use crate::intake::Intake;
use crate::name::{SocketId, UserId};
use crate::refusal::Refusal;
use crate::socketio::{Action, Input, Sockets, Terms};
use crate::time::{Moment, Now};
use crate::wire::Wire;

use super::echo::Echo;
use super::namespaces::{MAIN, Profile};
use super::socket::Socket;
use super::voice::Voice;

/// How long a machine without a deadline sleeps.
const NEVER: Moment = Moment::from_micros(u64::MAX);
/// How long a client has to close the connection when it was told to go.
const FAREWELL: Duration = Duration::from_secs(5);

/// Who a connection is: others may know its id, and nobody can guess its secret, of which the ids of its
/// further sockets are made.
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
    /// Few, and one on most connections.
    members: Vec<Member>,
    /// Further sockets so far.
    seats: u64,
    /// When a client that was told to go has to have gone.
    gone_by: Option<Moment>,
    /// Who the client was in a namespace that it has left.
    former_user: Option<UserId>,
}

/// A socket, and what it is to the relay if it is not the connection itself.
#[derive(Debug)]
struct Member {
    namespace: Arc<str>,
    seat: Option<Seat>,
    machine: Machine,
}

/// What decides for a socket, by the profile of its namespace.
#[derive(Debug)]
enum Machine {
    Topics(Box<Socket>),
    Echo(Box<Echo>),
}

impl Machine {
    fn expires_at(&self) -> Option<Moment> {
        match self {
            Self::Topics(socket) => socket.expires_at(),
            Self::Echo(_) => None,
        }
    }

    fn user(&self) -> Option<&UserId> {
        match self {
            Self::Topics(socket) => socket.visitor.user(),
            Self::Echo(_) => None,
        }
    }

    fn connect(&mut self, auth: &str, voice: &mut Voice<'_>) {
        match self {
            Self::Topics(socket) => socket.connect(auth, voice),
            Self::Echo(_) => Echo::connect(voice),
        }
    }

    fn apply(&mut self, input: door::Input<'_>, voice: &mut Voice<'_>) {
        match self {
            Self::Topics(socket) => socket.apply(input, voice),
            Self::Echo(echo) => echo.apply(input, voice),
        }
    }

    fn event(
        &mut self,
        (name, ack): (&str, Option<u64>),
        arguments: &str,
        admitted: Result<(), Refusal>,
        voice: &mut Voice<'_>,
    ) {
        match self {
            Self::Topics(socket) => socket.event((name, ack), arguments, admitted, voice),
            Self::Echo(echo) => echo.event(name, arguments, admitted, voice),
        }
    }
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
            members: Vec::new(),
            seats: 0,
            gone_by: None,
            former_user: None,
        }
    }

    /// Who the client is, or was last, once it was let in.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        let present = self.members.iter().find_map(|member| member.machine.user());
        present.or(self.former_user.as_ref())
    }

    /// When [`door::Input::Timer`] is to be applied next.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        let expire = self.members.iter().filter_map(|member| member.machine.expires_at());
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
            door::Input::Opened | door::Input::Alive { .. } | door::Input::Proven(_) => {}
            door::Input::Verified(_)
            | door::Input::Authorized { .. }
            | door::Input::Answered { .. }
            | door::Input::Refused { .. }
            | door::Input::Moot { .. }
            | door::Input::Signal(_) => {
                let is_it = |member: &&Member| member.seat.as_ref().map(|it| it.socket) == to;
                // One that has gone is told nothing.
                let namespace = self.members.iter().find(is_it).map(|it| Arc::clone(&it.namespace));
                if let Some(namespace) = namespace {
                    let tell = |machine: &mut Machine, voice: &mut Voice<'_>| {
                        machine.apply(input, voice);
                    };
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
                    let connect = |machine: &mut Machine, voice: &mut Voice<'_>| match admitted {
                        Ok(()) => machine.connect(&auth, voice),
                        Err(refusal) => voice.reject(&format!("Authentication failed: {refusal}")),
                    };
                    self.with(&namespace, connect, (app, now), actions);
                }
                Action::Event { namespace, name, arguments, ack } => {
                    let admitted = self.admit(app, now, actions);
                    let event = |machine: &mut Machine, voice: &mut Voice<'_>| {
                        machine.event((&name, ack), &arguments.json, admitted, voice);
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
        let shown = Arc::clone(&self.shown);
        let profile = app.namespaces.profile(namespace).unwrap_or_default();
        let (seat, machine) = match profile {
            Profile::Topics if **namespace == *MAIN => {
                let id = self.identity.id.clone();
                (None, Machine::Topics(Box::new(Socket::new(id, shown))))
            }
            Profile::Topics => {
                let seat = self.seat(namespace, Wire::SocketIo);
                let id = format!("{}-{}", self.identity.id, self.seats);
                (Some(seat), Machine::Topics(Box::new(Socket::new(id, shown))))
            }
            Profile::LaravelEcho => {
                let seat = self.seat(namespace, Wire::Echo);
                let echo = Echo::new(seat.socket, shown);
                (Some(seat), Machine::Echo(Box::new(echo)))
            }
        };
        self.members.reserve_exact(1);
        self.members.push(Member { namespace: Arc::clone(namespace), seat, machine });
    }

    /// A further socket to the relay, whose id nobody else has: it is as random as the secret, and says
    /// nothing of it.
    fn seat(&mut self, namespace: &Arc<str>, wire: Wire) -> Seat {
        self.seats += 1;
        let digest = Sha256::new()
            .chain_update(&self.identity.secret)
            .chain_update(self.seats.to_be_bytes())
            .finalize();
        let bits = digest.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte));
        let socket = SocketId::from_random(bits);
        Seat { socket, namespace: Arc::clone(namespace), wire }
    }

    /// Lets something happen to the socket of a namespace.
    fn with(
        &mut self,
        namespace: &Arc<str>,
        happens: impl FnOnce(&mut Machine, &mut Voice<'_>),
        (app, now): (&App, Now),
        actions: &mut Vec<door::Action>,
    ) {
        let member = self.members.iter_mut().find(|member| member.namespace == *namespace);
        let Some(Member { seat, machine, .. }) = member else { return };
        let sockets = &mut self.sockets;
        let seat = seat.as_ref();
        let mut voice = Voice { sockets, namespace, seat, app, now, actions, is_over: false };
        happens(machine, &mut voice);
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
        let index = self.members.iter().position(|member| member.namespace == *namespace);
        let Some(index) = index else { return };
        let Member { seat, machine, .. } = self.members.swap_remove(index);
        self.former_user = machine.user().cloned().or(self.former_user.take());
        match (seat, machine) {
            (Some(seat), _) => actions.push(door::Action::Leave(seat.socket)),
            (None, Machine::Topics(mut socket)) => {
                let leave = |channel| door::Action::Ask { channel, request: Request::Unsubscribe };
                actions.extend(socket.leave().map(leave));
                actions.push(door::Action::Name(None));
            }
            (None, Machine::Echo(_)) => {}
        }
    }

    fn timer(&mut self, app: &App, now: Now, actions: &mut Vec<door::Action>) {
        if self.gone_by.is_some_and(|gone_by| now.moment >= gone_by) {
            return actions.push(door::Action::Close(normal()));
        }
        let is_over = |member: &&Member| {
            member.machine.expires_at().is_some_and(|expires_at| now.moment >= expires_at)
        };
        let over = self.members.iter().filter(is_over);
        let over: Vec<Arc<str>> = over.map(|member| Arc::clone(&member.namespace)).collect();
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

#[cfg(test)]
mod tests;
