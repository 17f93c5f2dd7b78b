//! A question to the owner of a slot, from here or from another node, and the way back.

use proto::channel::Reply;
use proto::cluster::message::{Ack, Answer, Ask, Message};
use proto::cluster::slot::Slot;
use proto::http::webhook::Edge;
use proto::{AppId, RelayId};
use tokio::sync::oneshot;

use crate::cluster::Peers;
use crate::webhook::Webhooks;

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

/// What waits until a second node holds what it is about.
#[derive(Debug)]
pub enum Waiter {
    /// The answer of a publish.
    Publish {
        /// Where the answer goes.
        replier: Replier,
        /// The answer.
        reply: Reply,
        /// Whether anything less than a second node is a refusal.
        is_strict: bool,
    },
    /// What the application is told: an edge that a crash could still undo must not be told, or it
    /// would be told again under another id.
    Edges(AppId, Vec<Edge>),
}

impl Waiter {
    /// Answers, or tells, when this level was reached.
    pub fn finish(self, reached: Ack, webhooks: &Webhooks) {
        match self {
            Self::Publish { replier, reply, is_strict } => {
                let least = if is_strict { Ack::Replicated } else { Ack::Sequenced };
                match reached >= least {
                    true => replier.reply(reply, reached),
                    false => replier.answer(Answer::Unavailable),
                }
            }
            Self::Edges(app, edges) => edges.iter().for_each(|edge| webhooks.push(&app, edge)),
        }
    }
}
