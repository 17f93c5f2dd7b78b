//! Relay shards of a life: what `node/src/relay` does with the same machines.

use std::collections::VecDeque;
use std::sync::Arc;

use proto::channel::{Command, Delivery, Joined, Part, Recovery, Resync, Role};
use proto::cluster::message::{Ask, Message};
use proto::cluster::slot::Slot;
use proto::relay::{Changes, Verdict};
use proto::{ChannelKey, RelayId, SocketId};

use super::checker::mark_of;
use super::client::DEADLINE;
use super::node::{Asking, Life, Replier, SHARDS, Then, ToShard};
use super::serve::Batch;
use super::world::{Event, Mutation, World};

impl World {
    /// Gives a delivery to the shards that it concerns, if it comes from the owner they listen to.
    pub(super) fn relay(
        &mut self,
        node: usize,
        from: &RelayId,
        key: &ChannelKey,
        mut delivery: Delivery,
    ) {
        let is_fenced = self.mutation != Some(Mutation::DropFence);
        let owner = self.life(node).owners.get(&Slot::of(key)).copied();
        if is_fenced && owner.is_some_and(|owner| owner != from.incarnation) {
            return;
        }
        if let (false, Delivery::Resumed(resumed)) = (is_fenced, &mut delivery) {
            Arc::make_mut(resumed).is_diverged = false;
        }
        if let Delivery::Welcome { joined, .. } = &delivery {
            let shard = Life::shard_of(joined.socket);
            return self.put_to_shard(node, shard, ToShard::Deliver(key.clone(), delivery));
        }
        for shard in 0..SHARDS as usize {
            if self.life(node).shards[shard].locals.contains_key(key) {
                self.put_to_shard(node, shard, ToShard::Deliver(key.clone(), delivery.clone()));
            }
        }
    }

    pub(super) fn put_to_shard(&mut self, node: usize, shard: usize, message: ToShard) {
        let known = &mut self.life(node).shards[shard];
        known.queue.push_back(message);
        if !std::mem::replace(&mut known.is_awake, true) {
            self.soon(node, Event::Shard(shard));
        }
    }

    pub(super) fn run_shard(&mut self, node: usize, shard: usize) {
        let known = &mut self.life(node).shards[shard];
        known.is_awake = false;
        let batch: VecDeque<ToShard> = std::mem::take(&mut known.queue);
        for message in batch {
            if self.places[node].life.is_some() {
                self.shard_does(node, shard, message);
            }
        }
    }

    fn shard_does(&mut self, node: usize, shard: usize, message: ToShard) {
        let me = self.life(node).me.clone();
        match message {
            ToShard::Join(key, joined, tag) => {
                let known = &mut self.life(node).shards[shard];
                let Some(keys) = known.sockets.get_mut(&joined.socket) else { return };
                if !keys.contains(&key) {
                    keys.push(key.clone());
                }
                known.locals.entry(key.clone()).or_default().join(joined.clone());
                let client = usize::try_from(tag >> 32).unwrap();
                let then = Then::Join(client, key.clone(), joined.clone());
                self.ask_channel(node, key, Command::Join { relay: me, joined }, then);
            }
            ToShard::Refused(key, joined) => {
                let socket = joined.socket;
                if let Some(local) = self.life(node).shards[shard].locals.get_mut(&key) {
                    local.refuse(&joined);
                    self.forget_if_unused(node, shard, &key, socket);
                    let command = Command::Unsubscribe { relay: me, socket };
                    self.send_once(node, key, command);
                }
            }
            ToShard::Unsubscribe(key, socket, tag) => {
                if let Some(local) = self.life(node).shards[shard].locals.get_mut(&key) {
                    local.unsubscribe(socket);
                    self.forget_if_unused(node, shard, &key, socket);
                }
                let then = Then::Unsubscribe(usize::try_from(tag >> 32).unwrap(), key.clone());
                self.ask_channel(node, key, Command::Unsubscribe { relay: me, socket }, then);
            }
            ToShard::Detach(socket) => {
                let known = &mut self.life(node).shards[shard];
                for key in known.sockets.remove(&socket).unwrap_or_default() {
                    let known = &mut self.life(node).shards[shard];
                    if let Some(local) = known.locals.get_mut(&key) {
                        local.leave(socket);
                        self.forget_if_unused(node, shard, &key, socket);
                    }
                    let command = Command::Leave { relay: me.clone(), socket };
                    self.ask_channel(node, key, command, Then::Nobody);
                }
            }
            ToShard::Deliver(key, delivery) => self.shard_delivers(node, shard, &key, delivery),
            ToShard::Gather(slots, to, task) => {
                self.shard_lists(node, shard, &slots, &to);
                self.shard_gathered(node, task);
            }
        }
    }

