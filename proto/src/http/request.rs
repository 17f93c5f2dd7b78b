//! Bodies and queries of the HTTP API, read and checked before anything is done.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::app::{App, check_size};
use crate::event::{Data, Event};
use crate::idempotency::KEY_BYTES_MAX;
use crate::json::is_too_deep;
use crate::name::{ChannelName, EventName, SocketId};
use crate::refusal::Refusal;

use super::signature::Query;

/// Everything that one request asks to be published: `POST /events` has one item, a batch several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishRequest {
    /// In the order of the request.
    pub items: Vec<Item>,
    /// The key under which a repetition takes effect once.
    pub idempotency_key: Option<String>,
}

/// One event for one or more channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where to, each once.
    pub channels: Vec<ChannelName>,
    /// What.
    pub event: Event,
    /// The connection that shall not hear it.
    pub except: Option<SocketId>,
    /// What the answer shall tell about each channel.
    pub info: Info,
}

/// What an answer shall tell about a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Distinct members.
    pub user_count: bool,
    /// Connections.
    pub subscription_count: bool,
    /// What a cache channel remembers.
    pub cache: bool,
    /// Connections by their door. Ours: Pusher has one door only.
    pub transports: bool,
}

impl Info {
    /// Reads a comma-separated list; words it does not know are left out, as Pusher does.
    #[must_use]
    pub fn parse(list: &str) -> Self {
        let has = |word: &str| list.split(',').any(|part| part.trim() == word);
        Self {
            user_count: has("user_count"),
            subscription_count: has("subscription_count"),
            cache: has("cache"),
            transports: has("transports"),
        }
    }

    /// What a query asks for.
    #[must_use]
    pub fn of_query(query: &Query) -> Self {
        query.get("info").map(Self::parse).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct ItemBody<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow)]
    channels: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow)]
    socket_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    info: Option<Cow<'a, str>>,
    #[serde(borrow)]
    idempotency_key: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct BatchBody<'a> {
    #[serde(borrow)]
    batch: Vec<ItemBody<'a>>,
    #[serde(borrow)]
    idempotency_key: Option<Cow<'a, str>>,
}

impl PublishRequest {
    /// Reads the body of `POST /events`.
    ///
    /// # Errors
    /// What is wrong with it: nothing is published then, to no channel.
    pub fn event(body: &[u8], app: &App) -> Result<Self, Refusal> {
        let body: ItemBody<'_> = parse(body)?;
        let idempotency_key = check_key(body.idempotency_key.as_deref())?;
        let items = vec![item(&body, app)?];
        Ok(Self { items, idempotency_key })
    }

    /// Reads the body of `POST /batch_events`.
    ///
    /// # Errors
    /// What is wrong with it: nothing is published then, no event of the batch.
    pub fn batch(body: &[u8], app: &App) -> Result<Self, Refusal> {
        let body: BatchBody<'_> = parse(body)?;
        let limit = app.limits.batch_events;
        if body.batch.is_empty() {
            return Err(Refusal::Rule("the batch has no events"));
        }
        if body.batch.len() > limit {
            let what = "events of a batch";
            return Err(Refusal::TooMany { what, limit, setting: "batch_events" });
        }
        let mut items = Vec::with_capacity(body.batch.len());
        for one in &body.batch {
            let item = item(one, app)?;
            if item.channels.len() > 1 {
                return Err(Refusal::Rule("an event of a batch has one `channel`"));
            }
            items.push(item);
        }
        let idempotency_key = check_key(body.idempotency_key.as_deref())?;
        Ok(Self { items, idempotency_key })
    }

    /// How many publishes the request counts as.
    #[must_use]
    pub fn publishes(&self) -> u32 {
        let channels = self.items.iter().map(|item| item.channels.len()).sum::<usize>();
        u32::try_from(channels).unwrap_or(u32::MAX)
    }
}

/// Reads JSON from outside, nested no deeper than allowed.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    let text = std::str::from_utf8(body)
        .map_err(|error| Refusal::Malformed(format!("the body is not UTF-8: {error}")))?;
    if is_too_deep(text) {
        return Err(Refusal::Rule("the body nests deeper than 64 levels"));
    }
    serde_json::from_str(text)
        .map_err(|error| Refusal::Malformed(format!("the body cannot be read: {error}")))
}

/// Checks an idempotency key from a body or a header.
///
/// # Errors
/// [`Refusal::Rule`] if it is empty or longer than [`KEY_BYTES_MAX`].
pub fn check_key(key: Option<&str>) -> Result<Option<String>, Refusal> {
    match key {
        Some(key) if key.is_empty() || key.len() > KEY_BYTES_MAX => {
            Err(Refusal::Rule("an idempotency key has 1 to 256 bytes"))
        }
        key => Ok(key.map(str::to_owned)),
    }
}

