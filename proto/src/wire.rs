//! Wire formats: a delivery is encoded once for all connections of a relay that share one.

use bytes::Bytes;

use crate::channel::Delivery;
use crate::name::ChannelName;
use crate::pusher::frame;
use crate::websocket::text_frame;

/// A form in which deliveries reach connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wire {
    /// Pusher's JSON in WebSocket text frames.
    Pusher,
}

impl Wire {
    /// How many formats there are.
    pub const COUNT: usize = 1;

    /// A number below [`Wire::COUNT`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The bytes to send for a delivery: whole frames. None if this format does not show it.
    #[must_use]
    pub fn encode(self, channel: &ChannelName, delivery: &Delivery) -> Option<Bytes> {
        match self {
            Self::Pusher => {
                let texts = frame::deliver(channel, delivery);
                let frames: Vec<Bytes> = texts.iter().map(|text| text_frame(text)).collect();
                match frames.as_slice() {
                    [] => None,
                    [one] => Some(one.clone()),
                    several => Some(several.concat().into()),
                }
            }
        }
    }
}
