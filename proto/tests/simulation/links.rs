//! Connections between lives of nodes, and the frames on them: what `node/src/cluster/peers.rs` does with
//! the same machines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::RelayId;
use proto::channel::Delivery;
use proto::cluster::link::{BACKLOG_BYTES_MAX, Health, Link};
use proto::cluster::membership::Input;
use proto::cluster::message::{Answer, Ask, Message};
use proto::cluster::replication::Record;
use proto::cluster::slot::Slot;

use super::node::{Peer, Replier, Request};
use super::serve::Batch;
use super::world::{Event, To, World};

const CONTROL: usize = 0;
const DATA: usize = 1;

impl World {
    pub(super) fn dial(&mut self, node: usize, peer: &RelayId) {
        let me = self.life(node).me.clone();
        let pair = if me < *peer { (me.clone(), peer.clone()) } else { (peer.clone(), me.clone()) };
        if self.network.between(&me, peer).is_some() || !self.network.dialling.insert(pair) {
            return;
        }
        let Some(other) = self.places.iter().position(|place| place.id == peer.node) else {
            return;
        };
        let answers =
            self.network.is_open_both_ways(node, other) && self.places[other].paused.is_none();
        let wait =
            if answers { self.draw.micros(200, 3_000) } else { Duration::from_millis(1_500) };
        self.life_after(node, wait, Event::Dialled(peer.clone()));
    }

    pub(super) fn dialled(&mut self, node: usize, peer: &RelayId) {
        let me = self.life(node).me.clone();
        let pair = if me < *peer { (me.clone(), peer.clone()) } else { (peer.clone(), me.clone()) };
        self.network.dialling.remove(&pair);
        let other = self.places.iter().position(|place| place.id == peer.node);
        let other = other.expect("it was found when it was dialled");
        if !self.network.is_open_both_ways(node, other) || self.places[other].paused.is_some() {
            return self.member(node, Input::DialFailed { peer: peer.clone(), refused: false });
        }
        if self.places[other].life.as_ref().is_none_or(|life| life.me != *peer) {
            return self.member(node, Input::DialFailed { peer: peer.clone(), refused: true });
        }
        let session = self.network.connect([(node, me.clone()), (other, peer.clone())]);
        self.note(|| format!("session {session} connects {node} and {other}"));
        self.up(node, peer, session);
        self.up(other, &me, session);
    }

    fn up(&mut self, node: usize, peer: &RelayId, session: u64) {
        let now = self.now_of(node).moment;
        // The engine says that a session has ended before it says that there is another.
        if let Some(earlier) = self.peer(node, peer).session {
            self.down(node, peer, earlier);
        }
        let known = self.peer(node, peer);
        known.session = Some(session);
        known.link.connected(now);
        let sees = self.sees(node);
        self.send(node, peer, &sees);
        self.member(node, Input::Up(peer.clone()));
    }

    fn peer(&mut self, node: usize, id: &RelayId) -> &mut Peer {
        let now = self.now_of(node);
        self.life(node).peers.entry(id.clone()).or_insert_with(|| Peer {
            link: Link::new(now.unix_ms, now.moment),
            session: None,
            asks: BTreeMap::new(),
            is_reset: false,
            is_driven: false,
        })
    }

    /// A session ends; its other end hears it when packets reach it.
    pub(super) fn break_session(&mut self, number: u64, by: usize) {
        let Some(session) = self.network.sessions.remove(&number) else { return };
        let [(one, first), (other, second)] = session.ends;
        let (to, id, peer) = if one == by { (other, second, first) } else { (one, first, second) };
        self.tell_down(by, (to, &id), &peer, number);
    }

    /// A session ends for both ends at once, as when something between them resets it.
    pub(super) fn break_both_ways(&mut self, number: u64) {
        let Some(session) = self.network.sessions.remove(&number) else { return };
        let [(one, first), (other, second)] = session.ends;
        self.tell_down(other, (one, &first), &second, number);
        self.tell_down(one, (other, &second), &first, number);
    }

    fn tell_down(&mut self, from: usize, to: (usize, &RelayId), peer: &RelayId, session: u64) {
        let (to, id) = to;
        // Without packets, silence says it: see `Health::Stalled`.
        if self.network.is_open(from, to) {
            let turn = self.draw.turn();
            let event = Event::Down(peer.clone(), session);
            self.after(turn, To::Life(to, id.incarnation, event));
        }
    }

    pub(super) fn down(&mut self, node: usize, id: &RelayId, session: u64) {
        if let Some(peer) = self.life(node).peers.get_mut(id) {
            if peer.session.is_some_and(|current| current != session) {
                return;
            }
            peer.session = None;
            peer.link.disconnected();
        }
        self.member(node, Input::Down(id.clone()));
    }

    /// Sends what waits for a peer.
    pub(super) fn drive(&mut self, node: usize, id: &RelayId) {
        let now = self.now_of(node).moment;
        let Some(peer) = self.life(node).peers.get_mut(id) else { return };
        peer.is_driven = false;
        if std::mem::take(&mut peer.is_reset) {
            let asks = std::mem::take(&mut peer.asks);
            for replier in asks.into_values() {
                self.reply(node, replier, Answer::Unavailable);
            }
            self.note(|| format!("node {node} resets its link to {id:?}"));
            self.with_all(node, |custody, now, effects| custody.reset(id, now, effects));
        }
        let me = self.life(node).me.clone();
        let Some(peer) = self.life(node).peers.get_mut(id) else { return };
        peer.link.tick(now);
        let (session, mut frames) = (peer.session, Vec::new());
        while session.is_some()
            && let Some(frame) = peer.link.poll(now)
        {
            frames.push(frame);
        }
        assert!(peer.link.backlog() <= BACKLOG_BYTES_MAX, "the backlog has a limit");
        let is_stalled = peer.link.health(now) == Health::Stalled;
        let is_busy = peer.link.backlog() > 0 || peer.link.owes_answer();
        if is_busy && !peer.is_driven {
            peer.is_driven = true;
            self.life_after(node, Duration::from_millis(2), Event::Drive(id.clone()));
        }
        let Some(session) = session else { return };
        for frame in frames {
            let lane = if frame.is_batch { DATA } else { CONTROL };
            self.send_frame((node, &me), (session, id), lane, frame.bytes);
        }
        if is_stalled {
            self.note(|| format!("node {node} gives session {session} up"));
            self.break_session(session, node);
            self.down(node, id, session);
        }
    }

