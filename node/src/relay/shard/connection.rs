//! One connection as its shard knows it.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use proto::cursor::Cursor;
use proto::door::{Close, Signal};
use proto::proof::{Due, Proof};
use proto::websocket::numbered_ping_frame;
use proto::wire::Wire;
use proto::{AppId, ChannelKey, ChannelName, Position, SocketId};

use crate::outbox::{Frame, Full, Outbox};
use crate::relay::Attached;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) app: AppId,
    pub(super) outbox: Arc<Outbox>,
    pub(super) wire: Wire,
    pub(super) channels: HashSet<ChannelKey>,
    /// It was told to close and has not gone yet.
    pub(super) is_closing: bool,
    /// How far it has come in all its channels, where its wire says that or it is resumable.
    cursor: Option<Box<Cursor>>,
    /// What it has proven to have had, if it is resumable.
    proof: Option<Proof>,
    /// Its id and its namespace, if it is a further socket of a connection.
    further: Option<(SocketId, Arc<str>)>,
}

impl Connection {
    pub(super) fn new(attached: Attached, outbox: Arc<Outbox>) -> Self {
        let Attached { app, socket, wire, is_resumable, namespace } = attached;
        let cursor = (is_resumable || wire.has_place()).then(Box::default);
        let proof = is_resumable.then(Proof::default);
        let further = namespace.map(|namespace| (socket, namespace));
        let (channels, is_closing) = (HashSet::new(), false);
        Self { app, outbox, wire, channels, is_closing, cursor, proof, further }
    }

    /// Whether a client of Socket.IO has been let in; at other doors it has.
    pub(super) fn is_let_in(&self) -> bool {
        self.wire != Wire::SocketIo || self.is_named(|_| true)
    }

    /// Whether its client knows it by an id of its own that is like this.
    pub(super) fn is_named(&self, is_it: impl Fn(&str) -> bool) -> bool {
        self.outbox.is_named(self.seat(), is_it)
    }

    /// Which further socket of its connection it is, if it is one.
    fn seat(&self) -> Option<SocketId> {
        self.further.as_ref().map(|(socket, _)| *socket)
    }

    /// Whether what was encoded for all is completed for it, or its place is followed.
    pub(super) const fn is_personal(&self) -> bool {
        self.cursor.is_some() || self.wire.is_personal()
    }

    /// Whether a publication makes it the same frame as all others like this: its place speaks of one
    /// channel at most, and it is in no namespace.
    pub(super) fn is_plain(&self) -> bool {
        self.further.is_none() && self.cursor.as_ref().is_none_or(|cursor| cursor.len() == 1)
    }

    /// Whether another connection may go on with it.
    pub(super) const fn is_resumable(&self) -> bool {
        self.proof.is_some()
    }

    /// It was given something that it may have to prove.
    pub(super) fn delivered(&mut self, unflushed: &mut Vec<Arc<Outbox>>) {
        match self.proof.as_mut().map_or(Due::Nothing, Proof::delivered) {
            Due::Nothing => {}
            Due::Soon => self.signal(Signal::Unproven),
            Due::Now => self.mark(unflushed),
        }
    }

    /// Sends a ping whose answer proves that it has had all that it was given.
    pub(super) fn mark(&mut self, unflushed: &mut Vec<Arc<Outbox>>) {
        let (Some(proof), Some(cursor)) = (&mut self.proof, &self.cursor) else { return };
        let (number, cursor) = (proof.mark(), Cursor::clone(cursor));
        // An outbox that is full is closed by itself.
        let _ = self.give(numbered_ping_frame(number), unflushed);
        self.signal(Signal::Marked { number, cursor });
    }

    /// Gives news to its session.
    pub(super) fn signal(&self, signal: Signal) {
        self.outbox.signal((self.seat(), signal));
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
            let _ = cursor.remove(channel);
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
