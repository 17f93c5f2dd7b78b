//! What the application is told about a channel's comings and goings.
//!
//! Going is held back for three seconds and cancelled by a return, together with the coming that
//! would have followed, so that a reload of a page is not an event (as Pusher does).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::http::webhook::Happening;
use crate::name::UserId;
use crate::time::{Moment, earliest};

/// How long `channel_vacated` and `member_removed` are held back.
pub const HELD_BACK_FOR: Duration = Duration::from_secs(3);
/// Members whose leaving one channel holds back; beyond it the rest are told at once.
const HELD_BACK_MAX: usize = 10_000;

/// The edges that a channel holds back, and what it has told so far.
#[derive(Debug, Default)]
pub struct Edges {
    is_occupied: bool,
    vacated_at: Option<Moment>,
    removed_at: BTreeMap<UserId, Moment>,
    told_cache_miss: bool,
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

    /// The last subscriber has left.
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

    /// The channel had subscribers before this owner knew it: nothing is told about that.
    pub const fn assume_occupied(&mut self) {
        self.is_occupied = true;
    }

    /// When something that was held back is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        earliest(self.vacated_at, self.removed_at.values().min().copied())
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
