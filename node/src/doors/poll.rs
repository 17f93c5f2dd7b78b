//! `GET /api/realtime/poll`: what is new since an event, at once or when it comes. A poll is a
//! connection of its own that joins its channels, takes what they send, and is gone; what happens
//! between two polls the channels remember for as long as their history reaches.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::try_join_all;
use proto::budget::Deed;
use proto::channel::{Joined, Role};
use proto::cluster::message::ListQuery;
use proto::cursor::Cursor;
use proto::door::{Close, Signal};
use proto::plain::frame::timestamp;
use proto::quota::Demand;
use proto::visitor::Visitor;
use proto::wire::Wire;
use proto::{App, ChannelKey, ChannelName, Refusal, SocketId, UserId};
use tokio::time::timeout;

use super::visitors::{Guest, Parameters, channels_max, check_channels};
use crate::apps::AppEntry;
use crate::http::error::HttpError;
use crate::outbox::{Outbox, Writer};
use crate::random;
use crate::relay::{Attached, Relay};
use crate::server::Server;
use crate::session::{self, CLIENTS};

/// How long an answer waits for news unless the client says otherwise, in seconds, and at most.
const WAIT_SECONDS: u64 = 25;
/// How long the user is still there after an answer: the next poll comes by then.
const PRESENCE_GRACE: Duration = Duration::from_secs(10);

/// A channel, and as what the poll joins it.
type Wanted = (ChannelName, Role);

/// Answers with what is new.
///
/// # Errors
/// 401 without a valid token, 403 for a channel that the token does not grant, 400 for a place that
/// is none, 429 for a user who polls too often, 503 if a channel cannot be reached: nothing is lost then.
pub async fn poll(
    State(server): State<Arc<Server>>,
    request: Request<Body>,
) -> Result<Response, HttpError> {
    let guest = Guest::of(&server, &request)?;
    let parameters = Parameters::of(request.uri());
    let cursor = match parameters.get("lastMessageId").filter(|id| !id.is_empty()) {
        Some(id) => Some(Cursor::parse(id).map_err(|e| HttpError::bad_request(e.to_string()))?),
        None => None,
    };
    let wait = wait(&parameters)?;
    let names = names(guest.app(), &parameters, cursor.as_ref())?;
    let (entry, visitor) = guest.let_user_in("poll", &names).await?;
    if let Some(user) = visitor.user()
        && let Err(refusal) = server.quotas.admit_user(&entry.app, user, Deed::Poll).await
    {
        entry.metrics.rate_limited(Deed::Poll.setting());
        return Err(refusal.into());
    }
    let channels = channels(&server, (&entry, &visitor), &names).await?;
    let (user, place) = (visitor.user().map(UserId::as_str), parameters.get("lastMessageId"));
    tracing::debug!(
        target: CLIENTS, app = %entry.app.id, transport = Wire::Poll.label(), user, place, "poll"
    );
    let mut polling = Polling::begin(&server, &entry).await?;
    polling.join(&entry, channels, cursor).await?;
    let events = polling.events(wait).await;
    Ok(answer(&events, server.clock.now().unix_ms))
}

fn wait(parameters: &Parameters) -> Result<Duration, HttpError> {
    let seconds: u64 = match parameters.get("wait") {
        Some(wait) => wait.parse().map_err(|_| HttpError::bad_request("`wait` is in seconds"))?,
        None => WAIT_SECONDS,
    };
    Ok(Duration::from_secs(seconds.min(WAIT_SECONDS)))
}

fn answer(events: &[Bytes], unix_ms: u64) -> Response {
    let events = events.concat();
    // Each has a comma before it.
    let events = String::from_utf8_lossy(events.get(1..).unwrap_or_default());
    let body = format!(r#"{{"events":[{events}],"timestamp":"{}"}}"#, timestamp(unix_ms));
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response()
}

/// The channels that the client names, or those that it went on from.
fn names<'a>(
    app: &App,
    parameters: &'a Parameters,
    cursor: Option<&'a Cursor>,
) -> Result<Vec<&'a str>, HttpError> {
    let mut names: Vec<&str> = parameters.channels().collect();
    if names.is_empty() {
        names.extend(cursor.into_iter().flat_map(Cursor::channels).map(ChannelName::as_str));
    }
    names.sort_unstable();
    names.dedup();
    check_channels(app, names.len())?;
    Ok(names)
}

