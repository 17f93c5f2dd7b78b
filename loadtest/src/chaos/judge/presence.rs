//! Who is in which presence channel, and who is told so.
//!
//! The truth is made of the subscriptions that were confirmed and are open. A client's list is what
//! pusher-js would show: the list it was given, and the changes since.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::observation::{Channel, Connection, Subscribed};
use super::verdict::{Fault, Verdict};

/// Users.
pub type Users = BTreeSet<Arc<str>>;

/// All subscriptions.
#[derive(Debug, Default)]
pub struct Presence {
    /// Who each subscription is: nobody, outside presence channels.
    subscriptions: BTreeMap<Channel, BTreeMap<Connection, Option<Arc<str>>>>,
    /// The list that each client keeps.
    lists: BTreeMap<(Connection, Channel), Users>,
}

/// What a list has too much and too little of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Shown, and not there.
    pub ghosts: Vec<String>,
    /// There, and not shown.
    pub missing: Vec<String>,
}

impl Difference {
    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.ghosts.is_empty() && self.missing.is_empty()
    }

    /// Compares what is shown at a place with what is true.
    fn add(&mut self, place: &str, shown: &Users, truth: &Users) {
        let name = |user: &Arc<str>| format!("{user} {place}");
        self.ghosts.extend(shown.difference(truth).map(name));
        self.missing.extend(truth.difference(shown).map(name));
    }

    /// Counts it.
    pub fn note(&self, verdict: &mut Verdict) {
        for (fault, found) in [(Fault::Ghost, &self.ghosts), (Fault::Missing, &self.missing)] {
            for what in found {
                verdict.add(fault, 1, || what.clone());
            }
        }
    }
}

impl Presence {
    pub(super) fn subscribe(&mut self, subscribed: Subscribed) {
        let Subscribed { connection, channel, presence, .. } = subscribed;
        let (user, members) = presence.unzip();
        self.subscriptions.entry(channel).or_default().insert(connection, user);
        if let Some(members) = members {
            self.lists.insert((connection, channel), members.into_iter().collect());
        }
    }

    pub(super) fn leave(&mut self, connection: Connection, channel: Channel) {
        self.subscriptions.entry(channel).or_default().remove(&connection);
        self.lists.remove(&(connection, channel));
    }

    pub(super) fn close(&mut self, connection: Connection) {
        for subscriptions in self.subscriptions.values_mut() {
            subscriptions.remove(&connection);
        }
        self.lists.retain(|(of, _), _| *of != connection);
    }

    pub(super) fn hear(
        &mut self,
        place: (Connection, Channel),
        user: &Arc<str>,
        is_added: bool,
        verdict: &mut Verdict,
    ) {
        // Said while the client left: it does not listen any more.
        let Some(list) = self.lists.get_mut(&place) else { return };
        let is_change = if is_added { list.insert(Arc::clone(user)) } else { list.remove(user) };
        if !is_change {
            let (connection, channel) = place;
            verdict.add(Fault::Flicker, 1, || {
                let what = if is_added { "added again" } else { "removed again" };
                format!("{user} was {what} in channel {channel} on {connection:#x}")
            });
        }
    }

    /// The users who are in a channel.
    #[must_use]
    pub fn users(&self, channel: Channel) -> Users {
        let subscriptions = self.subscriptions.get(&channel).into_iter().flatten();
        subscriptions.filter_map(|(_, user)| user.clone()).collect()
    }

    /// How many connections are subscribed to a channel.
    #[must_use]
    pub fn count(&self, channel: Channel) -> usize {
        self.subscriptions.get(&channel).map_or(0, BTreeMap::len)
    }

    /// Compares every client's list with the truth.
    #[must_use]
    pub fn audit(&self) -> Difference {
        let mut difference = Difference::default();
        for ((connection, channel), list) in &self.lists {
            let place = format!("in channel {channel} on {connection:#x}");
            difference.add(&place, list, &self.users(*channel));
        }
        difference
    }

    /// Compares what a node answers about a channel with the truth.
    pub fn audit_answer(
        &self,
        place: &str,
        channel: Channel,
        (users, count): (Option<&Users>, usize),
        difference: &mut Difference,
    ) {
        if let Some(users) = users {
            difference.add(place, users, &self.users(channel));
        }
        let truth = self.count(channel);
        let what = || format!("{count} subscriptions instead of {truth} {place}");
        match count.cmp(&truth) {
            std::cmp::Ordering::Less => difference.missing.push(what()),
            std::cmp::Ordering::Greater => difference.ghosts.push(what()),
            std::cmp::Ordering::Equal => {}
        }
    }
}
