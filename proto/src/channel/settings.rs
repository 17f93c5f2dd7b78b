//! What a channel needs to know of its app's configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::name::ChannelKind;

use super::History;

/// What an app's configuration says about its channels.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Settings {
    /// How much history is kept.
    pub history: History,
    /// Members of a presence channel at most.
    pub presence_members: usize,
    /// How long a cache channel remembers its last event.
    pub cache_for: Duration,
    /// Whether subscribers and webhooks are told how many subscribers there are.
    pub subscription_count: bool,
    /// Whether the application is told of comings and goings, so that they must not be lost.
    pub webhooks: bool,
}

impl Settings {
    /// The settings of an app's channels.
    #[must_use]
    pub fn of(app: &App, history: History) -> Self {
        Self {
            history,
            presence_members: app.limits.presence_members,
            cache_for: Duration::from_secs(u64::from(app.limits.cache_seconds)),
            subscription_count: app.subscription_count,
            webhooks: !app.webhooks.is_empty(),
        }
    }

    /// The same, as one channel needs them: what a session keeps is worth nothing without history.
    #[must_use]
    pub(super) fn of_kind(self, kind: ChannelKind) -> Self {
        let cache_for = if kind.is_session() { self.history.window() } else { self.cache_for };
        Self { cache_for, ..self }
    }
}
