//! One connection as its shard knows it.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use proto::cursor::Cursor;
use proto::door::{Close, Signal};
use proto::wire::Wire;
use proto::{AppId, ChannelKey, ChannelName, Position};

use crate::outbox::{Frame, Full, Outbox};

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) app: AppId,
    pub(super) outbox: Arc<Outbox>,
    pub(super) wire: Wire,
    pub(super) channels: HashSet<ChannelKey>,
    /// It was told to close and has not gone yet.
    pub(super) is_closing: bool,
    /// How far it has come in all its channels, where its wire says that.
    cursor: Option<Box<Cursor>>,
}

impl Connection {
    pub(super) fn new(app: AppId, outbox: Arc<Outbox>, wire: Wire) -> Self {
        let cursor = wire.has_place().then(Box::default);
        Self { app, outbox, wire, channels: HashSet::new(), is_closing: false, cursor }
    }

    pub(super) fn close(&mut self, close: Close) {
        self.outbox.signal(Signal::Close(close));
        self.is_closing = true;
    }

    /// The next that it is given is about this place of a channel.
    pub(super) fn came_to(&mut self, channel: &ChannelName, position: Position) {
        if let Some(cursor) = &mut self.cursor {
            cursor.set(channel, position);
        }
    }

    /// It goes on from here.
    pub(super) fn goes_on(&mut self, cursor: Cursor) {
        if let Some(own) = &mut self.cursor {
            **own = cursor;
        }
    }

    /// It is about to join a channel in which it had come so far: every place that it is told from here
    /// on speaks of that channel, whatever comes first.
    pub(super) fn begins(&mut self, channel: &ChannelName, since: Position) {
        if let Some(cursor) = &mut self.cursor {
            cursor.begin(channel, since);
        }
    }

    /// It is in a channel no longer, and does not come back there.
    pub(super) fn left(&mut self, channel: &ChannelName) {
        if let Some(cursor) = &mut self.cursor {
            cursor.remove(channel);
        }
    }

    /// A frame as this connection gets it: with its place, where its wire says it.
    pub(super) fn placed(&self, frame: Bytes) -> Bytes {
        match &self.cursor {
            Some(cursor) => self.wire.placed(frame, cursor),
            None => frame,
        }
    }

    /// Gives it a frame, which leaves with the next flush.
    pub(super) fn give(
        &self,
        frame: impl Into<Frame>,
        unflushed: &mut Vec<Arc<Outbox>>,
    ) -> Result<(), Full> {
        let mut frame = frame.into();
        frame.bytes = self.placed(frame.bytes);
        if self.outbox.push(frame)?.is_first {
            unflushed.push(Arc::clone(&self.outbox));
        }
        Ok(())
    }
}
