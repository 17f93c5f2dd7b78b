//! `[[apps]]`: one app as it is written, and what becomes of it.

use std::collections::{BTreeMap, BTreeSet};

use proto::app::{Limits, Secret, Webhook};
use proto::http::webhook::Kind;
use proto::origin::OriginPattern;
use proto::permission::Roles;
use proto::topics::Namespaces;
use proto::{App, AppId};
use serde::{Deserialize, Serialize};

use crate::outgoing::guard::{Reach, check_url};

use super::ConfigError;
use super::authorization::{AuthorizationSection, LaravelEchoSection};
use super::jwt_key::{JwtKeySection, Place};

/// One app.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AppSection {
    /// The id in the paths of the HTTP API.
    pub id: String,
    /// Other ids that mean this app.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The public key.
    pub key: String,
    /// The secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Instead of `secret`: two live secrets during a rotation, the new one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// Whether the app may be used at all.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether connections without TLS are refused.
    #[serde(default)]
    pub tls_only: bool,
    /// Whether clients may publish on private and presence channels.
    #[serde(default = "yes")]
    pub client_events: bool,
    /// Whether subscribers and webhooks are told how many subscribers there are.
    #[serde(default)]
    pub subscription_count: bool,
    /// Whether signed-in users may watch others come and go.
    #[serde(default = "yes")]
    pub watchlist: bool,
    /// Pages that may connect.
    #[serde(default = "anywhere")]
    pub origins: Vec<String>,
    /// Channels that exist: names, or a prefix and `*`, or a prefix and `+` for one word more. Empty:
    /// every name.
    #[serde(default)]
    pub channels: Vec<String>,
    /// Channels that exist besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// Limits that differ from the defaults.
    #[serde(default)]
    pub limits: Limits,
    /// Where happenings are posted to.
    #[serde(default)]
    pub webhooks: Vec<WebhookSection>,
    /// Keys that tokens are signed with. Empty: the live secrets, by HS256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jwt_keys: Vec<JwtKeySection>,
    /// Roles of tokens that differ from the defaults.
    #[serde(default)]
    pub roles: Roles,
    /// Namespaces of Socket.IO beside `/`, or what that is.
    #[serde(default)]
    pub namespaces: Namespaces,
    /// Where the app is asked about visitors who show no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<AuthorizationSection>,
    /// Where the app is asked about subscriptions of Laravel Echo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub laravel_echo: Option<LaravelEchoSection>,
}

/// Channels of a usual kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// `public:`, `private:`, `user:` or `system:` and one word. The default roles are about these.
    Topics,
}

/// `[[apps.webhooks]]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSection {
    /// `http` or `https` address.
    pub url: String,
    /// Kinds that are sent.
    #[serde(default = "all_kinds")]
    pub events: Vec<Kind>,
    /// Only channels whose name begins like this.
    #[serde(default)]
    pub channel_prefix: String,
    /// Only channels whose name ends like this.
    #[serde(default)]
    pub channel_suffix: String,
    /// Extra headers.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Whether the address may lie in a loopback or private range.
    #[serde(default)]
    pub allow_private_address: bool,
}

const fn yes() -> bool {
    true
}

fn anywhere() -> Vec<String> {
    vec!["*".into()]
}

fn all_kinds() -> Vec<Kind> {
    Kind::ALL.to_vec()
}

impl AppSection {
    /// An app with these credentials and every default.
    #[must_use]
    pub fn new(id: &str, key: &str, secret: &str) -> Self {
        Self {
            id: id.into(),
            aliases: Vec::new(),
            key: key.into(),
            secret: Some(Secret::new(secret)),
            secrets: Vec::new(),
            enabled: true,
            tls_only: false,
            client_events: true,
            subscription_count: false,
            watchlist: true,
            origins: anywhere(),
            channels: Vec::new(),
            preset: None,
            limits: Limits::default(),
            webhooks: Vec::new(),
            jwt_keys: Vec::new(),
            roles: Roles::default(),
            namespaces: Namespaces::default(),
            authorization: None,
            laravel_echo: None,
        }
    }

    pub(super) fn set_credentials(&mut self, key: &str, secret: &str) {
        key.clone_into(&mut self.key);
        self.secret = Some(Secret::new(secret));
        self.secrets.clear();
    }

