//! Publishing: `POST /events`, `POST /batch_events`, and the deprecated form of one channel.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use proto::channel::{Command, Published};
use proto::cluster::message::Ack;
use proto::cluster::slot::StableHash;
use proto::event::{Draft, Origin, Priority};
use proto::http::request::{Info, Item, PublishRequest, check_key, legacy_event};
use proto::idempotency::RetryKey;
use proto::quota::Demand;
use proto::{App, ChannelKey, ChannelName, Refusal};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::channel::published;
use crate::router::{Asked, DEADLINE};
use crate::server::Server;

use super::auth::{Authentic, authenticate};
use super::error::HttpError;

/// The header that says which acknowledgement was reached, and asks for one.
const ACK: &str = "handbell-ack";
/// The answer to a publish that asked for nothing: SDKs compare it with `{}`.
const NOTHING: &str = "{}";

/// `POST /apps/{id}/events`.
pub(super) async fn event(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response<Body>, HttpError> {
    let authentic = authenticate(&server, &id, request).await?;
    let request = PublishRequest::event(&authentic.body, &authentic.entry.app)?;
    let (answers, ack) = publish(&server, &authentic, &request).await?;
    let item = &request.items[0];
    if item.info == Info::default() {
        return Ok(acknowledged(StatusCode::OK, ack, NOTHING));
    }
    let channels: Map<String, Value> = item
        .channels
        .iter()
        .zip(&answers)
        .map(|(channel, published)| (channel.to_string(), info(item, channel, published)))
        .collect();
    Ok(acknowledged(StatusCode::OK, ack, json!({ "channels": channels }).to_string()))
}

/// `POST /apps/{id}/batch_events`.
pub(super) async fn batch(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response<Body>, HttpError> {
    let authentic = authenticate(&server, &id, request).await?;
    let request = PublishRequest::batch(&authentic.body, &authentic.entry.app)?;
    let (answers, ack) = publish(&server, &authentic, &request).await?;
    if request.items.iter().all(|item| item.info == Info::default()) {
        return Ok(acknowledged(StatusCode::OK, ack, NOTHING));
    }
    // An event of a batch has one channel.
    let infos: Vec<Value> = request
        .items
        .iter()
        .zip(&answers)
        .map(|(item, published)| info(item, &item.channels[0], published))
        .collect();
    Ok(acknowledged(StatusCode::OK, ack, json!({ "batch": infos }).to_string()))
}

/// `POST /apps/{id}/channels/{channel}/events`, deprecated since 2012 and still called.
pub(super) async fn legacy(
    State(server): State<Arc<Server>>,
    Path((id, channel)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response<Body>, HttpError> {
    let authentic = authenticate(&server, &id, request).await?;
    let Authentic { entry, query, body, .. } = &authentic;
    let request = legacy_event(&entry.app, &channel, query, body)?;
    let (_, ack) = publish(&server, &authentic, &request).await?;
    Ok(acknowledged(StatusCode::ACCEPTED, ack, NOTHING))
}

fn acknowledged(status: StatusCode, ack: Ack, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACK, HeaderValue::from_static(ack.word()));
    response
}

/// Publishes every item to every one of its channels, and returns the answers in that order. What is
/// not answered in time may have been published.
async fn publish(
    server: &Server,
    authentic: &Authentic,
    request: &PublishRequest,
) -> Result<(Vec<Published>, Ack), HttpError> {
    let published = publish_all(server, authentic, request);
    timeout(DEADLINE, published).await.unwrap_or_else(|_| Err(Refusal::Unavailable.into()))
}

async fn publish_all(
    server: &Server,
    authentic: &Authentic,
    request: &PublishRequest,
) -> Result<(Vec<Published>, Ack), HttpError> {
    let Authentic { entry, headers, body, .. } = authentic;
    let ack = asked_ack(server, headers)?;
    let app = &entry.app;
    let count = request.publishes();
    if let Err(error) = server.quotas.admit(&app.id, Demand::Publishes(count)).await {
        entry.metrics.rate_limited("publishes");
        return Err(Refusal::from(error).into());
    }
    let key = idempotency_key(headers, request)?;
    if let Some(key) = &key {
        let fingerprint = fingerprint(&authentic.path, body);
        server.router.claim(&app.id, key, fingerprint).await.map_err(Refusal::from)?;
    }
    // All are on their way, in order, before the first answer is waited for.
    let mut asked = Vec::with_capacity(count as usize);
    for (index, item) in (0..).zip(&request.items) {
        for channel in &item.channels {
            let retry = key.as_ref().map(|key| (key.as_str(), index));
            asked.push(ask(server, (app, channel), item, (retry, ack)));
        }
    }
    entry.metrics.published_rest.increment(u64::from(count));
    if ack == Some(Ack::Accepted) {
        return Ok((accepted(asked), Ack::Accepted));
    }
    let (mut answers, mut reached) = (Vec::with_capacity(asked.len()), Ack::Replicated);
    for asked in asked {
        let (reply, ack) = asked.acknowledged().await.map_err(Refusal::from)?;
        answers.push(published(reply)?);
        reached = reached.min(ack);
    }
    Ok((answers, reached))
}

/// Sends publishes on their way; what becomes of them is only logged.
fn accepted(asked: Vec<Asked>) -> Vec<Published> {
    let count = asked.len();
    tokio::spawn(async move {
        for asked in asked {
            if let Err(error) = asked.answer().await {
                tracing::warn!(%error, "a publish that was accepted was not sequenced");
            }
        }
    });
    vec![Published::default(); count]
}

fn ask(
    server: &Server,
    (app, channel): (&App, &ChannelName),
    item: &Item,
    (retry, ack): (Option<(&str, u32)>, Option<Ack>),
) -> Asked {
    let channel = ChannelKey { app: app.id.clone(), channel: channel.clone() };
    let draft = Draft {
        id: server.event_id(),
        event: item.event.clone(),
        origin: Origin::Api { except: item.except },
        ttl_ms: 0,
        priority: Priority::default(),
        retry: retry.map(|(key, item)| Arc::new(RetryKey { key: key.to_owned(), item })),
    };
    server.router.ask_for(channel, Command::Publish(draft), ack)
}

fn info(item: &Item, channel: &ChannelName, published: &Published) -> Value {
    let mut info = Map::new();
    if item.info.user_count && channel.kind().is_presence() {
        info.insert("user_count".into(), published.members.into());
    }
    if item.info.subscription_count {
        info.insert("subscription_count".into(), published.subscribers.into());
    }
    Value::Object(info)
}

/// A level that is asked for by name is met or refused, never quietly lowered.
fn asked_ack(server: &Server, headers: &HeaderMap) -> Result<Option<Ack>, HttpError> {
    let level = match headers.get(ACK).map(|level| level.as_bytes()) {
        None => return Ok(None),
        Some(b"accepted") => Ack::Accepted,
        Some(b"sequenced") => Ack::Sequenced,
        Some(b"replicated") => Ack::Replicated,
        Some(_) => {
            return Err(HttpError::bad_request(
                "the Handbell-Ack header is accepted, sequenced or replicated",
            ));
        }
    };
    let is_alone = server.router.view().is_none_or(|view| view.members().len() < 2);
    if level == Ack::Replicated && is_alone {
        return Err(HttpError::unavailable(
            "a single node cannot reach `replicated`: there is no second node to hold the event",
        ));
    }
    Ok(Some(level))
}

fn idempotency_key(
    headers: &HeaderMap,
    request: &PublishRequest,
) -> Result<Option<String>, HttpError> {
    let header = ["idempotency-key", "x-idempotency-key"]
        .iter()
        .find_map(|name| headers.get(*name))
        .map(|value| value.to_str())
        .transpose()
        .map_err(|_| HttpError::bad_request("the idempotency key is not plain text"))?;
    let from_header = check_key(header)?;
    Ok(request.idempotency_key.clone().or(from_header))
}

/// The path and the whole body: the deprecated calls name the channel in their path.
fn fingerprint(path: &str, body: &[u8]) -> u64 {
    let mut hash = StableHash::default();
    hash.write(path.as_bytes());
    hash.write(&[0]);
    hash.write(body);
    hash.finish()
}
