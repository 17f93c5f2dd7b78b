//! The channel: one machine, on the one node that owns it, and everything true about the channel is
//! decided here. Order, presence, counts, history and the cached event live in it.
//!
//! The actor around it (`node/src/channel.rs`) feeds commands in one at a time and carries the
//! effects out in their order. **Invariant:** what a relay is told arrives in the order in which it
//! was decided, so a [`Delivery::Welcome`] separates what a subscriber has missed from what it gets.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Draft, Origin, Publication};
use crate::http::webhook::{Edge, Happening};
use crate::name::{ChannelKind, ChannelName, RelayId};
use crate::position::{Epoch, Position};
use crate::refusal::{NOT_SUBSCRIBED, Refusal};
use crate::time::{Moment, Now, earliest};

mod comings;
mod command;
mod count;
pub mod edges;
mod notify;
mod recent;
mod roster;
mod settings;
mod takeover;

pub use command::{
    Branch, Cached, Command, Delivery, Effect, Joined, Member, Part, Published, Recovery, Reply,
    Resumed, Resync, Role, Summary, Way, Welcome,
};
pub use recent::History;
pub use settings::Settings;

use count::CountNotice;
use edges::Edges;
use recent::Memory;
use roster::{Roster, Sockets};

/// A channel, at its owner.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Channel {
    name: ChannelName,
    kind: ChannelKind,
    settings: Settings,
    position: Position,
    /// Where earlier ownerships ended, oldest first: the way that the channel has come.
    ancestors: Vec<Position>,
    /// No place has been given under this ownership: what an earlier one gave may still turn up.
    is_fresh: bool,
    roster: Roster,
    memory: Memory,
    /// Connections signed in as the user of this channel.
    signed_in: Sockets,
    /// Connections that watch the user of this channel.
    watchers: Sockets,
    edges: Edges,
    count: CountNotice,
    /// Something was published on another way of the channel before this place: whoever comes from
    /// before it may lack that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parted_at: Option<Position>,
}

impl Channel {
    /// A channel that nobody is in and that remembers nothing.
    #[must_use]
    pub fn new(name: ChannelName, epoch: Epoch, settings: Settings) -> Self {
        let kind = name.kind();
        Self {
            name,
            kind,
            settings: settings.of_kind(kind),
            position: Position { epoch, ..Position::default() },
            ancestors: Vec::new(),
            is_fresh: false,
            roster: Roster::default(),
            memory: Memory::default(),
            signed_in: Sockets::default(),
            watchers: Sockets::default(),
            edges: Edges::default(),
            count: CountNotice::default(),
            parted_at: None,
        }
    }

    /// Carries out a command. What it wants done is appended to `effects`, in order.
    pub fn apply(&mut self, command: Command, now: Now, effects: &mut Vec<Effect>) -> Reply {
        match command {
            Command::Join { relay, joined } => return self.join(relay, joined, now, effects),
            Command::Unsubscribe { relay, socket } => {
                self.unsubscribe(&relay, socket, now.moment, effects);
            }
            Command::Leave { relay, socket } => {
                self.lose(&relay, socket, now.moment, effects);
            }
            Command::Resync(parts) => self.resync(parts, now, effects),
            Command::Resume { relay, last } => {
                let is_on_path = self.has_come_by(last);
                self.resume(relay, last, is_on_path, effects);
            }
            Command::RelayLost { relay } => self.lose_relay(&relay, now.moment, effects),
            Command::Publish(draft) => return self.publish(draft, now, effects),
            Command::Terminate => self.tell(&self.signed_in, &Delivery::Terminate, effects),
            Command::Inspect => return Reply::Channel(self.summary(now.moment)),
            Command::Members => return Reply::Members(self.roster.members()),
            Command::Reunite(branch) => self.reunite(branch, now, effects),
            Command::Configure(settings) => self.settings = settings.of_kind(self.kind),
            Command::Told { number } => self.edges.delivered(number),
            Command::Tick => self.tick(now.moment, effects),
        }
        Reply::Done
    }

