//! Wire formats: a delivery is encoded once for all connections of a relay that share one, and so is
//! everything else that a door's connection is sent.

use std::borrow::Cow;

use bytes::Bytes;

use crate::channel::Delivery;
use crate::cursor::Cursor;
use crate::door::Close;
use crate::engineio::Packet;
use crate::json::quoted;
use crate::name::ChannelName;
use crate::websocket::{close_frame, ping_frame, text_frame, text_frame_of};
use crate::{plain, pusher, sse, topics};

/// A form in which deliveries reach connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wire {
    /// Pusher's JSON in WebSocket text frames.
    Pusher,
    /// JSON objects in WebSocket text frames.
    Plain,
    /// An event stream.
    Sse,
    /// JSON objects, each with a comma before it: the elements of a list.
    Poll,
    /// Socket.IO events in Engine.IO messages in WebSocket frames, whatever the transport is.
    SocketIo,
    /// The same, for the sockets of Laravel Echo.
    Echo,
}

impl Wire {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Pusher, Self::Plain, Self::Sse, Self::Poll, Self::SocketIo, Self::Echo];

    /// How many formats there are.
    pub const COUNT: usize = 6;

    /// A word for metrics: the door that speaks it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pusher => "pusher",
            Self::Plain => "ws",
            Self::Sse => "sse",
            Self::Poll => "longpoll",
            Self::SocketIo => "socketio",
            Self::Echo => "laravel_echo",
        }
    }

    /// A number below [`Wire::COUNT`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The bytes to send for a delivery: whole frames, once [`Wire::placed`] has seen them. None if
    /// this format does not show it.
    #[must_use]
    pub fn encode(self, channel: &ChannelName, delivery: &Delivery) -> Option<Bytes> {
        match self {
            Self::Pusher => {
                let texts = pusher::frame::deliver(channel, delivery);
                let frames: Vec<Bytes> = texts.iter().map(|text| text_frame(text)).collect();
                join(&frames)
            }
            Self::Plain => {
                let objects = plain::frame::deliver(channel, delivery);
                let frames: Vec<Bytes> =
                    objects.iter().map(|rest| text_frame(&format!("{{{rest}"))).collect();
                join(&frames)
            }
            Self::Sse => sse::frame::deliver(channel, delivery).map(Bytes::from),
            Self::Poll => plain::frame::poll(channel, delivery).map(Bytes::from),
            Self::SocketIo => topics::frame::deliver(channel, delivery).map(Bytes::from),
            Self::Echo => topics::echo::frame::deliver(channel, delivery).map(Bytes::from),
        }
    }

    /// Whether what is sent says how far the connection has come in all its channels. Else each event
    /// says its own place, or none.
    #[must_use]
    pub const fn has_place(self) -> bool {
        matches!(self, Self::Sse | Self::Poll | Self::SocketIo)
    }

    /// Whether what was encoded for all is completed for each connection.
    #[must_use]
    pub const fn is_personal(self) -> bool {
        self.has_place() || matches!(self, Self::Echo)
    }

    /// What was encoded for all, as a connection gets it that has come so far, or a further socket of
    /// it in a namespace.
    #[must_use]
    pub fn placed(self, encoded: Bytes, cursor: &Cursor, namespace: Option<&str>) -> Bytes {
        match self {
            Self::Pusher | Self::Plain => encoded,
            Self::Sse => [format!("id: {cursor}\n").as_bytes(), &encoded].concat().into(),
            Self::Poll => {
                let place = format!(r#",{{"id":{},"#, quoted(&cursor.to_string()));
                [place.as_bytes(), &encoded].concat().into()
            }
            Self::SocketIo => {
                let place = format!(",{}]", quoted(&cursor.to_string()));
                let beginning = socketio_event(namespace);
                text_frame_of(&[beginning.as_bytes(), &encoded, place.as_bytes()])
            }
            Self::Echo => text_frame_of(&[socketio_event(namespace).as_bytes(), &encoded]),
        }
    }

    /// Whether the session itself says that its connection is in a channel.
    #[must_use]
    pub const fn is_silent_on_welcome(self) -> bool {
        matches!(self, Self::SocketIo)
    }

    /// That a connection has left a channel, where it would else go on in it when it comes back.
    #[must_use]
    pub fn left(self, channel: &ChannelName) -> Option<Bytes> {
        match self {
            Self::SocketIo => Some(topics::frame::left(channel).into()),
            Self::Pusher | Self::Plain | Self::Sse | Self::Poll | Self::Echo => None,
        }
    }

    /// That publications are lost. None if the format cannot say so, and the client has to begin anew.
    #[must_use]
    pub fn gap(self, channel: &ChannelName) -> Option<Bytes> {
        match self {
            Self::Pusher | Self::Echo => None,
            Self::Plain => {
                Some(text_frame(&format!("{{{}", plain::frame::open("gap", channel, ""))))
            }
            Self::Sse => Some(sse::frame::gap(channel).into()),
            Self::Poll => Some(plain::frame::open("gap", channel, "").into()),
            Self::SocketIo => Some(topics::frame::gap(channel).into()),
        }
    }

    /// A message of the session's own.
    #[must_use]
    pub fn message(self, text: String) -> Bytes {
        match self {
            Self::Pusher | Self::Plain => text_frame(&text),
            Self::SocketIo | Self::Echo => text_frame(&Packet::Text(&text).to_text()),
            Self::Sse | Self::Poll => text.into(),
        }
    }

    /// A sign of life.
    #[must_use]
    pub fn ping(self) -> Bytes {
        match self {
            Self::Pusher | Self::Plain => ping_frame(),
            Self::Sse => Bytes::from_static(sse::frame::PING.as_bytes()),
            // The transport has its own.
            Self::Poll | Self::SocketIo | Self::Echo => Bytes::new(),
        }
    }

    /// The last that is sent. A stream just ends.
    #[must_use]
    pub fn close(self, close: &Close) -> Bytes {
        match self {
            Self::Pusher | Self::Plain => close_frame(close.code, &close.reason),
            // Engine.IO knows no other code (WebSocket's "normal").
            Self::SocketIo | Self::Echo => close_frame(1000, ""),
            Self::Sse | Self::Poll => Bytes::new(),
        }
    }
}

/// What an event begins with: a message to Engine.IO, an event to Socket.IO, and its namespace unless
/// that is the main one.
fn socketio_event(namespace: Option<&str>) -> Cow<'static, str> {
    match namespace {
        None | Some(topics::MAIN) => Cow::Borrowed("42"),
        Some(namespace) => Cow::Owned(format!("42{namespace},")),
    }
}

fn join(frames: &[Bytes]) -> Option<Bytes> {
    match frames {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(several.concat().into()),
    }
}
