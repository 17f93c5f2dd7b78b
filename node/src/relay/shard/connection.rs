//! One connection as its shard knows it.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use proto::cursor::Cursor;
use proto::door::{Close, Signal};
use proto::wire::Wire;
use proto::{ChannelKey, ChannelName, Position, SocketId};

use crate::outbox::{Full, Outbox};

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) outbox: Arc<Outbox>,
    pub(super) wire: Wire,
    pub(super) channels: HashSet<ChannelKey>,
    /// It was told to close and has not gone yet.
    pub(super) is_closing: bool,
    /// How far it has come in all its channels, where its wire says that.
    cursor: Option<Box<Cursor>>,
    /// Its id and its namespace, if it is a further socket of a connection.
    further: Option<(SocketId, Arc<str>)>,
}

impl Connection {
    pub(super) fn new(
        socket: SocketId,
        outbox: Arc<Outbox>,
        wire: Wire,
        namespace: Option<Arc<str>>,
    ) -> Self {
        let cursor = wire.has_place().then(Box::default);
        let further = namespace.map(|namespace| (socket, namespace));
        Self { outbox, wire, channels: HashSet::new(), is_closing: false, cursor, further }
    }

    /// Gives news to its session.
    pub(super) fn signal(&self, signal: Signal) {
        self.outbox.signal((self.further.as_ref().map(|(socket, _)| *socket), signal));
    }

    pub(super) fn close(&mut self, close: Close) {
        self.signal(Signal::Close(close));
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
        let none = Cursor::default();
        let cursor = self.cursor.as_deref().unwrap_or(&none);
        self.wire.placed(frame, cursor, self.namespace())
    }

    fn namespace(&self) -> Option<&str> {
        self.further.as_ref().map(|(_, namespace)| &**namespace)
    }

    /// Gives it a frame, which leaves with the next flush.
    pub(super) fn give(&self, frame: Bytes, unflushed: &mut Vec<Arc<Outbox>>) -> Result<(), Full> {
        if self.outbox.push(self.placed(frame))? {
            unflushed.push(Arc::clone(&self.outbox));
        }
        Ok(())
    }
}
