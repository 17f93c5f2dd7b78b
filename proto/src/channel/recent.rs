//! The last publications of a channel: a bounded history, and the one event a cache channel keeps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::Publication;
use crate::time::Moment;

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
        Self {
            events: 128,
            seconds: 120,
            bytes: 65_536,
        }
    }
}

impl History {
    /// How long a publication is kept.
    #[must_use]
    pub const fn window(self) -> Duration {
        Duration::from_secs(self.seconds as u64)
    }
}

/// The last publications, oldest first.
#[derive(Debug, Default)]
pub(super) struct Recent {
    publications: VecDeque<Arc<Publication>>,
    bytes: usize,
}

impl Recent {
    /// Keeps a publication and forgets what no longer fits.
    pub(super) fn push(&mut self, publication: Arc<Publication>, history: History) {
        let now = publication.accepted;
        self.bytes += publication.draft.event.data.bytes();
        self.publications.push_back(publication);
        self.trim(history, now);
    }

    /// Forgets what is too old, too much or too large.
    pub(super) fn trim(&mut self, history: History, now: Moment) {
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
    }

    /// The publications, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Publication>> {
        self.publications.iter()
    }
}
