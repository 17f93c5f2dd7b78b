//! What clients publish: Pusher's client events, and what a token allows its user to.

use std::sync::Arc;

use proto::budget::Deed;
use proto::channel::{Command, Reply};
use proto::cluster::message::Ack;
use proto::door::Post;
use proto::event::{Draft, Event, Origin, Priority};
use proto::idempotency::RetryKey;
use proto::quota::Demand;
use proto::{ChannelKey, Refusal, SocketId};

use crate::apps::AppEntry;
use crate::server::Server;

/// Publishes the event of a connected client.
///
/// # Errors
/// That the app has used up what it may publish, or that the channel cannot be reached.
pub async fn client_event(
    server: &Server,
    entry: &AppEntry,
    key: ChannelKey,
    (event, socket): (Event, SocketId),
) -> Result<Reply, Refusal> {
    let origin = Origin::Client { socket, user: None };
    let (id, priority) = (server.event_id(), Priority::default());
    let draft = Draft { id, event, origin, ttl_ms: 0, priority, retry: None };
    publish(server, entry, key, (draft, Some(Ack::Sequenced))).await
}

/// Publishes what a token allows its user to. An id of an event is the user's own: others may use the
/// same.
///
/// # Errors
/// As [`client_event`], and that the user publishes too fast.
pub async fn post(
    server: &Server,
    entry: &AppEntry,
    key: ChannelKey,
    post: Post,
) -> Result<Reply, Refusal> {
    let Post { user, event, id, ttl_ms, priority } = post;
    if let Err(refusal) = server.quotas.admit_user(&entry.app, &user, Deed::Publish).await {
        entry.metrics.rate_limited(Deed::Publish.setting());
        return Err(refusal);
    }
    // An id of a user may have anything in it: its length keeps it apart from what follows.
    let key_of = |id| format!("{} {user} {id}", user.as_str().len());
    let retry = id.map(|id| Arc::new(RetryKey { key: key_of(id), item: 0 }));
    let origin = Origin::User { user };
    let draft = Draft { id: server.event_id(), event, origin, ttl_ms, priority, retry };
    publish(server, entry, key, (draft, None)).await
}

async fn publish(
    server: &Server,
    entry: &AppEntry,
    key: ChannelKey,
    (draft, level): (Draft, Option<Ack>),
) -> Result<Reply, Refusal> {
    if let Err(error) = server.quotas.admit(&key.app, Demand::Publishes(1)).await {
        entry.metrics.rate_limited("publishes");
        return Err(error.into());
    }
    entry.metrics.published_client.increment(1);
    let asked = server.router.ask_for(key, Command::Publish(draft), level);
    asked.answer().await.map_err(Refusal::from)
}
