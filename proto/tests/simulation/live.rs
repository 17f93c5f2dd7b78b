//! What happens to a life of a node: time, gossip, connections, frames, questions and answers. It is
//! what `node/src/cluster` and `node/src/router.rs` do with the same machines.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::channel::{Delivery, Reply};
use proto::cluster::custody::{Admission, Custody};
use proto::cluster::link::{BACKLOG_BYTES_MAX, Health, Link};
use proto::cluster::membership::{Effect, Input, Membership, Seen};
use proto::cluster::message::{Ack, Answer, Ask, Message};
use proto::cluster::ownership::Phase as Hold;
use proto::cluster::replication::Record;
use proto::cluster::slot::Slot;
use proto::cluster::view::Phase;
use proto::{Moment, RelayId};
use std::sync::Arc;

use super::network::Heard;
use super::node::{Asking, Life, Peer, Replier, Request, SHARDS, Shard, Then, ToShard};
use super::serve::Batch;
use super::world::{Event, To, World};

const TICK: Duration = Duration::from_millis(20);
const GOSSIP: Duration = Duration::from_millis(200);
/// How long gossip may be silent about a node that lives.
const LIVE_FOR: Duration = Duration::from_millis(1_400);
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
const BOOTSTRAP_AFTER: Duration = Duration::from_secs(1);
const CONTROL: usize = 0;
const DATA: usize = 1;
/// A process that was stopped for so long begins anew.
pub(super) const PAUSE_MAX: Duration = Duration::from_millis(1_500);

