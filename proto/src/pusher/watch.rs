//! A session's watchlist: the states of all watched users in one message first, then the changes.

use std::collections::BTreeMap;

use crate::name::UserId;

use super::frame::watchlist_events;

/// What is known of the watched users until all have answered.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Users whose state has not been told to the client; none once all have been asked.
    gathering: Option<BTreeMap<UserId, Option<bool>>>,
}

impl Watch {
    /// Begins to gather the states of these users.
    pub(super) fn begin(&mut self, users: &[UserId]) {
        let asked: BTreeMap<_, _> = users.iter().map(|user| (user.clone(), None)).collect();
        self.gathering = (!asked.is_empty()).then_some(asked);
    }

    /// A user's state is known. Returns the message to send, if it is time for one.
    pub(super) fn state(&mut self, user: UserId, is_online: bool) -> Option<String> {
        let Some(states) = &mut self.gathering else {
            let users = [user];
            let (online, offline): (&[_], &[_]) =
                if is_online { (&users, &[]) } else { (&[], &users) };
            return Some(watchlist_events(online, offline));
        };
        states.insert(user, Some(is_online));
        self.told_if_complete()
    }

    /// A user's state cannot be known: it is left out.
    pub(super) fn unknown(&mut self, user: &UserId) -> Option<String> {
        self.gathering.as_mut()?.remove(user);
        self.told_if_complete()
    }

    fn told_if_complete(&mut self) -> Option<String> {
        let states = self.gathering.take_if(|states| states.values().all(Option::is_some))?;
        let with = |wanted: bool| -> Vec<UserId> {
            let chosen = states.iter().filter(|(_, state)| **state == Some(wanted));
            chosen.map(|(user, _)| user.clone()).collect()
        };
        (!states.is_empty()).then(|| watchlist_events(&with(true), &with(false)))
    }
}
