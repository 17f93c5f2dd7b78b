//! Who serves a slot: the steps by which it passes from one node to another.
//!
//! A node that becomes the owner in its view **claims** the slot from every other member. A member
//! answers when its own view agrees: it ends its own service if it had any, says what its relay has,
//! and **yields** what it holds. When all have answered, or after [`TAKE_AT_MOST`], the claimant
//! serves. So in quiet times, in a planned move and after a crash the same steps are taken, and a
//! node that has yielded takes nothing more from an earlier owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::name::RelayId;
use crate::time::Moment;

use super::quorum::{LEASE_IS_OVER_AFTER, Quorum};
use super::slot::Slot;
use super::view::View;

/// How long a new owner waits for the others.
pub const TAKE_AT_MOST: Duration = Duration::from_secs(2);

/// What this node is to a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Another node serves it.
    Elsewhere,
    /// This node will serve it, once these have answered.
    Taking {
        /// Who has not answered.
        waiting: BTreeSet<RelayId>,
        /// Since when.
        since: Moment,
    },
    /// This node serves it.
    Serving,
    /// This node has stopped serving it and gathers its state for the next owner.
    Ceding {
        /// The next owner.
        to: RelayId,
        /// Which answer it is.
        turn: u64,
    },
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// This node has a new view.
    View(&'a Arc<View>),
    /// A node says that it owns the slot.
    Claimed(RelayId),
    /// A node that said so says it no longer.
    Withdrawn(&'a RelayId),
    /// A member has said all it has.
    Yielded(&'a RelayId),
    /// What [`Effect::Gather`] asked for in this turn is done, and the claimant has been told.
    Gathered(&'a RelayId, u64),
    /// It is done, but the claim does not hold any more: the claimant has not been told.
    Unanswered(&'a RelayId, u64),
    /// What was on its way to a member may be lost.
    Reset(&'a RelayId),
    /// What was on its way from a member may be lost; it will say its claims again.
    Restarted(&'a RelayId),
    /// More than half of the nodes have heard this one a moment ago, or have not any more.
    Lease(bool),
    /// A channel of the slot has failed: what is known of it elsewhere is needed again.
    Retake,
    /// Time has passed.
    Tick,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Claim the slot from this member, which may be this node: its relay has something to say too.
    Claim(RelayId),
    /// Take back the claim that this member has not answered.
    Withdraw(RelayId),
    /// Say to the claimant what the relay has and what is held, and stop the channels first if they
    /// are served here; then apply [`Input::Gathered`].
    Gather {
        /// The claimant.
        to: RelayId,
        /// Which answer it is.
        turn: u64,
        /// Whether the channels are served here.
        is_serving: bool,
    },
    /// Begin to serve, with what was gathered.
    Serve,
    /// The slot is another node's: what waits here has to go there.
    Release,
}

/// The machine of one slot on one node.
#[derive(Clone, Debug)]
pub struct Ownership {
    slot: Slot,
    me: RelayId,
    phase: Phase,
    /// Members that were asked for what they have and are still there, and whether they answered.
    asked: BTreeMap<RelayId, bool>,
    /// Members that have said all they had since this node began to take the slot.
    heard: BTreeSet<RelayId>,
    /// Claims that this node's view does not agree with yet.
    early: BTreeSet<RelayId>,
    /// Claims that are being answered, and in which turn: an earlier one is void.
    answering: BTreeMap<RelayId, u64>,
    /// Answers begun so far.
    turns: u64,
    view: Option<Arc<View>>,
    /// How many nodes there are, if only a majority may serve.
    quorum: Option<Quorum>,
    has_lease: bool,
    /// When a majority had agreed that this node takes the slot.
    agreed_at: Option<Moment>,
}

impl Ownership {
    /// A slot that another node serves, or nobody. With a quorum only a majority serves it.
    #[must_use]
    pub const fn new(slot: Slot, me: RelayId, quorum: Option<Quorum>) -> Self {
        Self {
            slot,
            me,
            phase: Phase::Elsewhere,
            asked: BTreeMap::new(),
            heard: BTreeSet::new(),
            early: BTreeSet::new(),
            answering: BTreeMap::new(),
            turns: 0,
            view: None,
            quorum,
            has_lease: false,
            agreed_at: None,
        }
    }

    /// What this node is to the slot.
    #[must_use]
    pub const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The view of this node; none before it has one.
    #[must_use]
    pub const fn present_view(&self) -> Option<&Arc<View>> {
        self.view.as_ref()
    }

    /// The owner in this node's view.
    #[must_use]
    pub fn owner(&self) -> Option<&RelayId> {
        self.view.as_ref().map(|view| view.owner(self.slot))
    }

    /// Whether a member has said all it had since this node began to take the slot.
    #[must_use]
    pub fn has_heard(&self, member: &RelayId) -> bool {
        self.heard.contains(member)
    }

    /// Whether a claim is being answered in this turn, was not taken back, and agrees with the view.
    #[must_use]
    pub fn is_answering(&self, claimant: &RelayId, turn: u64) -> bool {
        self.answering.get(claimant) == Some(&turn) && self.owner() == Some(claimant)
    }

    /// Takes in what happened.
    pub fn apply(&mut self, input: Input<'_>, now: Moment, effects: &mut Vec<Effect>) {
        match input {
            Input::View(view) => self.see(view, effects),
            Input::Claimed(by) => self.claimed(by, effects),
            Input::Yielded(by) => self.yielded(by, now),
            Input::Lease(has_lease) => self.lease(has_lease, effects),
            Input::Withdrawn(by) => {
                self.early.remove(by);
                self.answering.remove(by);
            }
            Input::Gathered(by, turn) | Input::Unanswered(by, turn) => {
                let is_ceded = |to: &RelayId, ceding: u64| to == by && ceding == turn;
                if matches!(&self.phase, Phase::Ceding { to, turn } if is_ceded(to, *turn)) {
                    self.step_back(effects);
                }
                // One that was taken back meanwhile is over.
                let is_open = self.answering.get(by) == Some(&turn);
                if is_open {
                    self.answering.remove(by);
                }
                if is_open && *by != self.me && matches!(input, Input::Unanswered(..)) {
                    self.claimed(by.clone(), effects);
                }
            }
            Input::Reset(peer) => {
                self.answer_again(peer, effects);
                self.ask_again(peer, effects);
            }
            Input::Restarted(peer) => {
                self.early.remove(peer);
                self.answering.remove(peer);
                self.ask_again(peer, effects);
            }
            Input::Retake => {
                if self.phase == Phase::Serving && self.is_mine() {
                    self.take(now, effects);
                }
            }
            Input::Tick => {}
        }
        self.finish(now, effects);
    }

    fn is_mine(&self) -> bool {
        self.owner() == Some(&self.me)
    }

    fn see(&mut self, view: &Arc<View>, effects: &mut Vec<Effect>) {
        self.view = Some(Arc::clone(view));
        self.asked.retain(|peer, _| view.has(peer));
        self.heard.retain(|peer| view.has(peer));
        let is_taking = matches!(self.phase, Phase::Taking { .. });
        if let Phase::Taking { waiting, .. } = &mut self.phase {
            waiting.retain(|peer| view.has(peer));
        }
        if is_taking && !self.is_mine() {
            self.step_back(effects);
        } else if self.is_mine() && matches!(self.phase, Phase::Taking { .. } | Phase::Serving) {
            self.ask_all(effects);
        }
    }

    fn yielded(&mut self, by: &RelayId, now: Moment) {
        if let Some(has_answered) = self.asked.get_mut(by) {
            *has_answered = true;
            self.heard.insert(by.clone());
        }
        let majority = self.quorum.map_or(usize::MAX, Quorum::majority);
        if self.heard.len() >= majority {
            self.agreed_at.get_or_insert(now);
        }
        if let Phase::Taking { waiting, .. } = &mut self.phase {
            waiting.remove(by);
        }
    }

    /// Begins to take the slot: everyone is asked.
    fn take(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.asked.clear();
        self.heard.clear();
        self.agreed_at = None;
        self.phase = Phase::Taking { waiting: BTreeSet::new(), since: now };
        self.ask_all(effects);
    }

    /// Asks every member that was not asked.
    fn ask_all(&mut self, effects: &mut Vec<Effect>) {
        let Some(view) = &self.view else { return };
        let members = view.members().iter().map(|member| member.id.clone());
        let new: Vec<RelayId> = members.filter(|id| !self.asked.contains_key(id)).collect();
        for peer in new {
            self.ask(peer, effects);
        }
    }

    /// The answer to a peer's claim, or a part of it, may be lost. The peer may not know that, so it
    /// is not waited for.
    fn answer_again(&mut self, peer: &RelayId, effects: &mut Vec<Effect>) {
        let was_open = self.answering.remove(peer).is_some();
        if self.owner() == Some(peer) && (was_open || self.phase == Phase::Elsewhere) {
            self.claimed(peer.clone(), effects);
        }
    }

    fn ask_again(&mut self, peer: &RelayId, effects: &mut Vec<Effect>) {
        let may_ask = self.is_mine() && !matches!(self.phase, Phase::Ceding { .. });
        if self.asked.remove(peer).is_some() && may_ask {
            self.ask(peer.clone(), effects);
        }
    }

    fn ask(&mut self, peer: RelayId, effects: &mut Vec<Effect>) {
        if let Phase::Taking { waiting, .. } = &mut self.phase {
            waiting.insert(peer.clone());
        }
        self.asked.insert(peer.clone(), false);
        effects.push(Effect::Claim(peer));
    }

    /// A node that loses its lease stops serving and gives the slot to itself, to take it again when it
    /// may.
    fn lease(&mut self, has_lease: bool, effects: &mut Vec<Effect>) {
        self.has_lease = has_lease;
        if !has_lease && self.phase == Phase::Serving {
            self.cede(self.me.clone(), effects);
        }
    }

    /// Leaves the slot to another node.
    fn step_back(&mut self, effects: &mut Vec<Effect>) {
        self.phase = Phase::Elsewhere;
        self.heard.clear();
        for (peer, has_answered) in std::mem::take(&mut self.asked) {
            // One that has not agreed yet must not agree later, when nobody is there to take it.
            if !has_answered && peer != self.me {
                effects.push(Effect::Withdraw(peer));
            }
        }
        effects.push(Effect::Release);
    }

    /// Answers the claim that this node's view agrees with by now.
    fn answer_early(&mut self, effects: &mut Vec<Effect>) {
        if let Some(owner) = self.owner().cloned()
            && self.early.remove(&owner)
        {
            self.claimed(owner, effects);
        }
    }

    /// Remembers a claim; of a node's several lives the last.
    fn defer(&mut self, by: RelayId) {
        self.early.retain(|known| known.node != by.node);
        self.early.insert(by);
    }

    fn claimed(&mut self, by: RelayId, effects: &mut Vec<Effect>) {
        if self.owner() != Some(&by) {
            return self.defer(by);
        }
        let is_serving = match &self.phase {
            Phase::Serving => true,
            Phase::Elsewhere => false,
            Phase::Ceding { .. } | Phase::Taking { .. } => return self.defer(by),
        };
        if is_serving {
            return self.cede(by, effects);
        }
        let turn = self.begin_answer(&by);
        effects.push(Effect::Gather { to: by, turn, is_serving });
    }

    /// Stops serving the slot, for another node or for itself later.
    fn cede(&mut self, to: RelayId, effects: &mut Vec<Effect>) {
        let turn = self.begin_answer(&to);
        self.phase = Phase::Ceding { to: to.clone(), turn };
        effects.push(Effect::Gather { to, turn, is_serving: true });
    }

    fn begin_answer(&mut self, to: &RelayId) -> u64 {
        self.turns += 1;
        self.answering.insert(to.clone(), self.turns);
        self.turns
    }

    /// Does what has become possible.
    fn finish(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Serving | Phase::Elsewhere) {
            self.answer_early(effects);
        }
        if self.phase == Phase::Elsewhere && self.is_mine() {
            self.take(now, effects);
        }
        if let Phase::Taking { waiting, since } = &self.phase
            && self.may_serve(waiting, *since, now)
        {
            self.phase = Phase::Serving;
            effects.push(Effect::Serve);
        }
    }

    /// Whether enough members have answered. Where only a majority may serve, all members of the view
    /// have to, and those that are not in it must have stopped.
    fn may_serve(&self, waiting: &BTreeSet<RelayId>, since: Moment, now: Moment) -> bool {
        let Some(quorum) = self.quorum else {
            return waiting.is_empty() || now.since(since) >= TAKE_AT_MOST;
        };
        let is_agreed = self.heard.len() >= quorum.majority() && waiting.is_empty();
        let are_all_here = self.heard.len() >= quorum.size();
        let is_over = |at: Moment| now.since(at) >= LEASE_IS_OVER_AFTER;
        self.has_lease && is_agreed && (are_all_here || self.agreed_at.is_some_and(is_over))
    }
}
