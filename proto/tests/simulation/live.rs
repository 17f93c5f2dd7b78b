//! What happens to a life of a node: its beginning and its end, time, gossip, and who its cluster is.
//! It is what `node/src/cluster` does with the same machines.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::cluster::custody::Custody;
use proto::cluster::membership::{Effect, Input, Membership, Seen};
use proto::cluster::message::{Answer, Message};
use proto::cluster::ownership::Phase as Hold;
use proto::cluster::view::Phase;
use proto::{Moment, RelayId};

use super::network::Heard;
use super::node::{Life, SHARDS, Shard, Then};
use super::world::{Event, World};

const TICK: Duration = Duration::from_millis(20);
const GOSSIP: Duration = Duration::from_millis(200);
/// How long gossip may be silent about a node that lives.
const LIVE_FOR: Duration = Duration::from_millis(1_400);
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
const BOOTSTRAP_AFTER: Duration = Duration::from_secs(1);
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

    pub(super) fn tick(&mut self, node: usize) {
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
    pub(super) fn is_out(&self, node: usize) -> bool {
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
    pub(super) fn drain(&mut self, node: usize) {
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

    pub(super) fn sees(&mut self, node: usize) -> Message {
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
