//! Replication: the owner of a slot sends every change to the slot's successor, which applies it to
//! a copy; so the copy is what the owner has, and the successor goes on from it when the owner dies.
//!
//! A copy lives in its owner's time until it is taken over. Each attempt to fill a successor is a
//! **generation**: it begins with [`Record::Begin`] and an empty copy, each channel enters it with its
//! whole state, and a record is taken only if none before it is missing. So nothing is ever confirmed
//! by a node that lacks what came before it.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::channel::{Channel, Command, Published, Reply};
use crate::event::Publication;
use crate::idempotency::{Idempotency, ItemKey};
use crate::name::{AppId, ChannelKey, RelayId};
use crate::time::{Moment, Now, Shift};

use super::message::Message;
use super::slot::Slot;
use super::takeover::Estate;

/// Room for those who wait that a slot keeps when nobody waits: there are thousands of slots.
const WAITING_KEPT: usize = 4;

/// One change of a slot. What belongs together is one record, so that a crash cannot part it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Record {
    /// A new generation begins.
    Begin,
    /// A channel as it is now, and the answer of the keyed publish that has just changed it.
    Whole(ChannelKey, Box<Channel>, Option<(ItemKey, Published)>),
    /// A channel took a command. The answer of a keyed publish is kept.
    Applied(ChannelKey, Command),
    /// A channel is gone: nothing of it is retained.
    Ended(ChannelKey),
    /// An idempotency key was claimed with this fingerprint.
    Claimed(AppId, String, u64),
    /// A keyed publish has its answer, and no channel had to keep anything of it.
    Answered(ItemKey, Published),
    /// All idempotency keys of the slot.
    Remembered(Idempotency),
    /// Everything that the owner has was sent.
    Complete,
}

impl Record {
    /// The publish that made this publication, to be sent on as a message about its slot.
    #[must_use]
    pub fn of_publication(key: &ChannelKey, mark: Mark, publication: &Publication) -> Message {
        let then = Now { moment: publication.accepted, unix_ms: publication.unix_ms };
        let record = Self::Applied(key.clone(), Command::Publish(publication.draft.clone()));
        Message::Replicate(Slot::of(key), mark, then, Box::new(record))
    }
}

/// Where a record stands in what an owner sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub struct Mark {
    /// Which attempt to fill a successor: each begins with an empty copy.
    pub generation: u64,
    /// The number of the record. It goes on over generations.
    pub number: u64,
}

/// The owner's side. `W` is whoever waits until a record is confirmed.
#[derive(Debug)]
pub struct Replication<W> {
    to: Option<RelayId>,
    mark: Mark,
    confirmed: u64,
    waiting: VecDeque<(u64, W)>,
    /// The number of [`Record::Complete`] of this generation, once it was sent.
    complete: Option<u64>,
    /// The successor refused a record: what it confirms of this generation lacks something.
    is_refused: bool,
}

impl<W> Default for Replication<W> {
    fn default() -> Self {
        let mark = Mark { generation: 0, number: 0 };
        let (waiting, complete, is_refused) = (VecDeque::new(), None, false);
        Self { to: None, mark, confirmed: 0, waiting, complete, is_refused }
    }
}

impl<W> Replication<W> {
    /// Sends to this successor from now on, from the beginning. Nobody who waits is forgotten.
    pub fn aim(&mut self, to: Option<RelayId>) {
        self.to = to;
        self.mark.generation += 1;
        self.complete = None;
        self.is_refused = false;
    }

    /// The successor that is sent to.
    #[must_use]
    pub const fn successor(&self) -> Option<&RelayId> {
        self.to.as_ref()
    }

    /// The present generation: what a channel has begun with its whole state under.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.mark.generation
    }

    /// The mark of the next record, and where to send it.
    pub fn take_mark(&mut self) -> Option<(RelayId, Mark)> {
        let to = self.to.clone()?;
        self.mark.number += 1;
        Some((to, self.mark))
    }

    /// All channels have begun under the present generation; the record that says so has this mark.
    /// Who waited for an earlier generation waits for it.
    pub fn completed(&mut self, mark: Mark) {
        if mark.generation == self.mark.generation {
            self.complete = Some(mark.number);
        }
    }

    /// Whether [`Record::Complete`] was sent under the present generation.
    #[must_use]
    pub const fn was_completed(&self) -> bool {
        self.complete.is_some()
    }

    /// Waits until all records so far are confirmed; gives the waiter back if they are.
    pub fn wait(&mut self, waiter: W) -> Option<W> {
        if self.is_complete() && self.lag() == 0 {
            return Some(waiter);
        }
        self.waiting.push_back((self.mark.number, waiter));
        None
    }

    /// The successor has everything up to this mark. Returns who waited for that.
    pub fn confirm(&mut self, by: &RelayId, mark: Mark) -> Vec<W> {
        if !self.is_current(by, mark) || self.is_refused {
            return Vec::new();
        }
        self.confirmed = self.confirmed.max(mark.number);
        // Before the successor is complete, a record of an earlier generation is in no copy.
        if !self.is_complete() {
            return Vec::new();
        }
        let ready = self.waiting.iter().take_while(|(number, _)| *number <= self.confirmed).count();
        let waited = self.waiting.drain(..ready).map(|(_, waiter)| waiter).collect();
        if self.waiting.is_empty() && self.waiting.capacity() > WAITING_KEPT {
            self.waiting = VecDeque::new();
        }
        waited
    }

    /// The successor has not taken a record. True if that ends the present generation.
    pub fn refuse(&mut self, by: &RelayId, mark: Mark) -> bool {
        let is_news = self.is_current(by, mark) && !self.is_refused;
        self.is_refused |= is_news;
        is_news
    }

    /// Whether the present generation has to be begun again.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        self.is_refused
    }

    fn is_current(&self, by: &RelayId, mark: Mark) -> bool {
        self.to.as_ref() == Some(by) && mark.generation == self.mark.generation
    }

    /// Those who wait, when there is nobody to wait for any more.
    pub fn give_up(&mut self) -> Vec<W> {
        std::mem::take(&mut self.waiting).into_iter().map(|(_, waiter)| waiter).collect()
    }

    /// Records that the successor has not confirmed.
    #[must_use]
    pub const fn lag(&self) -> u64 {
        self.mark.number.saturating_sub(self.confirmed)
    }

    /// Whether the successor has all of the slot.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete.is_some_and(|complete| self.confirmed >= complete)
    }
}