    fn ask_channel(&mut self, node: usize, key: ChannelKey, command: Command, then: Then) {
        let (slot, ack) = (Slot::of(&key), None);
        let ask = Ask::Channel { key, command, ack };
        let deadline = self.now + DEADLINE;
        self.ask(node, Asking { slot, ask, is_repeatable: true, deadline, then });
    }

    fn send_once(&mut self, node: usize, key: ChannelKey, command: Command) {
        let slot = Slot::of(&key);
        // Nobody waits under this number.
        let number = self.life(node).number();
        let ask = Ask::Channel { key, command, ack: None };
        self.route_ask(node, slot, ask, Replier::Here(number));
    }

    fn forget_if_unused(&mut self, node: usize, shard: usize, key: &ChannelKey, socket: SocketId) {
        let known = &mut self.life(node).shards[shard];
        let Some(local) = known.locals.get(key) else { return };
        let (has, is_unused) = (local.has(socket), local.is_unused());
        if !has && let Some(keys) = known.sockets.get_mut(&socket) {
            keys.retain(|known| known != key);
        }
        if is_unused {
            known.locals.remove(key);
        }
    }

    fn shard_lists(&mut self, node: usize, shard: usize, slots: &[Slot], to: &RelayId) {
        let now = self.now_of(node).moment;
        let me = self.life(node).me.clone();
        let part = Part { index: u32::try_from(shard).unwrap(), of: SHARDS };
        let locals = &self.life(node).shards[shard].locals;
        let listed: Vec<(ChannelKey, Resync)> = locals
            .iter()
            .filter(|(key, _)| slots.contains(&Slot::of(key)))
            .map(|(key, local)| (key.clone(), local.resync(me.clone(), part, now)))
            .collect();
        let forgets = self.mutation == Some(Mutation::ForgetRelay) && shard == 1;
        let mut batch = Batch::default();
        for (key, resync) in listed.into_iter().filter(|_| !forgets) {
            if *to == me {
                self.with(node, Slot::of(&key), &mut batch, |custody, now, effects| {
                    custody.resync(key, resync, now, effects);
                });
            } else {
                self.send(node, to, &Message::Resync(key, resync));
            }
        }
        if *to == me {
            for &slot in slots {
                self.with(node, slot, &mut batch, |custody, _, effects| {
                    custody.listed(&me, part, effects);
                });
            }
        } else {
            self.send(node, to, &Message::Listed(slots.to_vec(), part));
        }
        self.finish(node, batch);
    }

    fn shard_delivers(&mut self, node: usize, shard: usize, key: &ChannelKey, delivery: Delivery) {
        let me = self.life(node).me.clone();
        if let Delivery::Welcome { joined, welcome } = &delivery {
            return self.welcome(node, (shard, key), joined, welcome);
        }
        let Some(local) = self.life(node).shards[shard].locals.get_mut(key) else { return };
        let all: Vec<SocketId> = local.subscribers().map(|(socket, _)| *socket).collect();
        match delivery {
            Delivery::Published(publication) => match local.publish(&publication) {
                Verdict::Deliver => {
                    let place = publication.position.offset;
                    let audience: Vec<SocketId> =
                        local.audience(place).map(|(socket, _)| *socket).collect();
                    self.note(|| {
                        let (mark, at) = (mark_of(&publication), publication.position);
                        format!("node {node} delivers {mark:?} at {at:?} to {audience:?}")
                    });
                    for socket in audience {
                        self.client_gets(socket, |world, connection| {
                            world.checker.received(connection, key, &publication);
                        });
                        if let Some(client) = self.client_of(socket) {
                            self.had(client, key, publication.position);
                        }
                    }
                }
                Verdict::Hole => {
                    let last = local.last();
                    self.send_once(node, key.clone(), Command::Resume { relay: me, last });
                }
                Verdict::Repeat | Verdict::Waiting => {}
            },
            Delivery::MemberAdded { member, except } => {
                if local.member_added(&member) {
                    let others = all.into_iter().filter(|&socket| socket != except).collect();
                    self.tell_members(key, others, member.user.as_str(), true);
                }
            }
            Delivery::MemberRemoved { user, .. } => {
                if local.member_removed(&user).is_some() {
                    self.tell_members(key, all, user.as_str(), false);
                }
            }
            Delivery::Resumed(resumed) => {
                let changes = local.resumed(&resumed);
                self.tell_changes(key, &all, &changes);
                if changes.is_gap {
                    self.close_for_gap((node, shard), key, all);
                }
            }
            Delivery::Welcome { .. }
            | Delivery::SubscriptionCount(_)
            | Delivery::Online(_)
            | Delivery::Terminate
            | Delivery::Notified(_) => {}
        }
    }

