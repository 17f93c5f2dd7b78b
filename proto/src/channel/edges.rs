//! What the application is told about a channel's comings and goings.
//!
//! Going is held back for three seconds and cancelled by a return, together with the coming that
//! would have followed, so that a reload of a page is not an event (as Pusher does).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::http::webhook::{EdgeId, Happening};
use crate::name::UserId;
use crate::position::Epoch;
use crate::time::{Moment, Shift, earliest};

/// How long `channel_vacated` and `member_removed` are held back.
pub const HELD_BACK_FOR: Duration = Duration::from_secs(3);
/// Members whose leaving one channel holds back; beyond it the rest are told at once.
pub const HELD_BACK_MAX: usize = 10_000;
/// Edges of one channel that wait to be delivered; beyond it the oldest are given up.
const OUTBOX_MAX: usize = 10_000;

/// The edges that a channel holds back, and what it has told so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Edges {
    is_occupied: bool,
    vacated_at: Option<Moment>,
    removed_at: BTreeMap<UserId, Moment>,
    told_cache_miss: bool,
    /// The number of the last edge.
    number: u64,
    /// Comings and goings that the application has not been told of for certain.
    outbox: VecDeque<(EdgeId, Turn)>,
}

/// A coming or going, as it is kept until it is delivered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
enum Turn {
    Occupied,
    Vacated,
    Added(UserId),
    Removed(UserId),
}

impl Turn {
    fn of(happening: &Happening) -> Option<Self> {
        match happening {
            Happening::ChannelOccupied => Some(Self::Occupied),
            Happening::ChannelVacated => Some(Self::Vacated),
            Happening::MemberAdded { user_id } => Some(Self::Added(user_id.clone())),
            Happening::MemberRemoved { user_id } => Some(Self::Removed(user_id.clone())),
            Happening::ClientEvent { .. }
            | Happening::CacheMiss
            | Happening::SubscriptionCount { .. } => None,
        }
    }

    fn happening(&self) -> Happening {
        match self {
            Self::Occupied => Happening::ChannelOccupied,
            Self::Vacated => Happening::ChannelVacated,
            Self::Added(user) => Happening::MemberAdded { user_id: user.clone() },
            Self::Removed(user) => Happening::MemberRemoved { user_id: user.clone() },
        }
    }
}

impl Edges {
    /// The first subscriber is here.
    pub fn occupied(&mut self, out: &mut Vec<Happening>) {
        self.vacated_at = None;
        if !self.is_occupied {
            self.is_occupied = true;
            out.push(Happening::ChannelOccupied);
        }
    }

    /// The last subscriber has left, and no user's place is kept.
    pub fn vacated(&mut self, now: Moment) {
        self.vacated_at = Some(now + HELD_BACK_FOR);
    }

    /// A user is here with its first connection.
    pub fn member_added(&mut self, user: &UserId, out: &mut Vec<Happening>) {
        if self.removed_at.remove(user).is_none() {
            out.push(Happening::MemberAdded { user_id: user.clone() });
        }
    }

    /// A user has left with its last connection.
    pub fn member_removed(&mut self, user: UserId, now: Moment, out: &mut Vec<Happening>) {
        if self.removed_at.len() < HELD_BACK_MAX {
            self.removed_at.insert(user, now + HELD_BACK_FOR);
        } else {
            out.push(Happening::MemberRemoved { user_id: user });
        }
    }

    /// Someone subscribed to a cache channel that remembers nothing. Told once per emptiness.
    pub fn cache_missed(&mut self, out: &mut Vec<Happening>) {
        if !self.told_cache_miss {
            self.told_cache_miss = true;
            out.push(Happening::CacheMiss);
        }
    }

    /// The cache channel remembers something again.
    pub const fn cache_filled(&mut self) {
        self.told_cache_miss = false;
    }

    /// The channel had subscribers, and this user if one is named, before this owner knew it: nothing is
    /// told about that, nor of a going that is held back.
    pub fn assume(&mut self, user: Option<&UserId>) {
        self.is_occupied = true;
        self.vacated_at = None;
        if let Some(user) = user {
            self.removed_at.remove(user);
        }
    }

    /// Whether this channel has told anything since its state began.
    pub const fn has_told(&self) -> bool {
        self.number > 0
    }

    /// Numbers an edge, and keeps it until it is delivered if it is a coming or going.
    pub fn number(&mut self, happening: &Happening, epoch: Epoch) -> EdgeId {
        self.number += 1;
        let id = EdgeId { epoch, number: self.number };
        if let Some(turn) = Turn::of(happening) {
            if self.outbox.len() >= OUTBOX_MAX {
                self.outbox.pop_front();
            }
            self.outbox.push_back((id, turn));
        }
        id
    }

    /// The edge of this number has been delivered.
    pub fn delivered(&mut self, number: u64) {
        self.outbox.retain(|(id, _)| id.number != number);
        if self.outbox.is_empty() {
            self.outbox = VecDeque::new();
        }
    }

    /// What has not been delivered for certain, oldest first.
    pub fn outbox(&self) -> impl Iterator<Item = (EdgeId, Happening)> {
        self.outbox.iter().map(|(id, turn)| (*id, turn.happening()))
    }

    /// Translates from another node's time.
    pub fn rebase(&mut self, shift: Shift) {
        self.vacated_at = self.vacated_at.map(|at| at.moved(shift));
        self.removed_at.values_mut().for_each(|at| *at = at.moved(shift));
    }

    /// When something that was held back is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        earliest(self.vacated_at, self.removed_at.values().min().copied())
    }

    /// Users who have left and of whom the application has not been told that, and whether it was told
    /// that somebody is there.
    pub fn told(&self) -> (Vec<UserId>, bool) {
        (self.removed_at.keys().cloned().collect(), self.is_occupied)
    }

    /// Tells what is held back at once: what would cancel it may have been told by another owner.
    pub fn hold_nothing(&mut self, out: &mut Vec<Happening>) {
        let held = self.removed_at.values().copied().chain(self.vacated_at);
        if let Some(last) = held.max() {
            self.tick(last, out);
        }
    }

    /// Tells what was held back until now.
    pub fn tick(&mut self, now: Moment, out: &mut Vec<Happening>) {
        self.removed_at.retain(|user, at| {
            let is_due = *at <= now;
            if is_due {
                out.push(Happening::MemberRemoved { user_id: user.clone() });
            }
            !is_due
        });
        if self.vacated_at.is_some_and(|at| at <= now) {
            self.vacated_at = None;
            self.is_occupied = false;
            out.push(Happening::ChannelVacated);
        }
    }
}
