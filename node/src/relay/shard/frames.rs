//! The frames of one delivery, each made once however many connections it is for.

use std::cell::OnceCell;

use bytes::Bytes;
use proto::ChannelName;
use proto::channel::Delivery;
use proto::wire::Wire;

use crate::clock::Clock;
use crate::outbox::Frame;

use super::connection::Connection;
use super::fanout::framed;

/// What has been made of a delivery so far.
#[derive(Debug)]
pub(super) struct Frames<'a> {
    channel: &'a ChannelName,
    delivery: &'a Delivery,
    clock: Clock,
    /// By wire format; none of those that do not show it.
    shared: [OnceCell<Option<Frame>>; Wire::COUNT],
    /// By wire format, for a connection that is in no other channel and no namespace: a publication has
    /// brought all such connections to the same place.
    alone: [OnceCell<Bytes>; Wire::COUNT],
}

impl<'a> Frames<'a> {
    pub(super) const fn new(
        channel: &'a ChannelName,
        delivery: &'a Delivery,
        clock: Clock,
    ) -> Self {
        let shared = [const { OnceCell::new() }; Wire::COUNT];
        let alone = [const { OnceCell::new() }; Wire::COUNT];
        Self { channel, delivery, clock, shared, alone }
    }

    /// What a connection gets, if its format shows it. One whose place is known comes to it with that.
    pub(super) fn make(&self, wire: Wire, connection: Option<&mut Connection>) -> Option<Frame> {
        let (channel, delivery) = (self.channel, self.delivery);
        let shared = self.shared[wire.index()]
            .get_or_init(|| Some(framed(wire.encode(channel, delivery)?, delivery, &self.clock)));
        let mut frame = shared.clone()?;
        let Some(connection) = connection else {
            return Some(frame);
        };
        frame.bytes = match delivery {
            Delivery::Published(publication) => {
                connection.came_to(channel, publication.position);
                self.published(connection, frame.bytes)
            }
            _ => connection.placed(frame.bytes),
        };
        Some(frame)
    }

    fn published(&self, connection: &Connection, bytes: Bytes) -> Bytes {
        if !connection.is_plain() {
            return connection.placed(bytes);
        }
        self.alone[connection.wire.index()].get_or_init(|| connection.placed(bytes)).clone()
    }
}
