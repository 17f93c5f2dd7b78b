//! An app: credentials, what is turned on, and limits. Built by the configuration, read by machines.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::authorization::{Authorization, Backend};
use crate::name::{AppId, ChannelName, EventName};
use crate::origin::OriginPattern;
use crate::permission::Roles;
use crate::refusal::Refusal;
use crate::token::Key;
use crate::token::jwks::JwksSource;
use crate::topics::Namespaces;

pub mod digest;

/// A secret text. It shows itself as `***` everywhere; only signing code asks for the bytes.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Whether a text is this secret, in a time that says nothing about where they differ.
    #[must_use]
    pub fn is(&self, text: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(text).into()
    }

    /// Takes a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for signing.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// One tenant: its channels, connections and events are its own.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// The id in the paths of the HTTP API.
    pub id: AppId,
    /// Other ids that mean this app: some SDKs insist on digits.
    pub aliases: Vec<AppId>,
    /// The public key that clients connect with.
    pub key: String,
    /// The live secrets, newest first: two during a rotation. Webhooks are signed with the first.
    pub secrets: Vec<Secret>,
    /// Whether the app may be used at all.
    pub enabled: bool,
    /// Whether plain `ws://` and `http://` connections are refused.
    pub tls_only: bool,
    /// Whether clients may publish on private and presence channels.
    pub client_events: bool,
    /// Whether subscribers and webhooks are told how many subscribers there are.
    pub subscription_count: bool,
    /// Whether signed-in users may watch others come and go.
    pub watchlist: bool,
    /// Pages that may connect.
    pub origins: Vec<OriginPattern>,
    /// Channels that exist: exact names, or a prefix and `*`, or a prefix and `+` for one word more.
    /// Empty: every name.
    pub channels: Vec<String>,
    /// Every limit.
    pub limits: Limits,
    /// Where webhooks go.
    pub webhooks: Vec<Webhook>,
    /// Keys that tokens are signed with.
    pub jwt_keys: Vec<Key>,
    /// Where more such keys are.
    pub jwks: Vec<JwksSource>,
    /// What the roles of tokens stand for.
    pub roles: Roles,
    /// The namespaces of Socket.IO.
    pub namespaces: Namespaces,
    /// Where the app is asked about visitors who show no token.
    pub authorization: Option<Authorization>,
    /// Where the app is asked about subscriptions of Laravel Echo.
    pub laravel_echo: Option<Backend>,
}

impl App {
    /// An app with these credentials that allows everything its limits allow.
    #[must_use]
    pub fn new(id: AppId, key: &str, secret: Secret) -> Self {
        Self {
            id,
            aliases: Vec::new(),
            key: key.to_owned(),
            secrets: vec![secret],
            enabled: true,
            tls_only: false,
            client_events: true,
            subscription_count: false,
            watchlist: true,
            origins: vec![OriginPattern::any()],
            channels: Vec::new(),
            limits: Limits::default(),
            webhooks: Vec::new(),
            jwt_keys: Vec::new(),
            jwks: Vec::new(),
            roles: Roles::default(),
            namespaces: Namespaces::default(),
            authorization: None,
            laravel_echo: None,
        }
    }

    /// Whether a page of this origin may connect. Clients outside browsers send none and may.
    #[must_use]
    pub fn allows_origin(&self, origin: Option<&str>) -> bool {
        origin.is_none_or(|origin| self.origins.iter().any(|o| o.allows(origin)))
    }

    /// Whether tokens are signed with the live secrets, by HS256: so it is without keys for them.
    #[must_use]
    pub const fn takes_tokens_by_secret(&self) -> bool {
        self.jwt_keys.is_empty() && self.jwks.is_empty()
    }

    /// Reads the name of one of the app's channels.
    ///
    /// # Errors
    /// The rule or the limit that the text breaks.
    pub fn channel(&self, text: &str) -> Result<ChannelName, Refusal> {
        let limit = self.limits.channel_name_bytes;
        check_size("the channel name", text.len(), limit, "channel_name_bytes")?;
        let name = ChannelName::parse(text)?;
        if !name.kind().reserved && !self.has_channel(text) {
            return Err(Refusal::UnknownChannel);
        }
        Ok(name)
    }

    /// Reads the name of an event.
    ///
    /// # Errors
    /// The rule or the limit that the text breaks.
    pub fn event_name(&self, text: &str) -> Result<EventName, Refusal> {
        let limit = self.limits.event_name_bytes;
        check_size("the event name", text.len(), limit, "event_name_bytes")?;
        Ok(EventName::parse(text)?)
    }

    /// Checks the size of an event's data.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`].
    pub fn check_event_data(&self, bytes: usize) -> Result<(), Refusal> {
        check_size("the event data", bytes, self.limits.event_bytes, "event_bytes")
    }

    /// Checks how many channels a connection is in, or would be.
    ///
    /// # Errors
    /// [`Refusal::TooMany`].
    pub const fn check_channels(&self, channels: usize) -> Result<(), Refusal> {
        let limit = self.limits.channels_per_connection;
        if channels > limit {
            let (what, setting) = ("channels of a connection", "channels_per_connection");
            return Err(Refusal::TooMany { what, limit, setting });
        }
        Ok(())
    }

    /// The back ends of the app that are asked about its visitors.
    pub fn backends(&self) -> impl Iterator<Item = &Backend> {
        let authorization = self.authorization.iter().map(|authorization| &authorization.backend);
        authorization.chain(&self.laravel_echo)
    }

    fn has_channel(&self, name: &str) -> bool {
        self.channels.is_empty() || self.channels.iter().any(|pattern| is_channel_of(pattern, name))
    }
}

