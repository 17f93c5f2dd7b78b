//! What comes from other nodes, and where it goes.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proto::channel::Delivery;
use proto::cluster::message::{Ask, DecodeError, Message};
use proto::cluster::replication::Mark;
use proto::cluster::slot::Slot;
use proto::{ChannelKey, RelayId};

use crate::channels::{Channels, Replier, Request};

use super::engine;
use super::peers::Peer;

/// Where messages of other nodes arrive.
#[derive(Debug)]
pub struct Inbox {
    channels: Channels,
    unknown: AtomicU64,
}

/// What is gathered over the messages of one frame.
#[derive(Debug, Default)]
struct Batch {
    claims: Vec<Slot>,
    yielded: Vec<Slot>,
    confirmed: BTreeMap<Slot, Mark>,
}

impl Inbox {
    /// An inbox that gives messages to these channels.
    #[must_use]
    pub const fn new(channels: Channels) -> Self {
        Self { channels, unknown: AtomicU64::new(0) }
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
        let peer = self.peer(&from);
        let received = peer.receive(&frame, self.channels.clock());
        drop(frame);
        let Some(received) = received else {
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
                Err(error) => self.unreadable(&from, &error),
            }
        }
        self.finish(&from, &batch);
        peer.done();
    }

    fn unreadable(&self, from: &RelayId, error: &DecodeError) {
        self.unknown.fetch_add(1, Ordering::Relaxed);
        tracing::error!(peer = %from.node, %error, "a message of a peer cannot be read");
        let (DecodeError::Kind(kind) | DecodeError::Body { kind, .. }) = error;
        self.channels.peers().send(from, &Message::Unknown(*kind));
    }

    async fn deal_with(&self, peer: &Arc<Peer>, message: Message, batch: &mut Batch) {
        let (channels, from) = (&self.channels, &peer.id);
        match message {
            Message::Ask(number, ask) => {
                let replier = Replier::peer(channels.peers().clone(), from.clone(), number);
                channels.handle(Request { slot: slot_of(&ask), ask, replier });
            }
            Message::Answer(number, answer) => channels.peers().answered(peer, number, answer),
            Message::Deliver(key, delivery) => self.deliver(from, &key, delivery).await,
            Message::Claim(slot) => batch.claims.push(slot),
            Message::Withdraw(slot) => {
                // It may follow its claim in the same frame.
                channels.claimed(&std::mem::take(&mut batch.claims), from);
                channels.withdrawn(slot, from);
            }
            Message::Resync(key, resync) => channels.resync(key, resync),
            Message::Yield(slot, at, estate) => channels.inherit(slot, from, at, *estate),
            Message::Yielded(slot) => batch.yielded.push(slot),
            Message::Settled(slot) => channels.settled(slot, from),
            Message::Replicate(slot, mark, now, record) => {
                if channels.keep_record((slot, from), mark, now, *record) {
                    batch.confirmed.insert(slot, mark);
                } else {
                    channels.peers().send(from, &Message::NotOwner(slot, mark));
                }
            }
            Message::Replicated(slot, mark) => channels.confirmed(slot, from, mark),
            Message::NotOwner(slot, mark) => channels.refused(slot, from, mark),
            Message::Unknown(kind) => {
                self.unknown.fetch_add(1, Ordering::Relaxed);
                tracing::error!(peer = %from.node, kind, "a peer did not understand a message");
            }
        }
    }

    async fn deliver(&self, from: &RelayId, key: &ChannelKey, mut delivery: Delivery) {
        if let Delivery::Published(publication) = &mut delivery {
            // Moments do not travel: the owner's clock is not ours.
            Arc::make_mut(publication).accepted = self.channels.clock().moment();
        }
        self.channels.relay().deliver(from, key, delivery).await;
    }

    fn finish(&self, from: &RelayId, batch: &Batch) {
        if !batch.claims.is_empty() {
            self.channels.claimed(&batch.claims, from);
        }
        if !batch.yielded.is_empty() {
            self.channels.yielded(&batch.yielded, from);
        }
        for (&slot, &mark) in &batch.confirmed {
            self.channels.peers().send(from, &Message::Replicated(slot, mark));
        }
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

/// The slot that a question is about. Lists are about none in particular.
fn slot_of(ask: &Ask) -> Slot {
    match ask {
        Ask::Channel { key, .. } => Slot::of(key),
        Ask::Claim { app, key, .. } => Slot::of_name(app, key),
        Ask::Lease(app, _) => Channels::quota_slot(app),
        Ask::List(query) => Channels::quota_slot(&query.app),
    }
}