    fn check(&self) -> Result<App, ConfigError> {
        let rule = |message: String| ConfigError::rule(format!("app `{}`: {message}", self.id));
        let id = AppId::parse(&self.id).map_err(|error| rule(error.to_string()))?;
        let aliases: Result<Vec<_>, _> = self.aliases.iter().map(|id| AppId::parse(id)).collect();
        AppId::parse(&self.key).map_err(|_| {
            rule("`key` is 1 to 64 of A-Z a-z 0-9 _ -, because it stands in a path".into())
        })?;
        let origins: Result<Vec<_>, _> =
            self.origins.iter().map(|o| OriginPattern::parse(o)).collect();
        let origins = origins.map_err(|error| rule(error.to_string()))?;
        if let Some(limit) = self.limits.zeros().first() {
            return Err(rule(format!("limits.{limit} must be at least 1")));
        }
        let authorization = self.authorization.as_ref().map(|it| it.check(&origins)).transpose();
        let laravel_echo = self.laravel_echo.as_ref().map(|it| it.check(&origins)).transpose();
        let mut urls = BTreeSet::new();
        if let Some(twice) = self.webhooks.iter().find(|webhook| !urls.insert(&webhook.url)) {
            return Err(rule(format!("two webhooks have the url {}", twice.url)));
        }
        let webhooks: Result<Vec<_>, _> = self.webhooks.iter().map(WebhookSection::check).collect();
        let (mut jwt_keys, mut jwks) = (Vec::new(), Vec::new());
        for section in &self.jwt_keys {
            match section.read().map_err(&rule)? {
                Place::Here(key) => jwt_keys.push(key),
                Place::There(source) => jwks.push(source),
            }
        }
        Ok(App {
            id,
            aliases: aliases.map_err(|error| rule(error.to_string()))?,
            key: self.key.clone(),
            secrets: self.live_secrets().map_err(&rule)?,
            enabled: self.enabled,
            tls_only: self.tls_only,
            client_events: self.client_events,
            subscription_count: self.subscription_count,
            watchlist: self.watchlist,
            authorization: authorization.map_err(&rule)?,
            laravel_echo: laravel_echo.map_err(&rule)?,
            origins,
            channels: self.channels.iter().cloned().chain(self.preset_channels()).collect(),
            limits: self.limits.clone(),
            webhooks: webhooks.map_err(&rule)?,
            jwt_keys,
            jwks,
            roles: self.roles.clone(),
            namespaces: self.namespaces.clone(),
        })
    }

    fn preset_channels(&self) -> impl Iterator<Item = String> {
        let kinds: &[&str] = match self.preset {
            Some(Preset::Topics) => &["public:+", "private:+", "user:+", "system:+"],
            None => &[],
        };
        kinds.iter().map(|&kind| kind.to_owned())
    }

    fn live_secrets(&self) -> Result<Vec<Secret>, String> {
        let secrets = match (&self.secret, self.secrets.as_slice()) {
            (Some(secret), []) => vec![secret.clone()],
            (None, [_] | [_, _]) => self.secrets.clone(),
            (Some(_), _) => return Err("give `secret` or `secrets`, not both".into()),
            (None, []) => return Err("`secret` is missing".into()),
            (None, _) => return Err("at most two `secrets` are live, the new one first".into()),
        };
        if secrets.iter().any(|secret| secret.expose().is_empty()) {
            return Err("a secret is empty".into());
        }
        Ok(secrets)
    }
}

impl WebhookSection {
    fn check(&self) -> Result<Webhook, String> {
        let reach = Reach::allowing(self.allow_private_address);
        check_url(&self.url, reach).map_err(|error| format!("webhook: {error}"))?;
        for (name, value) in &self.headers {
            let is_name = axum::http::HeaderName::try_from(name.as_str()).is_ok();
            let is_value = axum::http::HeaderValue::from_str(value.expose()).is_ok();
            if !is_name || !is_value {
                return Err(format!("webhook {}: header `{name}` is not a valid header", self.url));
            }
        }
        Ok(Webhook {
            url: self.url.clone(),
            events: self.events.clone(),
            channel_prefix: self.channel_prefix.clone(),
            channel_suffix: self.channel_suffix.clone(),
            headers: self.headers.iter().map(|(n, v)| (n.clone(), v.clone())).collect(),
            allow_private_address: self.allow_private_address,
        })
    }
}

/// Checks every app, and that no two share an id or a key.
pub(super) fn check_all(sections: &[AppSection]) -> Result<Vec<App>, ConfigError> {
    let (mut ids, mut keys) = (BTreeSet::new(), BTreeSet::new());
    let mut apps = Vec::with_capacity(sections.len());
    for section in sections {
        let app = section.check()?;
        for id in std::iter::once(&app.id).chain(&app.aliases) {
            if !ids.insert(id.clone()) {
                return Err(ConfigError::rule(format!("two apps have the id `{id}`")));
            }
        }
        if !keys.insert(app.key.clone()) {
            return Err(ConfigError::rule(format!("two apps have the key `{}`", app.key)));
        }
        apps.push(app);
    }
    Ok(apps)
}
