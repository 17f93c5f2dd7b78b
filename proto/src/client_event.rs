//! Events that clients publish because they are in a private channel, without a token: Pusher's client
//! events, and the whispers of Laravel Echo. The rules are the same at every door.

use std::collections::BTreeSet;

use crate::app::App;
use crate::event::{Data, Event};
use crate::name::ChannelName;
use crate::rate::{Bucket, Rate};
use crate::refusal::Refusal;
use crate::time::Now;

/// What the names of client events begin with.
pub const PREFIX: &str = "client-";

/// How many of them a connection may still publish.
#[derive(Debug)]
pub struct ClientEvents(Bucket);

impl ClientEvents {
    /// Those of a connection that has published none.
    #[must_use]
    pub const fn new() -> Self {
        Self(Bucket::new())
    }

    /// Checks an event: its name, its channel and its data, which is JSON. `channels` are those that
    /// the connection is in.
    ///
    /// # Errors
    /// The rule or the limit that it breaks.
    pub fn admit(
        &mut self,
        (name, channel, json): (&str, Option<&str>, &str),
        channels: &BTreeSet<ChannelName>,
        app: &App,
        now: Now,
    ) -> Result<(ChannelName, Event), Refusal> {
        if !app.client_events {
            let feature = "client events";
            return Err(Refusal::Disabled { feature, setting: "client_events" });
        }
        let name = app.event_name(name)?;
        let channel = channel.ok_or(Refusal::Rule("a client event needs a `channel`"))?;
        app.check_event_data(json.len())?;
        let Some(channel) = channels.get(channel).cloned() else {
            return Err(Refusal::Rule("a client event needs a channel that you are subscribed to"));
        };
        if !channel.kind().is_guarded() {
            return Err(Refusal::Rule("client events are for private and presence channels"));
        }
        let rate = Rate::per_second(app.limits.client_events_per_second);
        self.0.take(1, rate, now.moment).map_err(|retry_after| Refusal::RateLimited {
            what: "client events from this connection",
            limit: rate.per_second,
            setting: "client_events_per_second",
            retry_after,
        })?;
        Ok((channel, Event { name, data: Data::Json(json.into()) }))
    }
}

impl Default for ClientEvents {
    fn default() -> Self {
        Self::new()
    }
}