/// The successor's side: a copy of a slot.
#[derive(Debug)]
pub struct Replica {
    owner: RelayId,
    mark: Mark,
    channels: BTreeMap<ChannelKey, Channel>,
    idempotency: Idempotency,
    shift: Shift,
    /// What was here before, until this copy is complete.
    earlier: Option<Box<Self>>,
}

impl Replica {
    /// Takes in a record that the owner made at `then`, in its time; `here` is this node's time.
    /// False if something before it is missing: then nothing was changed.
    pub fn take(
        copy: &mut Option<Self>,
        (owner, mark): (&RelayId, Mark),
        record: Record,
        (then, here): (Now, Moment),
    ) -> bool {
        if record == Record::Begin {
            let earlier = copy.take();
            *copy = Some(Self::new(owner.clone(), mark, earlier));
            return true;
        }
        let next = |copy: &Self| Mark { number: copy.mark.number + 1, ..copy.mark };
        match copy {
            Some(copy) if copy.owner == *owner && next(copy) == mark => {
                copy.mark = mark;
                copy.apply(record, then, here);
                true
            }
            _ => false,
        }
    }

    fn new(owner: RelayId, mark: Mark, earlier: Option<Self>) -> Self {
        let (channels, idempotency) = (BTreeMap::new(), Idempotency::default());
        // One that never became complete is worth less than the one before it.
        let earlier = earlier.map(|mut copy| copy.earlier.take().unwrap_or_else(|| Box::new(copy)));
        Self { owner, mark, channels, idempotency, shift: Shift::default(), earlier }
    }

    /// Whose slot it is a copy of.
    #[must_use]
    pub const fn owner(&self) -> &RelayId {
        &self.owner
    }

    /// Channels in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether it holds no channel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    fn apply(&mut self, record: Record, then: Now, here: Moment) {
        self.shift = Shift::between(then.moment, here);
        match record {
            Record::Begin => {}
            Record::Whole(key, channel, answered) => {
                self.channels.insert(key, *channel);
                if let Some((item, published)) = answered {
                    self.idempotency.remember(item, published, then.moment);
                }
            }
            Record::Applied(key, command) => self.repeat(&key, command, then),
            Record::Ended(key) => {
                self.channels.remove(&key);
            }
            Record::Claimed(app, key, fingerprint) => {
                // The owner has granted it.
                let _ = self.idempotency.claim(&app, &key, fingerprint, then.moment);
            }
            Record::Answered(item, published) => {
                self.idempotency.remember(item, published, then.moment);
            }
            Record::Remembered(idempotency) => self.idempotency = idempotency,
            Record::Complete => self.earlier = None,
        }
    }

    /// Does what the owner has done; its effects have been carried out there.
    fn repeat(&mut self, key: &ChannelKey, command: Command, then: Now) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let item = ItemKey::of(key, &command);
        let reply = channel.apply(command, then, &mut Vec::new());
        if let (Some(item), Reply::Published(published)) = (item, reply) {
            self.idempotency.remember(item, published, then.moment);
        }
    }

    /// What is in it, in this node's time. What only an earlier copy has comes first.
    #[must_use]
    pub fn estates(&self) -> Vec<Estate> {
        let mut estates = self.earlier.as_ref().map(|copy| copy.estates()).unwrap_or_default();
        let mut idempotency = Idempotency::default();
        idempotency.absorb(self.idempotency.clone(), self.shift);
        let rebased = self.channels.iter().map(|(key, channel)| {
            let mut channel = channel.clone();
            channel.rebase(self.shift);
            (key.clone(), channel)
        });
        estates.push(Estate { is_primary: false, channels: rebased.collect(), idempotency });
        estates
    }
}
