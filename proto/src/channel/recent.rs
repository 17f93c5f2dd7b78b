//! What a channel remembers: a bounded history for those who come back, and the one event that a
//! cache channel keeps for those who come.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::Publication;
use crate::time::{Moment, Shift};

use super::Settings;

/// How much history a channel keeps, whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Publications.
    pub events: usize,
    /// Seconds since a publication.
    pub seconds: u32,
    /// Bytes of event data.
    pub bytes: usize,
}

impl Default for History {
    fn default() -> Self {
        Self { events: 128, seconds: 120, bytes: 65_536 }
    }
}

impl History {
    /// How long a publication is kept.
    #[must_use]
    pub const fn window(self) -> Duration {
        Duration::from_secs(self.seconds as u64)
    }
}

/// What is remembered, and for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Memory {
    publications: VecDeque<Arc<Publication>>,
    bytes: usize,
    cached: Option<Arc<Publication>>,
    /// When the last subscriber left; none while there are some or before there was one.
    vacated_at: Option<Moment>,
}

impl Memory {
    /// There is a subscriber.
    pub(super) const fn occupied(&mut self) {
        self.vacated_at = None;
    }

    /// The last subscriber has left.
    pub(super) const fn vacated(&mut self, now: Moment) {
        self.vacated_at = Some(now);
    }

    /// Keeps a publication for those who may come back.
    pub(super) fn record(&mut self, publication: Arc<Publication>, settings: &Settings) {
        let now = publication.accepted;
        self.bytes += publication.draft.event.data.bytes();
        self.publications.push_back(publication);
        self.forget(now, settings);
    }

    /// Whether someone who left might still come back.
    pub(super) fn is_awaiting(&self, now: Moment, settings: &Settings) -> bool {
        self.vacated_at.is_some_and(|at| now.since(at) < settings.history.window())
    }

    /// Keeps a publication as the channel's last.
    pub(super) fn cache(&mut self, publication: Arc<Publication>) {
        self.cached = Some(publication);
    }

    /// Keeps a publication as the channel's last, unless a later one is kept.
    pub(super) fn cache_if_later(&mut self, publication: Arc<Publication>) {
        let is_later = self.cached.as_ref().is_none_or(|kept| kept.unix_ms < publication.unix_ms);
        if is_later {
            self.cached = Some(publication);
        }
    }

    /// What is kept as the channel's last publication, however old it is.
    pub(super) const fn last_cached(&self) -> Option<&Arc<Publication>> {
        self.cached.as_ref()
    }

    /// The channel's last publication, while it is remembered.
    pub(super) fn cached(&self, now: Moment, settings: &Settings) -> Option<Arc<Publication>> {
        let cached = self.cached.as_ref()?;
        let is_old = now.since(cached.accepted) >= settings.cache_for;
        let is_fresh = !is_old && !cached.has_expired(now);
        is_fresh.then(|| Arc::clone(cached))
    }

    /// Forgets what is too old, too much or too large.
    pub(super) fn forget(&mut self, now: Moment, settings: &Settings) {
        let history = settings.history;
        while let Some(oldest) = self.publications.front() {
            let is_old = now.since(oldest.accepted) >= history.window();
            let is_full = self.publications.len() > history.events || self.bytes > history.bytes;
            if !is_old && !is_full {
                break;
            }
            self.bytes -= oldest.draft.event.data.bytes();
            self.publications.pop_front();
        }
        if self.publications.is_empty() {
            self.publications = VecDeque::new();
        }
        if self.cached(now, settings).is_none() {
            self.cached = None;
        }
        if !self.is_awaiting(now, settings) {
            self.vacated_at = None;
        }
    }

    /// When the whole history will be too old, if nothing more is said.
    pub(super) fn history_ends(&self, settings: &Settings) -> Option<Moment> {
        self.publications.back().map(|newest| newest.accepted + settings.history.window())
    }

    /// Until when an empty channel has something to remember.
    pub(super) fn retained_until(&self, settings: &Settings) -> Option<Moment> {
        let history = self.vacated_at.map(|at| at + settings.history.window());
        let cached = self.cached.as_ref().map(|p| p.accepted + settings.cache_for);
        history.max(cached)
    }

    /// Translates from another node's time.
    pub(super) fn rebase(&mut self, shift: Shift) {
        let moved = |publication: &mut Arc<Publication>| {
            let publication = Arc::make_mut(publication);
            publication.accepted = publication.accepted.moved(shift);
        };
        self.publications.iter_mut().for_each(moved);
        self.cached.iter_mut().for_each(moved);
        self.vacated_at = self.vacated_at.map(|at| at.moved(shift));
    }

    /// The history, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Publication>> {
        self.publications.iter()
    }
}
