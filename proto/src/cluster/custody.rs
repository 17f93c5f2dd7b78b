//! One slot on one node: who serves it, the channels in it, what is kept of it for others, and what
//! waits while it changes hands.
//!
//! Whoever runs it carries the [`Effect`]s out in their order: the node (`node/src/channels.rs`), with
//! an actor for each channel, and the simulation (`proto/tests/simulation`). `C` is how a running
//! channel is reached, `R` a question that came, `W` whoever waits until a second node holds something.
//! None of them is looked into here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::channel::{Channel, Command, Part, Resync};
use crate::idempotency::Idempotency;
use crate::name::{ChannelKey, RelayId};
use crate::position::Epoch;
use crate::time::Now;

use super::message::{Ack, Message};
use super::ownership::{self, Input, Ownership, Phase};
use super::quorum::Quorum;
use super::replication::{Replica, Replication};
use super::slot::Slot;
use super::takeover::{Estate, Listing, Takeover};
use super::view::View;

mod copies;
mod dispatch;
mod kept;
mod serve;

pub use copies::Change;
pub use dispatch::{Admission, Dispatch};

use kept::Kept;

/// Questions that wait for one slot at most while it changes hands.
const HELD_MAX: usize = 4_096;

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Effect<R, W> {
    /// Send a message to another node.
    Send(RelayId, Message),
    /// Answer a claim: stop the channels first if they are served here ([`Custody::stop`],
    /// [`Custody::stopped`]), then let the relay say what it has ([`Custody::may_gather`]), and then
    /// [`Custody::answer`]. The claimant may be this node.
    Gather {
        /// The claimant.
        to: RelayId,
        /// Which answer it is.
        turn: u64,
        /// Whether the channels are served here.
        is_serving: bool,
    },
    /// Start a channel and give it to [`Custody::started`].
    Start(Box<Start>),
    /// Give a running channel a command.
    Command(ChannelKey, Command),
    /// A running channel is to say its whole state ([`Custody::changed`]).
    Seed(ChannelKey),
    /// A channel that had failed is gone.
    Drop(ChannelKey),
    /// Deal with a question that has waited.
    Handle(R),
    /// A question that has waited has to go to another node.
    Return(R),
    /// Whoever waited for a second node has waited; this level was reached. [`Ack::Accepted`] says that
    /// what it is about may be lost.
    Finish(W, Ack),
}

/// A channel that goes on here.
#[derive(Debug)]
pub struct Start {
    /// Which.
    pub key: ChannelKey,
    /// The channel; none if its relays alone know of it, and it begins with this epoch.
    pub machine: Option<Channel>,
    /// Its epoch.
    pub epoch: Epoch,
    /// What it is told before anything else.
    pub first: Vec<Command>,
    /// Whether it takes the place of one that failed here.
    pub is_restart: bool,
    /// Whether its last owner handed it over, so that its epoch goes on.
    pub is_handed_over: bool,
}

/// A channel that is served here.
#[derive(Debug)]
struct Entry<C> {
    epoch: Epoch,
    channel: Running<C>,
    /// The generation of replication under which its whole state was sent.
    seeded: u64,
}

#[derive(Debug)]
enum Running<C> {
    Yes(C),
    /// [`Effect::Start`] is being carried out.
    Starting,
    /// It failed, and what other nodes have of it is being gathered, or it failed too often.
    Failed,
}

/// The machine.
#[derive(Debug)]
pub struct Custody<C, R, W> {
    slot: Slot,
    me: RelayId,
    ownership: Ownership,
    channels: BTreeMap<ChannelKey, Entry<C>>,
    idempotency: Idempotency,
    /// Questions that came while the slot changes hands, in their order.
    held: VecDeque<R>,
    /// What was gathered so far by a node that is about to serve.
    takeover: Takeover,
    listing: Listing,
    replication: Replication<W>,
    /// Those who wait for a change of a channel that was stopped meanwhile: its next owner has it.
    leaving: Vec<W>,
    /// A copy of what another node serves.
    replica: Option<Replica>,
    /// What this node itself served, or was handed and never served.
    kept: Option<Kept>,
    /// Nodes that keep what they had of the slot until it is held by two nodes again.
    keepers: BTreeSet<RelayId>,
}

type Effects<R, W> = Vec<Effect<R, W>>;

impl<C, R, W> Custody<C, R, W> {
    /// A slot that another node serves, or nobody. With a quorum only a majority serves it.
    #[must_use]
    pub fn new(slot: Slot, me: RelayId, quorum: Option<Quorum>) -> Self {
        Self {
            slot,
            ownership: Ownership::new(slot, me.clone(), quorum),
            me,
            channels: BTreeMap::new(),
            idempotency: Idempotency::default(),
            held: VecDeque::new(),
            takeover: Takeover::default(),
            listing: Listing::default(),
            replication: Replication::default(),
            leaving: Vec::new(),
            replica: None,
            kept: None,
            keepers: BTreeSet::new(),
        }
    }

