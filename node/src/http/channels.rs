//! Questions about channels. Each is answered by the channel's owner, or from the owner's table.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderName, Request};
use proto::channel::{Command, Member, Reply, Summary};
use proto::cluster::message::{ListQuery, Listed};
use proto::event::Data;
use proto::http::request::{ChannelsQuery, Info, Page};
use proto::wire::Wire;
use proto::{ChannelKey, ChannelName, Refusal};
use serde_json::{Map, Value, json};

use crate::relay::Transports;
use crate::server::Server;

use super::JSON;
use super::auth::{Authentic, authenticate};
use super::error::HttpError;

/// A JSON answer.
pub type Answer = ([(HeaderName, &'static str); 1], String);

/// A JSON answer.
pub(super) fn answer(body: &Value) -> Answer {
    (JSON, body.to_string())
}

/// `GET /apps/{id}/channels`: the occupied channels.
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Answer, HttpError> {
    let Authentic { entry, query, .. } = authenticate(&server, &id, request).await?;
    let ChannelsQuery { prefix, info, page } = ChannelsQuery::parse(&query)?;
    let query = ListQuery { app: entry.app.id.clone(), prefix };
    let all = server.router.list(query).await.map_err(Refusal::from)?;
    let (listed, next) = cut(all, &page);
    let mut channels = Map::new();
    for Listed { channel, subscribers, members } in listed {
        let summary = Summary { subscribers, members, ..Summary::default() };
        channels.insert(channel.to_string(), counts(&summary, info).into());
    }
    let mut body = json!({ "channels": channels });
    if let Some(next) = next {
        body["next"] = next.as_str().into();
    }
    Ok(answer(&body))
}

/// The page of a list, and its last name if more follow.
fn cut(mut all: Vec<Listed>, page: &Page) -> (Vec<Listed>, Option<ChannelName>) {
    all.sort_unstable_by(|a, b| a.channel.cmp(&b.channel));
    if let Some(after) = &page.after {
        all.retain(|listed| listed.channel > *after);
    }
    let limit = page.limit.unwrap_or(usize::MAX);
    let is_more = all.len() > limit;
    all.truncate(limit);
    let next = all.last().filter(|_| is_more).map(|last| last.channel.clone());
    (all, next)
}

/// `GET /apps/{id}/channels/{channel}`.
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    Path((id, channel)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Answer, HttpError> {
    let (authentic, name) = ask_about(&server, &id, &channel, request).await?;
    let info = Info::of_query(&authentic.query);
    if info.user_count && !name.kind().is_presence() {
        let rule = "user_count is for presence channels";
        return Err(Refusal::Rule(rule).into());
    }
    if info.cache && !name.kind().cache {
        return Err(Refusal::Rule("cache is for cache channels").into());
    }
    let summary = inspect(&server, &authentic, name.clone()).await?;
    let mut body = counts(&summary, info);
    if info.transports {
        let key = ChannelKey { app: authentic.entry.app.id.clone(), channel: name };
        let counts = server.router.transports(key).await.map_err(Refusal::from)?;
        body.insert("transports".into(), transports(&counts));
    }
    body.insert("occupied".into(), summary.is_occupied().into());
    if info.cache {
        body.insert("cache".into(), cache(&summary));
    }
    Ok(answer(&Value::Object(body)))
}

/// `GET /apps/{id}/channels/{channel}/stats`, deprecated.
pub(super) async fn stats(
    State(server): State<Arc<Server>>,
    Path((id, channel)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Answer, HttpError> {
    let (authentic, name) = ask_about(&server, &id, &channel, request).await?;
    let is_presence = name.kind().is_presence();
    let summary = inspect(&server, &authentic, name).await?;
    let mut body = json!({ "occupied": summary.is_occupied() });
    if is_presence {
        body["user_count"] = summary.members.into();
    }
    Ok(answer(&body))
}

/// `GET /apps/{id}/channels/{channel}/users`.
pub(super) async fn users(
    State(server): State<Arc<Server>>,
    Path((id, channel)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Answer, HttpError> {
    let (authentic, channel) = ask_about(&server, &id, &channel, request).await?;
    let Authentic { entry, query, .. } = authentic;
    if !channel.kind().is_presence() {
        return Err(Refusal::Rule("only presence channels have users").into());
    }
    let key = ChannelKey { app: entry.app.id.clone(), channel };
    let with_info = query.get("with_user_info") == Some("1");
    let reply = server.router.ask(key, Command::Members).answer().await.map_err(Refusal::from)?;
    let Reply::Members(members) = reply else {
        return Err(Refusal::Unavailable.into());
    };
    let users: Vec<Value> = members.iter().map(|member| user(member, with_info)).collect();
    Ok(answer(&json!({ "users": users })))
}

/// Checks a request about one channel.
async fn ask_about(
    server: &Server,
    id: &str,
    channel: &str,
    request: Request<Body>,
) -> Result<(Authentic, ChannelName), HttpError> {
    let authentic = authenticate(server, id, request).await?;
    let channel = authentic.entry.app.channel(channel)?;
    Ok((authentic, channel))
}

fn user(member: &Member, with_info: bool) -> Value {
    let mut user = json!({ "id": member.user.as_str() });
    if with_info && let Some(info) = &member.info {
        // It was JSON when it was signed.
        user["user_info"] = serde_json::from_str(info).unwrap_or_default();
    }
    user
}

async fn inspect(
    server: &Server,
    authentic: &Authentic,
    channel: ChannelName,
) -> Result<Summary, Refusal> {
    let key = ChannelKey { app: authentic.entry.app.id.clone(), channel };
    match server.router.ask(key, Command::Inspect).answer().await? {
        Reply::Channel(summary) => Ok(summary),
        Reply::Refused(refusal) => Err(refusal),
        Reply::Done | Reply::Published(_) | Reply::Members(_) => Err(Refusal::Unavailable),
    }
}

fn counts(summary: &Summary, info: Info) -> Map<String, Value> {
    let mut counts = Map::new();
    if info.user_count {
        counts.insert("user_count".into(), summary.members.into());
    }
    if info.subscription_count {
        counts.insert("subscription_count".into(), summary.subscribers.into());
    }
    counts
}

/// The doors through which somebody is there, by the words of the metrics.
fn transports(counts: &Transports) -> Value {
    let here = Wire::ALL.iter().filter(|wire| counts[wire.index()] > 0);
    let count = |wire: &Wire| (wire.label().to_owned(), json!(counts[wire.index()]));
    here.map(count).collect()
}

fn cache(summary: &Summary) -> Value {
    match &summary.cached {
        Some((publication, ttl)) => {
            let (Data::Text(data) | Data::Json(data)) = &publication.draft.event.data;
            json!({ "data": &**data, "ttl": ttl })
        }
        None => Value::Null,
    }
}