fn item(body: &ItemBody<'_>, app: &App) -> Result<Item, Refusal> {
    let name = event_name(&body.name, app)?;
    let channels = channels(body, app)?;
    let except = body.socket_id.as_deref().map(SocketId::parse).transpose()?;
    let data = data(body.data)?;
    app.check_event_data(data.bytes())?;
    Ok(Item {
        channels,
        event: Event { name, data },
        except,
        info: body.info.as_deref().map(Info::parse).unwrap_or_default(),
    })
}

/// The protocol's own events are the server's to send.
fn event_name(text: &str, app: &App) -> Result<EventName, Refusal> {
    if text.starts_with("pusher:") || text.starts_with("pusher_internal:") {
        return Err(Refusal::Rule("event names cannot begin with `pusher:` or `pusher_internal:`"));
    }
    app.event_name(text)
}

fn channels(body: &ItemBody<'_>, app: &App) -> Result<Vec<ChannelName>, Refusal> {
    let one = body.channel.as_slice();
    let names = body.channels.as_deref().unwrap_or(one);
    let limit = app.limits.event_channels;
    if names.is_empty() {
        return Err(Refusal::Rule("a `channel` or a list of `channels` is needed"));
    }
    if names.len() > limit {
        let what = "channels of an event";
        return Err(Refusal::TooMany { what, limit, setting: "event_channels" });
    }
    let mut seen = BTreeSet::new();
    let mut channels = Vec::with_capacity(names.len());
    for name in names {
        let channel = app.channel(name)?;
        if seen.insert(channel.clone()) {
            channels.push(channel);
        }
    }
    if channels.len() > 1 && channels.iter().any(|channel| channel.kind().encrypted) {
        return Err(Refusal::Rule(
            "an event for an encrypted channel can go to that channel only: each has its own key",
        ));
    }
    Ok(channels)
}

/// A string is published as it is; any other JSON value in its original spelling.
fn data(raw: &RawValue) -> Result<Data, Refusal> {
    let text = raw.get();
    if !text.starts_with('"') {
        return Ok(Data::Text(text.into()));
    }
    serde_json::from_str::<String>(text)
        .map(|text| Data::Text(text.into()))
        .map_err(|error| Refusal::Malformed(format!("`data` cannot be read: {error}")))
}

/// Makes the item of the deprecated `POST /channels/{channel}/events`, whose body is the data.
///
/// # Errors
/// What is wrong with the request.
pub fn legacy_event(
    app: &App,
    channel: &str,
    query: &Query,
    body: &[u8],
) -> Result<PublishRequest, Refusal> {
    let name = query.get("name").ok_or(Refusal::Rule("the query parameter `name` is missing"))?;
    let text = std::str::from_utf8(body)
        .map_err(|error| Refusal::Malformed(format!("the body is not UTF-8: {error}")))?;
    check_size("the event data", text.len(), app.limits.event_bytes, "event_bytes")?;
    let item = Item {
        channels: vec![app.channel(channel)?],
        event: Event { name: event_name(name, app)?, data: Data::Text(text.into()) },
        except: query.get("socket_id").map(SocketId::parse).transpose()?,
        info: Info::default(),
    };
    Ok(PublishRequest { items: vec![item], idempotency_key: None })
}

/// The most channels of one page.
const PAGE_MAX: usize = 1_000;

/// Which part of a list is wanted, in order of the names. All of it, unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// How many at most.
    pub limit: Option<usize>,
    /// Only those after this one, which need not exist any more.
    pub after: Option<ChannelName>,
}

impl Page {
    fn parse(query: &Query) -> Result<Self, Refusal> {
        let limit = query.get("limit").map(|text| match text.parse() {
            Ok(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
            _ => Err(Refusal::Malformed(format!(
                "`limit` is a number from 1 to {PAGE_MAX}, not `{text}`"
            ))),
        });
        let after = query.get("after").map(|text| {
            ChannelName::parse(text).map_err(|error| {
                Refusal::Malformed(format!("`after` is the name of a channel: {error}"))
            })
        });
        Ok(Self { limit: limit.transpose()?, after: after.transpose()? })
    }
}

/// What `GET /channels` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelsQuery {
    /// Only channels whose name begins like this.
    pub prefix: String,
    /// What to tell about each.
    pub info: Info,
    /// Which of them.
    pub page: Page,
}

impl ChannelsQuery {
    /// Reads the query.
    ///
    /// # Errors
    /// If user counts are asked for without limiting the answer to presence channels, or what is told
    /// of one channel only, or the page is none.
    pub fn parse(query: &Query) -> Result<Self, Refusal> {
        let prefix = query.get("filter_by_prefix").unwrap_or_default().to_owned();
        let info = Info::of_query(query);
        if info.user_count && !prefix.starts_with("presence-") {
            return Err(Refusal::Rule(
                "user_count is for presence channels: add filter_by_prefix=presence-",
            ));
        }
        if info.transports {
            return Err(Refusal::Rule(
                "transports are told of one channel: GET /channels/{channel}",
            ));
        }
        Ok(Self { prefix, info, page: Page::parse(query)? })
    }
}

#[cfg(test)]
mod tests;
