//! Who serves a slot: the steps by which it passes from one node to another.
//!
//! A node that becomes the owner in its view **claims** the slot from every other member. A member
//! answers when its own view agrees: it ends its own service if it had any, says what its relay has,
//! and **yields** what it holds. When all have answered, or after [`TAKE_AT_MOST`], the claimant
//! serves. So in quiet times, in a planned move and after a crash the same steps are taken, and a
//! node that has yielded takes nothing more from an earlier owner.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::name::RelayId;
use crate::time::Moment;

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
    },
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// This node has a new view.
    View(&'a View),
    /// A node says that it owns the slot.
    Claimed(RelayId),
    /// A node that said so says it no longer.
    Withdrawn(&'a RelayId),
    /// A member has said all it has.
    Yielded(&'a RelayId),
    /// What was asked for by [`Effect::Gather`] is done, and the claimant has been told.
    Gathered(&'a RelayId),
    /// It is done, but this node's view has changed meanwhile: the claimant has not been told.
    Unanswered(&'a RelayId),
    /// What was on its way to a member may be lost.
    Reset(&'a RelayId),
    /// What was on its way from a member may be lost; it will say its claims again.
    Restarted(&'a RelayId),
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
    /// Claims that this node's view does not agree with yet.
    early: BTreeSet<RelayId>,
    /// Claims that are being answered.
    answering: BTreeSet<RelayId>,
    /// The owner in this node's view.
    owner: Option<RelayId>,
}

impl Ownership {
    /// A slot that another node serves, or nobody.
    #[must_use]
    pub fn new(slot: Slot, me: RelayId) -> Self {
        let (asked, early, answering) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { slot, me, phase: Phase::Elsewhere, asked, early, answering, owner: None }
    }

    /// What this node is to the slot.
    #[must_use]
    pub const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The owner in this node's view.
    #[must_use]
    pub const fn owner(&self) -> Option<&RelayId> {
        self.owner.as_ref()
    }

    /// Takes in what happened.
    pub fn apply(&mut self, input: Input<'_>, now: Moment, effects: &mut Vec<Effect>) {
        match input {
            Input::View(view) => self.view(view, now, effects),
            Input::Claimed(by) => self.claimed(by, effects),
            Input::Yielded(by) => {
                if let Some(has_answered) = self.asked.get_mut(by) {
                    *has_answered = true;
                }
                if let Phase::Taking { waiting, .. } = &mut self.phase {
                    waiting.remove(by);
                }
            }
            Input::Withdrawn(by) => {
                self.early.remove(by);
                self.answering.remove(by);
            }
            Input::Gathered(by) | Input::Unanswered(by) => {
                if matches!(&self.phase, Phase::Ceding { to } if to == by) {
                    self.step_back(effects);
                }
                // One that was withdrawn meanwhile is over.
                if self.answering.remove(by) && matches!(input, Input::Unanswered(_)) {
                    self.claimed(by.clone(), effects);
                }
            }
            Input::Reset(peer) | Input::Restarted(peer) => {
                if matches!(input, Input::Restarted(_)) {
                    self.early.remove(peer);
                    self.answering.remove(peer);
                }
                if self.asked.remove(peer).is_some() && self.is_mine() {
                    self.ask(peer.clone(), effects);
                }
            }
            Input::Retake => {
                if self.phase == Phase::Serving && self.is_mine() {
                    self.phase = Phase::Taking { waiting: BTreeSet::new(), since: now };
                    for peer in std::mem::take(&mut self.asked).into_keys() {
                        self.ask(peer, effects);
                    }
                }
            }
            Input::Tick => {}
        }
        self.finish(now, effects);
    }

    fn is_mine(&self) -> bool {
        self.owner.as_ref() == Some(&self.me)
    }

    fn view(&mut self, view: &View, now: Moment, effects: &mut Vec<Effect>) {
        self.owner = Some(view.owner(self.slot).clone());
        self.asked.retain(|peer, _| view.has(peer));
        if self.is_mine() {
            if self.phase == Phase::Elsewhere {
                self.asked.clear();
                self.phase = Phase::Taking { waiting: BTreeSet::new(), since: now };
            }
            if let Phase::Taking { waiting, .. } = &mut self.phase {
                waiting.retain(|peer| view.has(peer));
            }
            let is_new = |peer: &&RelayId| !self.asked.contains_key(*peer);
            let members = view.members().iter().map(|member| &member.id);
            let new: Vec<RelayId> = members.filter(is_new).cloned().collect();
            for peer in new {
                self.ask(peer, effects);
            }
        } else if let Phase::Taking { .. } = self.phase {
            self.step_back(effects);
        }
        self.answer_early(effects);
    }

    /// Answers the claim that this node's view agrees with by now.
    fn answer_early(&mut self, effects: &mut Vec<Effect>) {
        if let Some(owner) = self.owner.clone()
            && self.early.remove(&owner)
        {
            self.claimed(owner, effects);
        }
    }

    fn ask(&mut self, peer: RelayId, effects: &mut Vec<Effect>) {
        if let Phase::Ceding { .. } = self.phase {
            return;
        }
        if let Phase::Taking { waiting, .. } = &mut self.phase {
            waiting.insert(peer.clone());
        }
        self.asked.insert(peer.clone(), false);
        effects.push(Effect::Claim(peer));
    }

    /// Leaves the slot to another node.
    fn step_back(&mut self, effects: &mut Vec<Effect>) {
        self.phase = Phase::Elsewhere;
        for (peer, has_answered) in std::mem::take(&mut self.asked) {
            // One that has not agreed yet must not agree later, when nobody is there to take it.
            if !has_answered && peer != self.me {
                effects.push(Effect::Withdraw(peer));
            }
        }
        effects.push(Effect::Release);
    }

    /// Remembers a claim; of a node's several lives the last.
    fn defer(&mut self, by: RelayId) {
        self.early.retain(|known| known.node != by.node);
        self.early.insert(by);
    }

    fn claimed(&mut self, by: RelayId, effects: &mut Vec<Effect>) {
        if self.owner.as_ref() != Some(&by) {
            return self.defer(by);
        }
        let is_serving = match &self.phase {
            Phase::Serving => {
                self.phase = Phase::Ceding { to: by.clone() };
                true
            }
            Phase::Elsewhere => false,
            // It will be told when this is over.
            Phase::Ceding { to } if *to == by => return,
            Phase::Ceding { .. } | Phase::Taking { .. } => {
                return self.defer(by);
            }
        };
        self.answering.insert(by.clone());
        effects.push(Effect::Gather { to: by, is_serving });
    }

    fn finish(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if let Phase::Taking { waiting, since } = &self.phase
            && (waiting.is_empty() || now.since(*since) >= TAKE_AT_MOST)
        {
            self.phase = Phase::Serving;
            effects.push(Effect::Serve);
        }
        if self.phase == Phase::Elsewhere {
            self.answer_early(effects);
        }
    }
}
