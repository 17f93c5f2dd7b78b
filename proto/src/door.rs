//! Doors: the ways in. A door is a codec and a session machine; the channel does not know them.
//!
//! A connection's task (`node/src/session.rs`) feeds [`Input`]s to its [`Door`] and carries out the
//! [`Action`]s in their order.

use std::borrow::Cow;
use std::sync::Arc;

use crate::app::App;
use crate::authorization::{Header, Shown};
use crate::channel::{Reply, Role};
use crate::cursor::Cursor;
use crate::event::{Event, Priority};
use crate::name::{ChannelName, SocketId, UserId};
use crate::plain;
use crate::position::Position;
use crate::pusher::{Resumption, Session};
use crate::refusal::Refusal;
use crate::sse;
use crate::time::{Moment, Now};
use crate::topics;
use crate::visitor::Visitor;
use crate::wire::Wire;

/// The session machine of one connection, by the door it came through.
#[derive(Debug)]
pub enum Door {
    /// Pusher Channels, protocols 5 to 7.
    Pusher(Session),
    /// A WebSocket with a token.
    Plain(plain::Session),
    /// An event stream.
    Sse(sse::Session),
    /// Socket.IO.
    SocketIo(Box<topics::Session>),
}

/// What happens to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// The connection is open: greet.
    Opened,
    /// A text message came.
    Text(&'a str),
    /// A message came that is no text.
    Binary(&'a [u8]),
    /// Whether a token lets its client in: the visitor, or why not.
    Verified(Result<Visitor, String>),
    /// What the app says of a subscription: the body of its answer, or why there is none.
    Authorized {
        /// The channel.
        channel: ChannelName,
        /// The number of the question.
        number: u64,
        /// The answer.
        answer: Result<Vec<u8>, Refusal>,
    },
    /// A sign of life without content: a WebSocket ping, or a pong if `is_pong`.
    Alive {
        /// Whether the client answered a ping of ours.
        is_pong: bool,
    },
    /// The client has answered the ping with this number: it has had everything before it.
    Proven(u32),
    /// A channel has answered a request. Of a join it says nothing: the channel sends what there is to
    /// say.
    Answered {
        /// The channel.
        channel: ChannelName,
        /// What was asked of it.
        request: Request,
        /// The answer.
        reply: Reply,
    },
    /// A request that the session made of a channel was refused.
    Refused {
        /// The channel.
        channel: ChannelName,
        /// What was asked of it.
        request: Request,
        /// Why it was refused.
        refusal: Refusal,
    },
    /// As [`Input::Refused`], of a join that changes nothing: the connection is in by an earlier one,
    /// or has asked again or left since.
    Moot {
        /// The channel.
        channel: ChannelName,
        /// What was asked of it.
        request: Request,
        /// Why it was refused.
        refusal: Refusal,
    },
    /// The relay has news that is for the session and not for the wire as it is.
    Signal(Signal),
    /// The deadline has come.
    Timer,
}

/// What a relay tells a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A watched user is or went online or offline.
    Watched {
        /// Who.
        user: UserId,
        /// Whether signed in anywhere.
        is_online: bool,
    },
    /// The connection is in a channel: told where the wire has no word for it.
    Welcomed {
        /// The channel.
        channel: ChannelName,
        /// Subscribers, this one included.
        subscribers: usize,
        /// Whether it has had everything since it was here last, if it was.
        is_whole: Option<bool>,
    },
    /// A connection that can be gone on with is in a channel, and gets all that comes after this place.
    Entered {
        /// The channel.
        channel: ChannelName,
        /// The place.
        position: Position,
    },
    /// There is something that the client has not proven to have: ask for a mark soon.
    Unproven,
    /// A ping with this number was queued when the connection had come so far.
    Marked {
        /// The number.
        number: u32,
        /// How far it has come in its channels.
        cursor: Cursor,
    },
    /// Another connection says that it is the same client. This one has to show that it lives.
    Challenged,
    /// The application notifies the user, or everyone: a JSON object.
    Notified(Arc<str>),
    /// The application ends the user's connections.
    Terminated,
    /// The node ends the connection.
    Close(Close),
}

/// What a session wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a text message.
    Send(String),
    /// Send a ping that needs no answer by the application's code (a WebSocket ping frame).
    Ping,
    /// Send a ping with a number: [`Signal::Marked`] says which, and how far the connection had come.
    Mark,
    /// Find out who the client is: [`Input::Verified`] says what came of it.
    Verify(Proof),
    /// As [`Action::Verify`], for a further socket of the connection. If it lets the client in, the
    /// socket is a subscriber of its own from then on.
    Open {
        /// The socket.
        seat: Seat,
        /// What the client shows.
        proof: Proof,
    },
    /// This, for a further socket of the connection.
    For {
        /// Which.
        socket: SocketId,
        /// What.
        action: Box<Self>,
    },
    /// A further socket of the connection is gone.
    Leave(SocketId),
    /// Ask the app about a subscription of Laravel Echo: [`Input::Authorized`] says what came of it.
    Authorize {
        /// The channel.
        channel: ChannelName,
        /// Which of the socket's questions it is.
        number: u64,
        /// What the app is shown.
        headers: Vec<Header>,
    },
    /// Ask something of a channel.
    Ask {
        /// The channel.
        channel: ChannelName,
        /// What.
        request: Request,
    },
    /// The client knows its socket by this id from here on, and may tell others; none when it has left.
    Name(Option<String>),
    /// Close the connection, after what was sent.
    Close(Close),
    /// Count something that no channel hears of.
    Count(Counted),
}