    fn welcome(
        &mut self,
        node: usize,
        (shard, key): (usize, &ChannelKey),
        joined: &Joined,
        welcome: &Arc<proto::channel::Welcome>,
    ) {
        let socket = joined.socket;
        let me = self.life(node).me.clone();
        let known = &mut self.life(node).shards[shard];
        if !known.sockets.contains_key(&socket) {
            let command = Command::Leave { relay: me, socket };
            return self.ask_channel(node, key.clone(), command, Then::Nobody);
        }
        let local = known.locals.get_mut(key);
        let is_known = local.as_ref().is_some_and(|local| local.has(socket));
        let others: Vec<SocketId> =
            local.iter().flat_map(|local| local.subscribers()).map(|(socket, _)| *socket).collect();
        let Some(changes) = local.and_then(|local| local.welcome(joined, welcome, socket)) else {
            if !is_known {
                self.send_once(node, key.clone(), Command::Leave { relay: me, socket });
            }
            return;
        };
        self.tell_changes(key, &others, &changes);
        if changes.is_gap {
            self.close_for_gap((node, shard), key, others);
        }
        assert!(matches!(joined.role, Role::Subscriber(_)));
        let Some(client) = self.client_of(socket) else { return };
        let is_wanted = self.is_wanted(client, key);
        self.note(|| {
            let (channel, since, at) = (&key.channel, joined.since, welcome.position);
            let recovery = welcome.recovery.as_ref().map(|recovery| match recovery {
                Recovery::Whole(missed) => format!("{} missed", missed.len()),
                Recovery::Gap => "a gap".to_owned(),
            });
            format!(
                "{client} is welcomed in {channel} at {at:?}, wanted={is_wanted}, since {since:?}: \
                 {recovery:?}"
            )
        });
        if is_wanted {
            self.welcomed(client, key, joined, welcome);
            for member in changes.unlisted {
                self.tell_members(key, vec![socket], member.user.as_str(), true);
            }
        }
    }

    /// Their sessions close them a while later; until then they get nothing more of the channel.
    fn close_for_gap(
        &mut self,
        (node, shard): (usize, usize),
        key: &ChannelKey,
        sockets: Vec<SocketId>,
    ) {
        self.checker.gaps += 1;
        self.note(|| format!("node {node} closes {sockets:?}: a gap in {key:?}"));
        for socket in sockets {
            let is_cut_off = self.mutation != Some(Mutation::DeliverAfterGap);
            let locals = &mut self.life(node).shards[shard].locals;
            if let Some(local) = locals.get_mut(key).filter(|_| is_cut_off) {
                local.unsubscribe(socket);
            }
            self.soon(node, Event::Close(socket));
        }
    }

    fn client_gets(&mut self, socket: SocketId, then: impl FnOnce(&mut Self, u64)) {
        let client = self.client_of(socket);
        let live = client.and_then(|client| self.clients[client].live.as_ref());
        if let Some(connection) = live.map(|live| live.connection) {
            then(self, connection);
        }
    }

    fn tell_changes(&mut self, key: &ChannelKey, to: &[SocketId], changes: &Changes) {
        for member in &changes.removed {
            self.tell_members(key, to.to_vec(), member.user.as_str(), false);
        }
        for member in &changes.added {
            self.tell_members(key, to.to_vec(), member.user.as_str(), true);
        }
    }

    fn tell_members(&mut self, key: &ChannelKey, to: Vec<SocketId>, user: &str, is_added: bool) {
        for socket in to {
            self.client_gets(socket, |world, connection| {
                world.checker.member(connection, key, user, is_added);
            });
        }
    }
}
