//! The frames of one delivery, each made once however many connections it is for.

use std::cell::OnceCell;

use bytes::Bytes;
use proto::ChannelName;
use proto::channel::Delivery;
use proto::wire::Wire;

use super::connection::Connection;

/// What has been made of a delivery so far.
#[derive(Debug)]
pub(super) struct Frames<'a> {
    channel: &'a ChannelName,
    delivery: &'a Delivery,
    /// By wire format; none of those that do not show it.
    shared: [OnceCell<Option<Bytes>>; Wire::COUNT],
    /// By wire format, for a connection that is in no other channel and no namespace: a publication has
    /// brought all such connections to the same place.
    alone: [OnceCell<Bytes>; Wire::COUNT],
}

impl<'a> Frames<'a> {
    pub(super) const fn new(channel: &'a ChannelName, delivery: &'a Delivery) -> Self {
        let shared = [const { OnceCell::new() }; Wire::COUNT];
        let alone = [const { OnceCell::new() }; Wire::COUNT];
        Self { channel, delivery, shared, alone }
    }

    /// What a connection gets, if its format shows it. One whose place is known comes to it with that.
    pub(super) fn make(&self, wire: Wire, connection: Option<&mut Connection>) -> Option<Bytes> {
        let (channel, delivery) = (self.channel, self.delivery);
        let shared = self.shared[wire.index()].get_or_init(|| wire.encode(channel, delivery));
        let frame = shared.clone()?;
        let Some(connection) = connection else {
            return Some(frame);
        };
        let Delivery::Published(publication) = delivery else {
            return Some(connection.placed(frame));
        };
        connection.came_to(channel, publication.position);
        if !connection.is_plain() {
            return Some(connection.placed(frame));
        }
        let alone = self.alone[wire.index()].get_or_init(|| connection.placed(frame));
        Some(alone.clone())
    }
}