/// The channels of these names, or what the user may read of the channels in which somebody is, and
/// the user's own.
async fn channels(
    server: &Server,
    (entry, visitor): (&AppEntry, &Visitor),
    names: &[&str],
) -> Result<Vec<Wanted>, HttpError> {
    let app = &entry.app;
    let mut channels = Vec::new();
    for name in names {
        channels.push(visitor.subscribe(app, name).map_err(HttpError::of_visitor)?);
    }
    if channels.is_empty() {
        let query = ListQuery { app: app.id.clone(), prefix: String::new() };
        let occupied = server.router.list(query).await.map_err(Refusal::from)?;
        let own = visitor.user().map(|user| format!("user:{user}")).into_iter();
        let names = own.chain(occupied.iter().map(|listed| listed.channel.to_string()));
        let readable = names.filter_map(|name| visitor.subscribe(app, &name).ok());
        channels.extend(readable.take(channels_max(app)));
        channels.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        channels.dedup_by(|(one, _), (other, _)| one == other);
    }
    match channels.is_empty() {
        true => Err(HttpError::bad_request("which channels? `?channels=a,b`")),
        false => Ok(channels),
    }
}

/// A poll while it waits. It leaves its channels when it is dropped.
struct Polling<'a> {
    server: &'a Server,
    entry: &'a AppEntry,
    socket: SocketId,
    outbox: Arc<Outbox>,
    began: Instant,
    /// Why it ended, as a word for metrics.
    ended: &'static str,
}

impl<'a> Polling<'a> {
    async fn begin(server: &'a Server, entry: &'a AppEntry) -> Result<Self, HttpError> {
        server.quotas.admit(&entry.app.id, Demand::Connection).await.map_err(Refusal::from)?;
        let socket = SocketId::from_random(random::bits());
        let outbox = Arc::new(Outbox::new(Writer::Held, Wire::Poll, &entry.app.limits));
        entry.metrics.door(Wire::Poll).begin();
        let began = Instant::now();
        let ended = "client";
        let polling = Self { server, entry, socket, outbox: Arc::clone(&outbox), began, ended };
        let attached = Attached::new(entry.app.id.clone(), socket, Wire::Poll);
        server.relay.attach(attached, outbox).await;
        Ok(polling)
    }

    async fn join(
        &self,
        entry: &AppEntry,
        channels: Vec<Wanted>,
        cursor: Option<Cursor>,
    ) -> Result<(), HttpError> {
        let socket = self.socket;
        // What is not asked for any more is no part of the places that are answered.
        let mut cursor = cursor.unwrap_or_default();
        cursor.retain(|known| channels.iter().any(|(channel, _)| channel == known));
        let cursor = &cursor;
        self.server.relay.go_on(socket, cursor.clone()).await;
        let joins = channels.into_iter().map(|(channel, role)| async {
            let since = cursor.get(&channel);
            let role = role.with_grace(PRESENCE_GRACE);
            let joined = Joined { socket, role, since, was: None };
            let key = ChannelKey { app: entry.app.id.clone(), channel };
            let joining = self.server.relay.join(key, joined).await;
            joining.map_err(|not_joined| HttpError::from(not_joined.refusal))
        });
        try_join_all(joins).await?;
        // A place speaks of all channels, so none may be missing in the first.
        self.server.relay.reached(socket).await;
        Ok(())
    }

    /// What there is, or what comes first. Nothing if the connection is to be closed before that: the
    /// client asks again, of another node if this one goes away.
    async fn events(&mut self, wait: Duration) -> Vec<Bytes> {
        let over = poll_fn(|context| self.poll_over(context));
        // Nothing has come when it is over.
        if let Ok(Some(close)) = timeout(wait, over).await {
            self.ended = session::word(&close);
        }
        self.outbox.take(usize::MAX)
    }

    /// Ready when something has come, or when the connection is to be closed.
    fn poll_over(&self, context: &mut Context<'_>) -> Poll<Option<Close>> {
        while let Poll::Ready(news) = self.outbox.poll_signal(context) {
            match news {
                Ok((_, Signal::Close(close))) => return Poll::Ready(Some(close)),
                // It is about what a poll has no word for.
                Ok(_) => {}
                // There is no socket that could fail.
                Err(_) => return Poll::Ready(None),
            }
        }
        self.outbox.poll_held(context).map(|()| None)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.server.quotas.release(&self.entry.app.id, Demand::Connection);
        self.entry.metrics.door(Wire::Poll).end(self.ended, self.began.elapsed());
        let (relay, socket): (Arc<Relay>, _) = (Arc::clone(&self.server.relay), self.socket);
        tokio::spawn(async move { relay.detach(socket, false).await });
    }
}