    fn send_frame(
        &mut self,
        (node, me): (usize, &RelayId),
        (session, peer): (u64, &RelayId),
        lane: usize,
        bytes: Vec<u8>,
    ) {
        let now = self.now;
        let due = self.network.send((session, me), lane, bytes, (now, &mut self.draw));
        let to = self.places.iter().position(|place| place.id == peer.node);
        if let (Some(due), Some(to)) = (due, to)
            && self.network.is_open(node, to)
        {
            self.at(due, To::Arrive(session, to, peer.clone(), lane));
        }
    }

    /// Frames come to where they were going.
    pub(super) fn arrive(&mut self, session: u64, node: usize, id: &RelayId, lane: usize) {
        let now = self.now;
        let frames = self.network.arrived(session, id, lane, now);
        let Some(ends) = self.network.sessions.get(&session).map(|session| &session.ends) else {
            return;
        };
        let from = if ends[0].1 == *id { ends[1].1.clone() } else { ends[0].1.clone() };
        for frame in frames {
            let life = self.places[node].life.as_ref();
            if life.is_some_and(|life| life.me == *id) {
                self.receive(node, &from, &frame);
            }
        }
    }

    /// After a heal: what waited goes on.
    pub(super) fn flush_network(&mut self) {
        for (session, node, id, lane) in self.network.waiting() {
            self.after(Duration::from_millis(1), To::Arrive(session, node, id, lane));
        }
    }

    pub(super) fn receive(&mut self, node: usize, from: &RelayId, frame: &[u8]) {
        let now = self.now_of(node).moment;
        let peer = self.peer(node, from);
        let received =
            peer.link.receive(frame.to_vec().into(), now).expect("the other end is one of ours");
        if received.is_forgotten {
            peer.link.reset(now);
            peer.is_reset = true;
        }
        self.soon(node, Event::Drive(from.clone()));
        if received.is_restarted {
            let asks = std::mem::take(&mut self.peer(node, from).asks);
            for replier in asks.into_values() {
                self.reply(node, replier, Answer::Unavailable);
            }
            self.with_all(node, |custody, now, effects| custody.restarted(from, now, effects));
        }
        if received.messages.is_empty() {
            return;
        }
        let mut batch = Batch::default();
        for (kind, body) in received.messages {
            let message = Message::decode(kind, &body).expect("one version speaks here");
            self.deal_with(node, from, message, &mut batch);
        }
        self.finish(node, batch);
        self.peer(node, from).link.done();
    }

    fn deal_with(&mut self, node: usize, from: &RelayId, message: Message, batch: &mut Batch) {
        self.note(|| {
            let text = format!("{message:?}");
            format!("node {node} gets from {} {}", from.node, &text[..text.len().min(900)])
        });
        if let Some(slot) = message.slot() {
            return self.hear(node, from, (slot, message), batch);
        }
        match message {
            Message::Ask(number, ask) => {
                let Ask::Channel { key, .. } = &ask else { return };
                let (slot, replier) = (Slot::of(key), Replier::Peer(from.clone(), number));
                self.handle(node, Request { slot, ask, replier });
            }
            Message::Answer(number, answer) => {
                if let Some(replier) = self.peer(node, from).asks.remove(&number) {
                    self.reply(node, replier, answer);
                }
            }
            Message::Deliver(key, mut delivery) => {
                if let Delivery::Published(publication) = &mut delivery {
                    let now = self.now_of(node).moment;
                    Arc::make_mut(publication).accepted = now;
                }
                self.relay(node, from, &key, delivery);
            }
            Message::Published(mark, key, publication) => {
                let record = Record::of_publication(&key, mark, &publication);
                self.hear(node, from, (Slot::of(&key), record), batch);
                self.deal_with(
                    node,
                    from,
                    Message::Deliver(key, Delivery::Published(publication)),
                    batch,
                );
            }
            Message::Confirmed(marks) => {
                for (slot, mark) in marks {
                    self.hear(node, from, (slot, Message::Replicated(slot, mark)), batch);
                }
            }
            Message::Listed(slots, part) => {
                for slot in slots {
                    self.with(node, slot, batch, |custody, _, effects| {
                        custody.listed(from, part, effects);
                    });
                }
            }
            Message::Sees(phase, members) => {
                self.member(node, Input::Said(from.clone(), phase, members));
            }
            other => panic!("nobody says {other:?} here"),
        }
    }

    /// Sends a message to a peer, if it is known.
    pub(super) fn send(&mut self, node: usize, to: &RelayId, message: &Message) {
        let now = self.now_of(node).moment;
        let (kind, body) = message.encode();
        let Some(peer) = self.life(node).peers.get_mut(to) else { return };
        if peer.link.push(kind, &body).is_err() {
            peer.link.reset(now);
            peer.is_reset = true;
        }
        if !peer.is_driven {
            peer.is_driven = true;
            self.soon(node, Event::Drive(to.clone()));
        }
    }
}
