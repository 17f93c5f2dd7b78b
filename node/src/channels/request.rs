//! A question to the owner of a slot, from here or from another node, and the way back.

use proto::RelayId;
use proto::channel::Reply;
use proto::cluster::message::{Ack, Answer, Ask, Message};
use proto::cluster::slot::Slot;
use tokio::sync::oneshot;

use crate::cluster::Peers;

/// A question on its way to whoever answers it.
#[derive(Debug)]
pub struct Request {
    /// The slot that it is about.
    pub slot: Slot,
    /// What is asked.
    pub ask: Ask,
    /// Where the answer goes.
    pub replier: Replier,
}

/// Where one answer goes. If none is given, the asker learns that none will come.
#[derive(Debug)]
pub struct Replier(Option<To>);

#[derive(Debug)]
enum To {
    Here(oneshot::Sender<Answer>),
    Peer { peers: Peers, peer: RelayId, number: u64 },
}

impl Replier {
    /// A way back within this node.
    #[must_use]
    pub fn local() -> (Self, oneshot::Receiver<Answer>) {
        let (sender, answer) = oneshot::channel();
        (Self(Some(To::Here(sender))), answer)
    }

    /// A way back to another node, under the number that it gave to its question.
    #[must_use]
    pub const fn peer(peers: Peers, peer: RelayId, number: u64) -> Self {
        Self(Some(To::Peer { peers, peer, number }))
    }

    /// Answers.
    pub fn answer(mut self, answer: Answer) {
        self.send(answer);
    }

    /// Answers with what a channel said.
    pub fn reply(self, reply: Reply, ack: Ack) {
        self.answer(Answer::Reply(reply, ack));
    }

    fn send(&mut self, answer: Answer) {
        match self.0.take() {
            // Whoever has stopped waiting needs no answer.
            Some(To::Here(sender)) => drop(sender.send(answer)),
            Some(To::Peer { peers, peer, number }) => {
                peers.send(&peer, &Message::Answer(number, answer));
            }
            None => {}
        }
    }
}

impl Drop for Replier {
    fn drop(&mut self) {
        self.send(Answer::Unavailable);
    }
}

/// Someone who waits until a publish is held by a second node.
#[derive(Debug)]
pub struct Waiter {
    /// Where the answer goes.
    pub replier: Replier,
    /// The answer.
    pub reply: Reply,
    /// Whether anything less than a second node is a refusal.
    pub is_strict: bool,
}

impl Waiter {
    /// Answers, with the level that was reached.
    pub fn finish(self, reached: Ack) {
        if self.is_strict && reached < Ack::Replicated {
            return self.replier.answer(Answer::Unavailable);
        }
        self.replier.reply(self.reply, reached);
    }
}
