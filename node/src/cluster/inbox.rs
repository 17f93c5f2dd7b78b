//! What comes from other nodes, and where it goes.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use proto::channel::Delivery;
use proto::cluster::message::{Answer, Ask, DecodeError, ListQuery, Message, number_of_ask};
use proto::cluster::replication::Record;
use proto::cluster::slot::Slot;
use proto::cluster::view::Phase;
use proto::{ChannelKey, RelayId};
use ractor::ActorRef;

use crate::channels::{Batch, Channels, Replier, Request};
use crate::sessions::Sessions;

use super::peers::Peer;
use super::{engine, member};

/// Where messages of other nodes arrive.
#[derive(Debug)]
pub struct Inbox {
    channels: Channels,
    sessions: Sessions,
    member: OnceLock<ActorRef<member::Message>>,
    unknown: AtomicU64,
}

impl Inbox {
    /// An inbox that gives messages to these channels, and clients' requests to these sessions.
    #[must_use]
    pub const fn new(channels: Channels, sessions: Sessions) -> Self {
        Self { channels, sessions, member: OnceLock::new(), unknown: AtomicU64::new(0) }
    }

    /// Gives the inbox the actor that keeps the view. Once.
    pub fn connect(&self, member: ActorRef<member::Message>) {
        if self.member.set(member).is_err() {
            tracing::error!("the inbox has its member already");
        }
    }

    /// Messages that this node could not read.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }

    /// The peer, whose link is started when it is new.
    pub(super) fn peer(&self, id: &RelayId) -> Arc<Peer> {
        let peers = self.channels.peers();
        peers.peer(id, |peer| {
            let channels = self.channels.clone();
            tokio::spawn(peers.clone().drive(peer, move |id| channels.reset(id)));
        })
    }

    async fn take(&self, from: RelayId, frame: Vec<u8>) {
        // What this process holds is another life's by now: it says nothing of it any more.
        if self.channels.was_paused() {
            return;
        }
        let peer = self.peer(&from);
        let Some(received) = peer.receive(frame.into(), self.channels.clock()) else {
            return;
        };
        if received.is_restarted {
            tracing::warn!(peer = %from.node, "a peer began its link anew; what was on its way is lost");
            peer.give_up_asks();
            self.channels.restarted(&from);
        }
        if received.messages.is_empty() {
            return;
        }
        let mut batch = Batch::default();
        for (kind, body) in received.messages {
            match Message::decode(kind, &body) {
                Ok(message) => self.deal_with(&peer, message, &mut batch).await,
                Err(error) => self.unreadable(&from, &error, &body),
            }
        }
        self.channels.finish(batch);
        peer.done();
    }

    fn unreadable(&self, from: &RelayId, error: &DecodeError, body: &[u8]) {
        self.unknown.fetch_add(1, Ordering::Relaxed);
        tracing::error!(peer = %from.node, %error, "a message cannot be read");
        let (DecodeError::Kind(kind) | DecodeError::Body { kind, .. }) = error;
        let peers = self.channels.peers();
        peers.send(from, &Message::Unknown(*kind));
        // Nobody waits for an answer that cannot come.
        if let Some(number) = number_of_ask(*kind, body) {
            peers.send(from, &Message::Answer(number, Answer::Unavailable));
        }
    }

    async fn deal_with(&self, peer: &Arc<Peer>, message: Message, batch: &mut Batch) {
        let (channels, from) = (&self.channels, &peer.id);
        if let Some(slot) = message.slot() {
            return channels.receive(from, slot, message, batch);
        }
        match message {
            Message::Ask(number, ask) => {
                let replier = Replier::peer(channels.peers().clone(), from.clone(), number);
                channels.handle(Request { slot: slot_of(&ask), ask, replier });
            }
            Message::Answer(number, answer) => channels.peers().answered(peer, number, answer),
            Message::Visit(number, visit) => {
                let answer = self.sessions.clone().receive(visit);
                channels.peers().receive_visit(peer, number, answer);
            }
            Message::Left(number) => peer.left(number),
            Message::Deliver(key, delivery) => self.deliver(from, &key, delivery).await,
            Message::Published(mark, key, publication) => {
                let record = Record::of_publication(&key, mark, &publication);
                channels.receive(from, Slot::of(&key), record, batch);
                self.deliver(from, &key, Delivery::Published(publication)).await;
            }
            Message::Confirmed(marks) => {
                for (slot, mark) in marks {
                    channels.receive(from, slot, Message::Replicated(slot, mark), batch);
                }
            }
            Message::Listed(slots, part) => channels.listed(&slots, from, part),
            Message::Sees(phase, members) => self.said(from, phase, members),
            Message::Unknown(kind) => {
                self.unknown.fetch_add(1, Ordering::Relaxed);
                tracing::error!(peer = %from.node, kind, "a peer did not understand a message");
            }
            // They are about a slot.
            _ => {}
        }
    }

    /// A peer has said how far it has come and whom it sees.
    fn said(&self, from: &RelayId, phase: Phase, members: Vec<RelayId>) {
        if let Some(member) = self.member.get() {
            // One that has stopped needs to know no more.
            let _ = member.cast(member::Message::Said(from.clone(), phase, members));
        }
    }

    async fn deliver(&self, from: &RelayId, key: &ChannelKey, mut delivery: Delivery) {
        if let Delivery::Published(publication) = &mut delivery {
            // Moments do not travel: the owner's clock is not ours.
            Arc::make_mut(publication).accepted = self.channels.clock().moment();
        }
        self.channels.relay().deliver(from, key, delivery).await;
    }
}

impl engine::Inbox for Inbox {
    fn receive(
        &self,
        from: RelayId,
        _session: u64,
        _lane: usize,
        frame: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.take(from, frame))
    }
}

/// The slot that a question is about. What every node is asked is about none in particular.
fn slot_of(ask: &Ask) -> Slot {
    match ask {
        Ask::Channel { key, .. } | Ask::Transports(key) => Slot::of(key),
        Ask::Claim { app, key, .. } => Slot::of_name(app, key),
        Ask::Lease(app, _) => Channels::quota_slot(app),
        Ask::Spend(doer, _) => Slot::of_name(&doer.app, doer.user.as_str()),
        Ask::List(ListQuery { app, .. }) | Ask::Notify(app, _) | Ask::Terminate(app, _) => {
            Channels::quota_slot(app)
        }
    }
}