/// What a client shows to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A token.
    Token(String),
    /// Nothing but its request, which the app is asked about.
    Request(Arc<Shown>),
    /// Nothing, where that is enough.
    Nobody,
}

/// A further socket of a connection: to channels it is a subscriber of its own, and what they send it
/// goes the connection's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its id.
    pub socket: SocketId,
    /// Which of the connection's sockets it is.
    pub namespace: Arc<str>,
    /// How deliveries to it are encoded.
    pub wire: Wire,
}

/// What a session turns down or takes note of by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// A subscription.
    Subscription {
        /// The kind of the channel, as [`ChannelKind::label`](crate::ChannelKind::label); `invalid`
        /// if the name is no name.
        kind: &'static str,
        /// Whether its signature was missing or wrong.
        is_unauthorized: bool,
    },
    /// The client's application said that it is there.
    Heartbeat,
    /// A message or a client event that came too fast: the key of the limit.
    RateLimited(&'static str),
}

/// What a session asks of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To be in.
    Join {
        /// As what.
        role: Role,
        /// The last publication that the client has had, if it comes back.
        since: Option<Position>,
    },
    /// To be no longer a subscriber.
    Unsubscribe,
    /// To publish a client's event.
    Publish(Event),
    /// To publish what a token allows its user to.
    Post(Post),
    /// Who the members are.
    Members,
    /// Of the channel that stands for a session.
    Session(SessionAsk),
}

/// What a session asks of the channel that stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionAsk {
    /// Who holds the session, and what was kept of it.
    Inspect,
    /// To keep a text for whoever goes on with the session.
    Keep(String),
    /// To let the connection that holds the session show that it lives.
    Challenge,
}

/// An event that a user publishes by the permission of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Who.
    pub user: UserId,
    /// What.
    pub event: Event,
    /// The client's own id of it: a repetition with the same one gets the first answer.
    pub id: Option<String>,
    /// Milliseconds after which nobody wants it any more; 0 is never.
    pub ttl_ms: u32,
    /// How urgent it is.
    pub priority: Priority,
}

impl Post {
    /// Bytes of a client's own id of an event.
    pub const ID_BYTES_MAX: usize = 128;

    /// Checks a client's own id of an event, which is remembered: 1 to [`Post::ID_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// [`Refusal::Rule`].
    pub fn check_id(id: Option<&str>) -> Result<(), Refusal> {
        match id.map_or(1, str::len) {
            1..=Self::ID_BYTES_MAX => Ok(()),
            _ => Err(Refusal::Rule("an event's own id has 1 to 128 bytes")),
        }
    }
}

/// How a connection ends: a WebSocket close code and a short reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code.
    pub code: u16,
    /// The reason, for a person.
    pub reason: Cow<'static, str>,
}

impl Door {
    /// Tells the session what happened. What it wants done is appended to `actions`, in order.
    /// `app` is the app's present configuration: limits and secrets may change under a session.
    pub fn apply(&mut self, input: Input<'_>, app: &App, now: Now, actions: &mut Vec<Action>) {
        match self {
            Self::Pusher(session) => session.apply(input, app, now, actions),
            Self::Plain(session) => session.apply(input, app, now, actions),
            Self::Sse(session) => session.apply(input, app, now, actions),
            Self::SocketIo(session) => session.apply((None, input), app, now, actions),
        }
    }

    /// As [`Door::apply`], for what happened to a further socket of the connection.
    pub fn apply_for(
        &mut self,
        (socket, input): (SocketId, Input<'_>),
        app: &App,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        if let Self::SocketIo(session) = self {
            session.apply((Some(socket), input), app, now, actions);
        }
    }

    /// Who the client is, as far as it has shown.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::Pusher(session) => session.user(),
            Self::Plain(session) => session.user(),
            Self::Sse(session) => session.user(),
            Self::SocketIo(session) => session.user(),
        }
    }

    /// When [`Input::Timer`] is to be applied next.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        match self {
            Self::Pusher(session) => session.deadline(),
            Self::Plain(session) => session.deadline(),
            Self::Sse(session) => session.deadline(),
            Self::SocketIo(session) => session.deadline(),
        }
    }

    /// What outlives the connection, if anything does.
    #[must_use]
    pub fn resumption(&self) -> Option<&Resumption> {
        match self {
            Self::Pusher(session) => session.resumption(),
            Self::Plain(_) | Self::Sse(_) | Self::SocketIo(_) => None,
        }
    }

    /// The form in which channels' deliveries reach this session.
    #[must_use]
    pub const fn wire(&self) -> Wire {
        match self {
            Self::Pusher(_) => Wire::Pusher,
            Self::Plain(_) => Wire::Plain,
            Self::Sse(_) => Wire::Sse,
            Self::SocketIo(_) => Wire::SocketIo,
        }
    }
}