impl World {
    /// Starts a node in a new life.
    pub(super) fn start(&mut self, node: usize) {
        let incarnation = self.now.micros() << 4 | node as u64;
        let me = RelayId { node: self.places[node].id.clone(), incarnation };
        let now = self.now_of(node).moment;
        let custody = self
            .slots()
            .into_iter()
            .map(|slot| (slot, Custody::new(slot, me.clone(), self.quorum)));
        self.places[node].life = Some(Life {
            membership: Membership::new(me.clone(), (BOOTSTRAP_AFTER, self.quorum), now),
            members: Vec::new(),
            view: None,
            peers: BTreeMap::new(),
            custody: custody.collect(),
            owners: BTreeMap::new(),
            actors: BTreeMap::new(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            askings: BTreeMap::new(),
            tasks: BTreeMap::new(),
            webhooks: std::collections::VecDeque::new(),
            is_draining: false,
            lease_ends: Moment::default(),
            has_lease: false,
            ticks: 0,
            numbers: 0,
            me,
        });
        self.network.gossip.insert(node, BTreeMap::new());
        self.note(|| format!("node {node} starts"));
        self.soon(node, Event::Gossip);
        self.soon(node, Event::Tick);
    }

    /// Ends a life of a node at once: everything in it is gone.
    pub(super) fn crash(&mut self, node: usize) {
        let Some(life) = self.places[node].life.take() else { return };
        self.note(|| format!("node {node} is gone"));
        self.places[node].paused = None;
        self.places[node].deferred.clear();
        let sessions: Vec<u64> = life.peers.values().filter_map(|peer| peer.session).collect();
        for session in sessions {
            self.break_session(session, node);
        }
        self.hang_up_all(&life.me);
        for asking in life.askings.into_values() {
            if let Then::Publish(publisher, attempt) = asking.then {
                self.published(publisher, attempt, None);
            }
        }
    }

    /// Stops the process of a node.
    pub(super) fn pause(&mut self, node: usize) {
        self.places[node].paused = Some(self.now);
        self.note(|| format!("node {node} is stopped"));
    }

    /// Lets it go on; one that was stopped for long begins anew.
    pub(super) fn resume(&mut self, node: usize) {
        let Some(since) = self.places[node].paused.take() else { return };
        self.note(|| format!("node {node} goes on"));
        if self.now.since(since) > PAUSE_MAX {
            self.crash(node);
            return self.start(node);
        }
        for to in std::mem::take(&mut self.places[node].deferred) {
            self.after(Duration::ZERO, to);
        }
    }

    pub(super) fn live(&mut self, node: usize, event: Event) {
        match event {
            Event::Tick => self.tick(node),
            Event::Gossip => self.gossip(node),
            Event::Drive(peer) => self.drive(node, &peer),
            Event::Actor(actor) => self.run_actor(node, actor),
            Event::ActorTick(actor) => self.tick_actor(node, actor),
            Event::Close(socket) => self.close(socket),
            Event::Shard(shard) => self.run_shard(node, shard),
            Event::Task(task) => self.step_task(node, task),
            Event::Answer(asking, answer) => self.answered(node, asking, answer),
            Event::Again(asking) => self.ask_again(node, asking),
            Event::Deadline(asking) => {
                if let Some(asking) = self.life(node).askings.remove(&asking) {
                    self.conclude(node, asking.then, None);
                }
            }
            Event::Webhook => self.deliver_webhooks(node),
            Event::Down(peer, session) => self.down(node, &peer, session),
            Event::Dialled(peer) => self.dialled(node, &peer),
        }
    }

    fn tick(&mut self, node: usize) {
        self.life_after(node, TICK, Event::Tick);
        self.member(node, Input::Tick);
        self.renew_lease(node);
        let life = self.life(node);
        life.ticks += 1;
        let (ticks, peers): (u64, Vec<RelayId>) =
            (life.ticks, life.peers.keys().cloned().collect());
        for peer in peers {
            self.drive(node, &peer);
        }
        if ticks.is_multiple_of(5) {
            self.with_all(node, |custody, now, effects| {
                if custody.needs_tick() {
                    custody.tick(now, effects);
                }
            });
        }
        if self.life(node).is_draining {
            self.drain(node);
        }
    }

    /// Whether a node may serve nothing now: it has lost the majority.
    fn is_out(&self, node: usize) -> bool {
        let now = self.now_of(node).moment;
        let life = self.places[node].life.as_ref();
        self.quorum.is_some() && life.is_none_or(|life| life.lease_ends <= now)
    }

    fn renew_lease(&mut self, node: usize) {
        let Some(quorum) = self.quorum else { return };
        let life = self.life(node);
        let is_member = |id: &RelayId| life.members.iter().any(|member| member.id == *id);
        let peers = life.peers.iter().filter(|(id, _)| is_member(id));
        let proofs = peers.map(|(_, peer)| peer.link.proof()).collect();
        if let Some(ends) = quorum.lease_ends(proofs) {
            life.lease_ends = ends;
        }
        let has_lease = !self.is_out(node);
        let life = self.life(node);
        if std::mem::replace(&mut life.has_lease, has_lease) != has_lease {
            let me = life.me.clone();
            self.note(|| format!("node {node} has a lease: {has_lease}"));
            self.with_all(node, |custody, now, effects| custody.lease(has_lease, now, effects));
            if !has_lease {
                self.hang_up_all(&me);
            }
        }
        self.check_that_one_serves();
    }

    /// Where only a majority may serve, one node at most serves a slot at any time.
    fn check_that_one_serves(&mut self) {
        for slot in self.slots() {
            let serves = |node: &usize| {
                let life = self.places[*node].life.as_ref();
                !self.is_out(*node) && life.is_some_and(|life| life.custody[&slot].is_serving())
            };
            let serving: Vec<usize> = (0..self.places.len()).filter(serves).collect();
            if serving.len() > 1 {
                self.checker.wrong(format!("{slot:?} is served by the nodes {serving:?}"));
            }
        }
    }

    /// A draining node that has given everything away closes its connections and ends.
    fn drain(&mut self, node: usize) {
        let life = self.life(node);
        let is_alone = life.members.len() < 2;
        let is_done = |custody: &Custody<_, _, _>| {
            *custody.phase() == Hold::Elsewhere && !custody.is_keeping()
        };
        if is_alone || life.custody.values().all(is_done) {
            self.crash(node);
        }
    }

    fn gossip(&mut self, node: usize) {
        self.life_after(node, GOSSIP, Event::Gossip);
        let now = self.now;
        let life = self.places[node].life.as_ref().expect("it gossips");
        let address = ([127, 0, 0, 1], u16::try_from(node).unwrap()).into();
        let (id, phase) = (life.me.clone(), life.membership.phase());
        let suspects = life.membership.suspects();
        let seen = Seen { id: id.clone(), address, phase, is_live: true, suspects };
        let known = self.network.gossip.entry(node).or_default();
        let heartbeat = known.get(&id).map_or(1, |heard| heard.heartbeat + 1);
        let beats = 2;
        known.insert(id.clone(), Heard { heartbeat, beats, at: now, seen });
        known.retain(|_, heard| now.since(heard.at) < FORGOTTEN_AFTER);
        for _ in 0..3 {
            let other = self.draw.place(self.places.len());
            let place = &self.places[other];
            let is_there = other != node && place.life.is_some() && place.paused.is_none();
            if is_there && self.network.is_open_both_ways(node, other) {
                self.network.exchange(node, other, now);
            }
        }
        let others = self.network.gossip[&node].values().filter(|heard| heard.seen.id != id);
        let seen = others.map(|heard| {
            // One heartbeat says little: it may be an old one that others still pass on.
            let is_live = now.since(heard.at) < LIVE_FOR && heard.beats > 1;
            Seen { is_live, ..heard.seen.clone() }
        });
        let seen = seen.collect();
        self.member(node, Input::Gossip(seen));
    }

    /// Applies the machine of membership, and takes a new view over.
    pub(super) fn member(&mut self, node: usize, input: Input) {
        let (now, mut effects) = (self.now_of(node).moment, Vec::new());
        self.life(node).membership.apply(input, now, &mut effects);
        for effect in effects {
            match effect {
                Effect::Dial(peer, _) => self.dial(node, &peer),
                Effect::Superseded => {
                    let id = self.life(node).me.clone();
                    self.checker.wrong(format!("{id:?} was superseded while it lived"));
                }
            }
        }
        let members = self.life(node).membership.members();
        if members == self.life(node).members {
            return;
        }
        let view = self.view_of(&members);
        let life = self.life(node);
        let before = std::mem::replace(&mut life.members, members);
        let is_gone = |id: &RelayId| !life.members.iter().any(|member| member.id == *id);
        let gone: Vec<RelayId> =
            before.into_iter().map(|member| member.id).filter(|id| is_gone(id)).collect();
        life.view.clone_from(&view);
        let phase = |member: &proto::cluster::view::Member| {
            format!("{}:{:?}", member.id.node, member.phase)
        };
        let names: Vec<String> = life.members.iter().map(phase).collect();
        self.note(|| format!("node {node} sees {names:?}"));
        self.say_what_it_sees(node);
        for id in &gone {
            self.remove_peer(node, id);
        }
        if let Some(view) = view {
            self.with_all(node, |custody, now, effects| custody.see(&view, &gone, now, effects));
        }
    }

    /// Tells all peers how far this node has come and whom it sees.
    fn say_what_it_sees(&mut self, node: usize) {
        let peers: Vec<RelayId> = self.life(node).peers.keys().cloned().collect();
        let sees = self.sees(node);
        peers.iter().for_each(|peer| self.send(node, peer, &sees));
    }

    fn sees(&mut self, node: usize) -> Message {
        let life = self.life(node);
        let members = life.members.iter().map(|member| member.id.clone());
        Message::Sees(life.membership.phase(), members.collect())
    }

    fn remove_peer(&mut self, node: usize, id: &RelayId) {
        let Some(peer) = self.life(node).peers.remove(id) else { return };
        for replier in peer.asks.into_values() {
            self.reply(node, replier, Answer::Unavailable);
        }
        if let Some(session) = peer.session {
            self.break_session(session, node);
            self.life_after(node, Duration::ZERO, Event::Down(id.clone(), session));
        }
    }

    fn dial(&mut self, node: usize, peer: &RelayId) {
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

    fn dialled(&mut self, node: usize, peer: &RelayId) {
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

    fn down(&mut self, node: usize, id: &RelayId, session: u64) {
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
    fn drive(&mut self, node: usize, id: &RelayId) {
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

    fn receive(&mut self, node: usize, from: &RelayId, frame: &[u8]) {
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
                let (slot, replier) = (key_slot(key), Replier::Peer(from.clone(), number));
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

    /// Asks the owner of a slot, again and again until the deadline.
    pub(super) fn ask(&mut self, node: usize, asking: Asking) {
        let number = self.life(node).number();
        let due = asking.deadline;
        self.life(node).askings.insert(number, asking);
        self.deadline_of(node, number, due);
        self.ask_again(node, number);
    }

    fn ask_again(&mut self, node: usize, number: u64) {
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

    fn answered(&mut self, node: usize, number: u64, answer: Answer) {
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

    fn conclude(&mut self, node: usize, then: Then, outcome: Option<&(Reply, Ack)>) {
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

    /// Whether all nodes that live see the same members, all of them serving, and each slot is served
    /// by its owner alone.
    pub(super) fn is_settled(&self) -> bool {
        let lives: Vec<&Life> =
            self.places.iter().filter_map(|place| place.life.as_ref()).collect();
        let Some(first) = lives.first() else { return false };
        let linked = |life: &Life| life.peers.values().filter(|p| p.session.is_some()).count();
        let is_same = |life: &&Life| {
            let is_linked = linked(life) + 1 == life.members.len();
            life.members == first.members && life.view.is_some() && is_linked
        };
        let all_serve = first.members.iter().all(|member| member.phase == Phase::Serving);
        if !lives.iter().all(is_same) || !all_serve || first.members.len() != lives.len() {
            return false;
        }
        self.slots().into_iter().all(|slot| {
            let owner = first.view.as_ref().map(|view| view.owner(slot));
            lives.iter().all(|life| life.custody[&slot].is_serving() == (owner == Some(&life.me)))
        })
    }
}

fn key_slot(key: &proto::ChannelKey) -> Slot {
    Slot::of(key)
}