    /// When [`Command::Tick`] is to be applied next. After a tick it is later than that tick.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let pending = earliest(self.edges.deadline(), self.count.deadline());
        let pending = earliest(pending, self.roster.deadline());
        let memory = earliest(self.retained_until(), self.memory.history_ends(&self.settings));
        earliest(pending, memory)
    }

    /// Whether nothing would be lost if the channel were forgotten.
    #[must_use]
    pub fn is_idle(&self, now: Moment) -> bool {
        self.roster.subscribers().is_empty()
            && self.signed_in.is_empty()
            && self.watchers.is_empty()
            && self.roster.deadline().is_none()
            && self.edges.deadline().is_none()
            && self.edges.outbox().next().is_none()
            && self.retained_until().is_none_or(|until| until <= now)
    }

    /// The place of the last publication.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Connections subscribed.
    #[must_use]
    pub const fn subscriber_count(&self) -> usize {
        self.roster.subscribers().len()
    }

    /// Distinct members of a presence channel.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.roster.member_count()
    }

    /// The kept publications, oldest first.
    pub fn history(&self) -> impl Iterator<Item = &Arc<Publication>> {
        self.memory.iter()
    }

    fn publish(&mut self, mut draft: Draft, now: Now, effects: &mut Vec<Effect>) -> Reply {
        let mut happenings = Vec::new();
        if let Origin::Client { socket, user } = &mut draft.origin {
            if !self.roster.subscribers().has_socket(*socket) {
                return Reply::Refused(Refusal::Rule(NOT_SUBSCRIBED));
            }
            *user = self.roster.user_of(*socket).cloned();
            happenings.push(Happening::client_event(&draft.event, *socket, user.clone()));
        }
        self.position.offset = self.position.offset.next();
        self.is_fresh = false;
        let publication = Arc::new(Publication {
            draft,
            position: self.position,
            unix_ms: now.unix_ms,
            accepted: now.moment,
        });
        self.remember(&publication, now.moment);
        self.announce(&publication, effects);
        self.report(happenings, effects);
        let subscribers = self.audience(&publication.draft.origin);
        Reply::Published(Published { subscribers, ..self.published() })
    }

    /// The answer to a publish that has the last place.
    fn published(&self) -> Published {
        Published {
            position: Some(self.position),
            subscribers: self.roster.subscribers().len(),
            members: self.roster.member_count(),
        }
    }

    fn remember(&mut self, publication: &Arc<Publication>, now: Moment) {
        let is_from_client = matches!(publication.draft.origin, Origin::Client { .. });
        if self.kind.cache && !is_from_client {
            self.memory.cache(Arc::clone(publication));
            self.edges.cache_filled();
        }
        let is_occupied = !self.roster.subscribers().is_empty();
        if is_occupied || self.memory.is_awaiting(now, &self.settings) {
            self.memory.record(Arc::clone(publication), &self.settings);
        }
    }

    fn summary(&self, now: Moment) -> Summary {
        let cached = self.memory.cached(now, &self.settings).map(|publication| {
            let left = (publication.accepted + self.settings.cache_for).since(now);
            let seconds = u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1);
            (publication, seconds)
        });
        Summary {
            subscribers: self.roster.subscribers().len(),
            members: self.roster.member_count(),
            position: Some(self.position),
            cached,
            signed_in: self.signed_in.relays().cloned().collect(),
        }
    }

    fn tick(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.end_graces(now, effects);
        let mut happenings = Vec::new();
        self.edges.tick(now, &mut happenings);
        self.report(happenings, effects);
        if self.count.tick(now) {
            self.tell_count(effects);
        }
        self.memory.forget(now, &self.settings);
    }

    /// Until when an empty channel keeps its history or its cached event.
    fn retained_until(&self) -> Option<Moment> {
        let is_empty = self.roster.subscribers().is_empty();
        is_empty.then(|| self.memory.retained_until(&self.settings)).flatten()
    }

    fn count_changed(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let is_counted =
            self.settings.subscription_count && !self.kind.is_presence() && !self.kind.reserved;
        if is_counted && self.count.changed(self.roster.subscribers().len(), now) {
            self.tell_count(effects);
        }
    }

    fn tell_count(&mut self, effects: &mut Vec<Effect>) {
        let subscription_count = self.roster.subscribers().len();
        self.tell_subscribers(&Delivery::SubscriptionCount(subscription_count), effects);
        self.report(vec![Happening::SubscriptionCount { subscription_count }], effects);
    }

    fn tell_subscribers(&self, delivery: &Delivery, effects: &mut Vec<Effect>) {
        self.tell(self.roster.subscribers(), delivery, effects);
    }

    fn tell(&self, sockets: &Sockets, delivery: &Delivery, effects: &mut Vec<Effect>) {
        let to = |relay: &RelayId| Effect::Relay { to: relay.clone(), delivery: delivery.clone() };
        effects.extend(sockets.relays().map(to));
    }

    fn report(&mut self, happenings: Vec<Happening>, effects: &mut Vec<Effect>) {
        if self.kind.reserved || !self.settings.webhooks {
            return;
        }
        for happening in happenings {
            let id = self.edges.number(&happening, self.position.epoch);
            let channel = self.name.clone();
            effects.push(Effect::Webhook(Edge { id, channel, happening }));
        }
    }
}

#[cfg(test)]
mod tests;