    /// What this node is to the slot.
    #[must_use]
    pub const fn phase(&self) -> &Phase {
        self.ownership.phase()
    }

    /// Whether this node serves the slot.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        *self.phase() == Phase::Serving
    }

    /// Whether this node keeps what it served until others have it.
    #[must_use]
    pub const fn is_keeping(&self) -> bool {
        self.kept.is_some()
    }

    /// Whether something waits for time to pass: see [`Custody::tick`].
    #[must_use]
    pub fn needs_tick(&self) -> bool {
        let is_refused = self.is_serving() && self.replication.is_refused();
        is_refused || matches!(self.phase(), Phase::Taking { .. })
    }

    /// Takes a new view over. `gone` are members that are in it no longer.
    pub fn see(
        &mut self,
        view: &Arc<View>,
        gone: &[RelayId],
        now: Now,
        effects: &mut Effects<R, W>,
    ) {
        gone.iter().for_each(|relay| self.listing.forget(relay));
        self.own(Input::View(view), now, effects);
        if !self.is_serving() || *view.owner(self.slot) != self.me {
            return;
        }
        for relay in gone {
            let lost = Command::RelayLost { relay: relay.clone() };
            self.tell_each(|_| true, &lost, effects);
        }
        let successor = view.successor(self.slot).cloned();
        if self.replication.successor() != successor.as_ref() {
            self.aim(successor, now, effects);
        }
    }

    /// What was on its way to a peer may be lost.
    pub fn reset(&mut self, peer: &RelayId, now: Now, effects: &mut Effects<R, W>) {
        self.own(Input::Reset(peer), now, effects);
        self.aim_again(peer, now, effects);
    }

    /// What was on its way from a peer may be lost. To be called before what comes after the loss.
    pub fn restarted(&mut self, peer: &RelayId, now: Now, effects: &mut Effects<R, W>) {
        self.listing.forget(peer);
        self.own(Input::Restarted(peer), now, effects);
        self.aim_again(peer, now, effects);
    }

    /// More than half of the nodes have heard this one a moment ago, or have not any more.
    pub fn lease(&mut self, has_lease: bool, now: Now, effects: &mut Effects<R, W>) {
        self.own(Input::Lease(has_lease), now, effects);
    }

    /// Does what waits for time to pass.
    pub fn tick(&mut self, now: Now, effects: &mut Effects<R, W>) {
        self.own(Input::Tick, now, effects);
        if self.replication.is_refused() && self.is_serving() {
            let successor = self.replication.successor().cloned();
            self.aim(successor, now, effects);
        }
    }

    /// Takes in what another node says about the slot.
    pub fn receive(
        &mut self,
        from: &RelayId,
        message: Message,
        now: Now,
        effects: &mut Effects<R, W>,
    ) {
        match message {
            Message::Claim(_) => self.own(Input::Claimed(from.clone()), now, effects),
            Message::Withdraw(_) => self.own(Input::Withdrawn(from), now, effects),
            Message::Resync(key, resync) => self.resync(key, resync, now, effects),
            Message::Yield(_, then, mut estate) => {
                estate.rebase(then, now.moment);
                self.inherit(from, *estate, now, effects);
            }
            Message::Yielded(_) => self.yielded(from, now, effects),
            Message::Taken(_) => self.taken(from, effects),
            Message::Settled(_) => self.settled(from, effects),
            Message::Replicate(_, mark, then, record) => {
                let is_kept = self.keep((from, mark), *record, (then, now.moment));
                let answer = if is_kept { Message::Replicated } else { Message::NotOwner };
                effects.push(Effect::Send(from.clone(), answer(self.slot, mark)));
            }
            Message::Replicated(_, mark) => self.confirmed(from, mark, effects),
            Message::NotOwner(_, mark) => drop(self.replication.refuse(from, mark)),
            // All others are about no slot.
            _ => {}
        }
    }

    /// A part of a relay says that it has said all it has.
    pub fn listed(&mut self, from: &RelayId, part: Part, effects: &mut Effects<R, W>) {
        let spoken_of = self.listing.ended(from, part);
        match self.phase() {
            Phase::Taking { .. } => self.takeover.listed(from.clone(), part),
            Phase::Serving => {
                let silent = self.channels.keys().filter(|key| !spoken_of.contains(*key));
                effects.extend(silent.map(|key| {
                    let nothing = Resync::nothing(from.clone(), part);
                    Effect::Command(key.clone(), Command::Resync(vec![nothing]))
                }));
            }
            Phase::Elsewhere | Phase::Ceding { .. } => {}
        }
    }

    /// A relay says what it has of a channel.
    pub fn resync(
        &mut self,
        key: ChannelKey,
        resync: Resync,
        now: Now,
        effects: &mut Effects<R, W>,
    ) {
        self.listing.heard(&resync.relay, resync.part, &key);
        match self.phase() {
            Phase::Taking { .. } => self.takeover.add_resync(key, resync),
            Phase::Serving => self.adopt_resync(key, resync, now, effects),
            // The slot had gone on, and its next owner is told.
            Phase::Elsewhere | Phase::Ceding { .. } => {}
        }
    }

    /// A member has said all it has. If the slot is served already, that was a member which could
    /// not say so earlier.
    fn yielded(&mut self, by: &RelayId, now: Now, effects: &mut Effects<R, W>) {
        let was_serving = self.is_serving();
        self.own(Input::Yielded(by), now, effects);
        if was_serving {
            self.settle(effects);
        }
    }

    /// Stops all channels that are served here: their states, when they have ended, are given to
    /// [`Custody::stopped`]. None stands for one that had failed.
    pub fn stop(&mut self) -> Vec<(ChannelKey, Option<C>)> {
        let entries = std::mem::take(&mut self.channels).into_iter();
        let running = |channel| match channel {
            Running::Yes(channel) => Some(channel),
            Running::Starting | Running::Failed => None,
        };
        entries.map(|(key, entry)| (key, running(entry.channel))).collect()
    }

    /// The channels that were served here have ended in these states. Who waits for a change is
    /// answered from here when the next owner has it, if `is_answered_here`; the others it sees to.
    pub fn stopped(
        &mut self,
        channels: Vec<(ChannelKey, Channel)>,
        is_answered_here: impl Fn(&W) -> bool,
    ) {
        // The state has what they wait for; what the former successor confirms says nothing any more.
        self.leaving.extend(self.replication.give_up().into_iter().filter(is_answered_here));
        let idempotency = std::mem::take(&mut self.idempotency);
        self.keep_primary(Estate { is_primary: true, channels, idempotency });
    }

    /// Whether a claim is still to be answered. Then the relay is to listen to nobody but the claimant
    /// from now on, and to say what it has.
    #[must_use]
    pub fn may_gather(&self, to: &RelayId, turn: u64) -> bool {
        let is_mine = self.ownership.owner() == Some(&self.me);
        if *to == self.me { is_mine } else { self.ownership.is_answering(to, turn) }
    }

    /// The relay has said what it has: the claimant gets what is held here, unless it has taken its
    /// claim back or this node's view has changed.
    pub fn answer(&mut self, to: &RelayId, turn: u64, now: Now, effects: &mut Effects<R, W>) {
        if *to == self.me {
            self.own(Input::Yielded(to), now, effects);
            return self.own(Input::Gathered(to, turn), now, effects);
        }
        if !self.ownership.is_answering(to, turn) {
            return self.decline(to, turn, now, effects);
        }
        self.bequeath(to, now.moment, effects);
        effects.push(Effect::Send(to.clone(), Message::Yielded(self.slot)));
        self.own(Input::Gathered(to, turn), now, effects);
    }

    /// A claim that did not hold any more when the relay was to be asked is kept for another view.
    pub fn decline(&mut self, to: &RelayId, turn: u64, now: Now, effects: &mut Effects<R, W>) {
        self.own(Input::Unanswered(to, turn), now, effects);
    }

    /// Applies the machine of ownership and takes its effects over.
    fn own(&mut self, input: Input<'_>, now: Now, effects: &mut Effects<R, W>) {
        let mut steps = Vec::new();
        self.ownership.apply(input, now.moment, &mut steps);
        for step in steps {
            match step {
                ownership::Effect::Claim(to) if to == self.me => {
                    effects.push(Effect::Gather { to, turn: 0, is_serving: false });
                }
                ownership::Effect::Claim(to) => {
                    effects.push(Effect::Send(to, Message::Claim(self.slot)));
                }
                ownership::Effect::Withdraw(to) => {
                    effects.push(Effect::Send(to, Message::Withdraw(self.slot)));
                }
                ownership::Effect::Gather { to, turn, is_serving } => {
                    effects.push(Effect::Gather { to, turn, is_serving });
                }
                ownership::Effect::Serve => self.serve(now, effects),
                ownership::Effect::Release => self.release(effects),
            }
        }
    }

    /// Gives everything that was meant for an owner back.
    fn release(&mut self, effects: &mut Effects<R, W>) {
        self.takeover = Takeover::default();
        self.listing = Listing::default();
        effects.extend(std::mem::take(&mut self.held).into_iter().map(Effect::Return));
    }

    /// Gives these channels a command.
    pub fn tell_each(
        &self,
        is_told: impl Fn(&ChannelKey) -> bool,
        command: &Command,
        effects: &mut Effects<R, W>,
    ) {
        let keys = self.channels.keys().filter(|key| is_told(key));
        effects.extend(keys.map(|key| Effect::Command(key.clone(), command.clone())));
    }

    fn is_in_view(&self, node: &RelayId) -> bool {
        self.ownership.present_view().is_some_and(|view| view.has(node))
    }
}
