//! Questions to owners, and their answers: what `node/src/router.rs` does.

use std::time::Duration;

use proto::RelayId;
use proto::channel::Reply;
use proto::cluster::custody::Admission;
use proto::cluster::link::Health;
use proto::cluster::message::{Ack, Answer, Ask, Message};
use proto::cluster::slot::Slot;

use super::node::{Asking, Life, Replier, Request, Then, ToShard};
use super::serve::Batch;
use super::world::{Event, World};

impl World {
    /// Asks the owner of a slot, again and again until the deadline.
    pub(super) fn ask(&mut self, node: usize, asking: Asking) {
        let number = self.life(node).number();
        let due = asking.deadline;
        self.life(node).askings.insert(number, asking);
        self.deadline_of(node, number, due);
        self.ask_again(node, number);
    }

    pub(super) fn ask_again(&mut self, node: usize, number: u64) {
        let Some(asking) = self.life(node).askings.get(&number).cloned() else { return };
        self.route_ask(node, asking.slot, asking.ask, Replier::Here(number));
    }

    /// Asks the owner of a slot in this node's view, once.
    pub(super) fn route_ask(&mut self, node: usize, slot: Slot, ask: Ask, replier: Replier) {
        let life = self.life(node);
        let owner = life.view.as_ref().map(|view| view.owner(slot).clone());
        match owner {
            None => self.reply(node, replier, Answer::NotOwner),
            Some(owner) if owner == life.me => self.handle(node, Request { slot, ask, replier }),
            Some(owner) => self.ask_peer(node, &owner, ask, replier),
        }
    }

    fn ask_peer(&mut self, node: usize, to: &RelayId, ask: Ask, replier: Replier) {
        let now = self.now_of(node).moment;
        let number = self.life(node).number();
        let Some(peer) = self.life(node).peers.get_mut(to) else {
            return self.reply(node, replier, Answer::NotOwner);
        };
        if !peer.link.is_connected() || peer.link.health(now) != Health::Up {
            return self.reply(node, replier, Answer::NotOwner);
        }
        peer.asks.insert(number, replier);
        self.send(node, to, &Message::Ask(number, ask));
    }

    pub(super) fn handle(&mut self, node: usize, request: Request) {
        if self.is_out(node) {
            return self.reply(node, request.replier, Answer::Unavailable);
        }
        let mut batch = Batch::default();
        let custody = self.life(node).custody.get_mut(&request.slot).expect("a slot in use");
        match custody.admit(request) {
            Admission::Now(request) => self.dispatch(node, request, &mut batch),
            Admission::Held => {}
            Admission::NotOwner(request) => self.reply(node, request.replier, Answer::NotOwner),
            Admission::Full(request) => self.reply(node, request.replier, Answer::Unavailable),
        }
        self.finish(node, batch);
    }

    /// An answer finds its way.
    pub(super) fn reply(&mut self, node: usize, replier: Replier, answer: Answer) {
        match replier {
            Replier::Here(asking) => self.soon(node, Event::Answer(asking, answer)),
            Replier::Peer(peer, number) => {
                self.send(node, &peer, &Message::Answer(number, answer));
            }
        }
    }

    pub(super) fn answered(&mut self, node: usize, number: u64, answer: Answer) {
        let Some(asking) = self.life(node).askings.get(&number) else { return };
        let may_repeat = match answer {
            Answer::NotOwner => true,
            Answer::Unavailable => asking.is_repeatable,
            _ => false,
        };
        if may_repeat {
            return self.life_after(node, Duration::from_millis(10), Event::Again(number));
        }
        let asking = self.life(node).askings.remove(&number).expect("it was just there");
        let outcome = match answer {
            Answer::Reply(reply, ack) => Some((reply, ack)),
            _ => None,
        };
        self.conclude(node, asking.then, outcome.as_ref());
    }

    pub(super) fn conclude(&mut self, node: usize, then: Then, outcome: Option<&(Reply, Ack)>) {
        match then {
            Then::Join(client, key, joined) => {
                let socket = joined.socket;
                if matches!(outcome, Some((Reply::Done, _))) {
                    return self.wish_done(client, &key, socket);
                }
                let refused = ToShard::Refused(key.clone(), joined);
                self.put_to_shard(node, Life::shard_of(socket), refused);
                self.refused(client, &key, socket);
            }
            Then::Unsubscribe(client, key) => {
                let live = self.clients[client].live.as_ref();
                if let Some(socket) = live.map(|live| live.socket) {
                    self.wish_done(client, &key, socket);
                }
            }
            Then::Publish(publisher, attempt) => {
                self.published(publisher, attempt, outcome);
            }
            Then::Nobody => {}
        }
    }
}
