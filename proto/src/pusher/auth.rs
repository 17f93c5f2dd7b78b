//! Auth strings that the application made for its clients: `KEY:signature`.
//!
//! Source: the Pusher Channels auth signature reference. The signature covers the exact text of
//! `channel_data` and `user_data`, before anything is parsed.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::app::{App, Secret, check_size};
use crate::channel::Member;
use crate::http::signature::{is_signed, sign};
use crate::json::is_too_deep;
use crate::name::{ChannelName, SocketId, UserId};
use crate::refusal::Refusal;

/// Checks the auth string of a subscription.
///
/// # Errors
/// [`Refusal::Unauthorized`], with what is wrong.
pub fn check_subscription(
    app: &App,
    socket: SocketId,
    channel: &ChannelName,
    channel_data: Option<&str>,
    auth: &str,
) -> Result<(), Refusal> {
    check(app, auth, &subscription_text(socket, channel.as_str(), channel_data))
}

/// Checks the auth string of a signin.
///
/// # Errors
/// [`Refusal::Unauthorized`], with what is wrong.
pub fn check_signin(
    app: &App,
    socket: SocketId,
    user_data: &str,
    auth: &str,
) -> Result<(), Refusal> {
    check(app, auth, &signin_text(socket, user_data))
}

/// Makes the auth string of a subscription, for clients that know the secret: CLI, load test, tests.
#[must_use]
pub fn subscription(
    (key, secret): (&str, &Secret),
    socket_id: &str,
    channel: &str,
    channel_data: Option<&str>,
) -> String {
    let data = channel_data.map(|data| format!(":{data}")).unwrap_or_default();
    let text = format!("{socket_id}:{channel}{data}");
    format!("{key}:{}", sign(secret.expose(), text.as_bytes()))
}

fn subscription_text(socket: SocketId, channel: &str, channel_data: Option<&str>) -> String {
    match channel_data {
        Some(data) => format!("{socket}:{channel}:{data}"),
        None => format!("{socket}:{channel}"),
    }
}

fn signin_text(socket: SocketId, user_data: &str) -> String {
    format!("{socket}::user::{user_data}")
}

fn check(app: &App, auth: &str, text: &str) -> Result<(), Refusal> {
    let Some((key, signature)) = auth.split_once(':') else {
        return Err(Refusal::Unauthorized(
            "the auth string is missing or is not `key:signature`; check your auth endpoint",
        ));
    };
    if key != app.key {
        return Err(Refusal::Unauthorized(
            "the auth string was made with another app's key; check your auth endpoint",
        ));
    }
    if !is_signed(&app.secrets, text.as_bytes(), signature) {
        return Err(Refusal::Unauthorized(
            "the signature is wrong: it must cover this socket id, this channel and the same data",
        ));
    }
    Ok(())
}

#[derive(Deserialize)]
struct ChannelData<'a> {
    #[serde(borrow)]
    user_id: &'a RawValue,
    #[serde(borrow)]
    user_info: Option<&'a RawValue>,
}

/// Reads who a presence member is from `channel_data`.
///
/// # Errors
/// What is missing, malformed or too large.
pub fn member(app: &App, channel_data: &str) -> Result<Member, Refusal> {
    if is_too_deep(channel_data) {
        return Err(Refusal::Rule("channel_data nests deeper than 64 levels"));
    }
    let data: ChannelData<'_> = serde_json::from_str(channel_data)
        .map_err(|error| Refusal::Malformed(format!("channel_data cannot be read: {error}")))?;
    let user = user_id(data.user_id)?;
    let info = data.user_info.map(RawValue::get);
    Ok(Member::new(user, check_info(app, info)?))
}

/// Checks the size of a user's description.
///
/// # Errors
/// [`Refusal::TooLarge`].
pub fn check_info(app: &App, info: Option<&str>) -> Result<Option<Arc<str>>, Refusal> {
    let limit = app.limits.presence_member_bytes;
    let bytes = info.map_or(0, str::len);
    check_size("user_info", bytes, limit, "presence_member_bytes")?;
    Ok(info.map(Into::into))
}

/// A user id is a string, or a number that stands for its text (the documents' own example signs one).
fn user_id(raw: &RawValue) -> Result<UserId, Refusal> {
    let text = raw.get();
    match serde_json::from_str(text) {
        Ok(serde_json::Value::String(id)) => Ok(UserId::parse(&id)?),
        Ok(serde_json::Value::Number(_)) => Ok(UserId::parse(text)?),
        _ => Err(Refusal::Rule("user_id must be a string or a number")),
    }
}

/// What a signed-in user's data say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserData {
    /// Who.
    pub id: UserId,
    /// The description, for presence channels joined without `channel_data`.
    pub info: Option<Arc<str>>,
    /// Whom the user wants to see come and go, each once.
    pub watchlist: Vec<UserId>,
}

#[derive(Deserialize)]
struct UserDataJson<'a> {
    id: String,
    #[serde(borrow)]
    user_info: Option<&'a RawValue>,
    #[serde(default)]
    watchlist: Vec<String>,
}

/// Reads `user_data`.
///
/// # Errors
/// What is missing or malformed.
pub fn user_data(app: &App, text: &str) -> Result<UserData, Refusal> {
    if is_too_deep(text) {
        return Err(Refusal::Rule("user_data nests deeper than 64 levels"));
    }
    let data: UserDataJson<'_> = serde_json::from_str(text)
        .map_err(|error| Refusal::Malformed(format!("user_data cannot be read: {error}")))?;
    let mut watchlist = Vec::new();
    for id in &data.watchlist {
        let id = UserId::parse(id)?;
        if !watchlist.contains(&id) {
            watchlist.push(id);
        }
        // One more than allowed is enough to know that there are too many.
        if watchlist.len() > app.limits.watchlist_users {
            break;
        }
    }
    Ok(UserData {
        id: UserId::parse(&data.id)?,
        info: check_info(app, data.user_info.map(RawValue::get))?,
        watchlist,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cr3t-for-the-spec";

    #[test]
    fn the_worked_examples_of_the_documents_sign_the_same() {
        let socket = SocketId::parse("3141.59265").unwrap();
        let signed = |text: String| sign(SECRET, text.as_bytes());
        assert_eq!(
            signed(subscription_text(socket, "private-room", None)),
            "46f29ea5dceec727e704fbaf87558f33fa6f0b671b4d85db5cb9fb37b024f512"
        );
        let data = r#"{"user_id":"u7","user_info":{"name":"Zed"}}"#;
        assert_eq!(
            signed(subscription_text(socket, "presence-room", Some(data))),
            "f8165c9947e588ade3022f11259305d7903d311a66ad52f0e9cfa01b0c56ac78"
        );
        assert_eq!(
            signed(signin_text(socket, r#"{"id":"u7","watchlist":["u8"]}"#)),
            "277944f2b86e7e55be739ed423f3cc7628818a686014f40194df5c742fd18e47"
        );
    }
}