/// Whether a name is one of a pattern: itself, what begins like it before a `*`, or that and a word of
/// `A-Z a-z 0-9 _ -` before a `+`.
fn is_channel_of(pattern: &str, name: &str) -> bool {
    let is_word_character = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if let Some(prefix) = pattern.strip_suffix('*') {
        return name.starts_with(prefix);
    }
    match pattern.strip_suffix('+') {
        Some(prefix) => name
            .strip_prefix(prefix)
            .is_some_and(|word| !word.is_empty() && word.bytes().all(is_word_character)),
        None => name == pattern,
    }
}

/// Checks a size against a limit, inclusive.
///
/// # Errors
/// [`Refusal::TooLarge`], with both numbers and the setting.
pub fn check_size(
    what: &'static str,
    bytes: usize,
    limit: usize,
    setting: &'static str,
) -> Result<(), Refusal> {
    if bytes > limit {
        return Err(Refusal::TooLarge { what, bytes, limit, setting });
    }
    Ok(())
}

/// One webhook of an app.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// `http` or `https` address that events are posted to.
    pub url: String,
    /// The kinds that are sent.
    pub events: Vec<crate::http::webhook::Kind>,
    /// Only channels whose name begins like this.
    pub channel_prefix: String,
    /// Only channels whose name ends like this.
    pub channel_suffix: String,
    /// Extra headers.
    pub headers: Vec<(String, Secret)>,
    /// Whether the address may lie in a loopback, private or otherwise non-global range.
    pub allow_private_address: bool,
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:literal,)+) => {
        /// Every limit of an app, with its default. The keys of `[apps.limits]`.
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: $type,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Limits {
            /// Name, default and meaning of every limit, for the reference in the docs.
            #[must_use]
            pub fn reference() -> Vec<(&'static str, String, String)> {
                vec![$((stringify!($name), $default.to_string(), concat!($($doc,)+).trim().to_owned()),)+]
            }

            /// The names of the limits that are zero: every limit must be at least 1.
            #[must_use]
            pub fn zeros(&self) -> Vec<&'static str> {
                let mut zeros = Vec::new();
                $(if self.$name == 0 { zeros.push(stringify!($name)); })+
                zeros
            }
        }
    };
}

limits! {
    /// Connections open at once, over the cluster. Beyond it: close code 4004.
    connections: u32 = 100_000,
    /// Subscriptions of one connection. Beyond it: a subscription error.
    channels_per_connection: usize = 1_000,
    /// Channels alive at once, over the cluster. Beyond it: a subscription error, or HTTP 403.
    channels: u32 = 200_000,
    /// Bytes of a channel's name (never more than 200). Beyond it: a subscription error, or HTTP 400.
    channel_name_bytes: usize = 200,
    /// Bytes of an event's name (never more than 200). Beyond it: error 4301, or HTTP 400.
    event_name_bytes: usize = 200,
    /// Bytes of one event's data. Beyond it: error 4301, or HTTP 413.
    event_bytes: usize = 10_240,
    /// Channels of one publish. Beyond it: HTTP 400.
    event_channels: usize = 100,
    /// Events of one batch. Beyond it: HTTP 400.
    batch_events: usize = 10,
    /// Bytes of one HTTP request's body. Beyond it: HTTP 413.
    request_bytes: usize = 1_048_576,
    /// Bytes of one message from a client. Beyond it: close code 1009.
    message_bytes: usize = 65_536,
    /// Messages a second from one connection, ten times as many at once. Beyond it: error 4301.
    messages_per_second: u32 = 100,
    /// Client events a second from one connection. Beyond it: error 4301.
    client_events_per_second: u32 = 10,
    /// Publishes a second of the app, counted per channel, over the cluster. Beyond it: HTTP 429.
    publishes_per_second: u32 = 20_000,
    /// Publishes a second of one user with a token, over all connections and nodes, ten times as many at
    /// once. Beyond it: `rate_limited`, or HTTP 429.
    user_publishes_per_second: u32 = 200,
    /// Polls a second of one user, over all nodes, ten times as many at once. Beyond it: HTTP 429.
    user_polls_per_second: u32 = 20,
    /// Members of one presence channel. Beyond it: a subscription error.
    presence_members: usize = 100,
    /// Bytes of one presence member's `user_info`. Beyond it: a subscription error.
    presence_member_bytes: usize = 1_024,
    /// Users on one watchlist. Beyond it: the first ones are watched, and error 4302 says so.
    watchlist_users: usize = 100,
    /// Seconds for which a cache channel remembers its last event.
    cache_seconds: u32 = 1_800,
    /// Events that may wait for one slow connection, an eighth more of high priority. Beyond it: those
    /// of low priority are left out; then it is closed, with 4100 if it still reads. A poll is answered.
    outbox_events: usize = 1_024,
    /// Bytes that may wait for one slow connection, an eighth more of high priority. Beyond it: as
    /// beyond `outbox_events`.
    outbox_bytes: usize = 1_048_576,
    /// Webhook events that may wait for one address. Beyond it: the newest are dropped and counted.
    webhook_events: usize = 10_000,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_stands_for_one_word() {
        for name in ["public:chat", "public:chat_1-A"] {
            assert!(is_channel_of("public:+", name), "{name}");
        }
        for name in ["public:", "public:a:b", "public:a.b", "private:a", "public"] {
            assert!(!is_channel_of("public:+", name), "{name}");
        }
        assert!(is_channel_of("public:*", "public:a:b") && is_channel_of("a", "a"));
    }
}
