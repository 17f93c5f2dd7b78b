//! A number for all apps of a node, by which two nodes see whether they have the same ones. Secrets
//! are part of it as their hashes.

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::authorization::{Authorization, Backend};
use crate::cluster::slot::StableHash;
use crate::http::webhook::Kind;
use crate::name::AppId;
use crate::origin::OriginPattern;
use crate::token::Key;
use crate::token::jwks::JwksSource;

use super::{App, Secret, Webhook};

/// The digest of a list of apps. Only an order that means something counts: that of secrets.
///
/// A version that knows another setting has another digest.
#[must_use]
pub fn of_apps<'a>(apps: impl IntoIterator<Item = &'a App>) -> u64 {
    let apps = sorted(apps.into_iter().map(describe));
    let mut hash = StableHash::default();
    hash.write(json!(apps).to_string().as_bytes());
    hash.finish()
}

fn describe(app: &App) -> String {
    // Every field is named, so that none can be added without being thought of here.
    let App {
        id,
        aliases,
        key,
        secrets,
        enabled,
        tls_only,
        client_events,
        subscription_count,
        watchlist,
        origins,
        channels,
        limits,
        webhooks,
        jwt_keys,
        jwks,
        roles,
        namespaces,
        authorization,
        laravel_echo,
    } = app;
    json!({
        "id": id.as_str(),
        "aliases": sorted(aliases.iter().map(AppId::to_string)),
        "key": key,
        "secrets": secrets.iter().map(hashed).collect::<Vec<_>>(),
        "enabled": enabled,
        "tls_only": tls_only,
        "client_events": client_events,
        "subscription_count": subscription_count,
        "watchlist": watchlist,
        "origins": sorted(origins.iter().map(OriginPattern::as_str)),
        "channels": sorted(channels),
        "limits": limits,
        "webhooks": sorted(webhooks.iter().map(describe_webhook)),
        "jwt_keys": sorted(jwt_keys.iter().map(Key::describe)),
        "jwks": sorted(jwks.iter().map(describe_jwks)),
        "roles": roles,
        "namespaces": namespaces,
        "authorization": authorization.as_ref().map(describe_authorization),
        "laravel_echo": laravel_echo.as_ref().map(describe_backend),
    })
    .to_string()
}

fn describe_webhook(webhook: &Webhook) -> String {
    let Webhook { url, events, channel_prefix, channel_suffix, headers, allow_private_address } =
        webhook;
    let events: Vec<&Kind> = sorted(events);
    let headers = headers.iter().map(|(name, value)| (name, hashed(value)));
    json!({
        "url": url,
        "events": events,
        "channel_prefix": channel_prefix,
        "channel_suffix": channel_suffix,
        "headers": sorted(headers),
        "allow_private_address": allow_private_address,
    })
    .to_string()
}

fn describe_jwks(source: &JwksSource) -> String {
    let JwksSource { url, algorithm, issuer, audience, allow_private_address } = source;
    json!([url, algorithm, issuer, audience, allow_private_address]).to_string()
}

fn describe_authorization(authorization: &Authorization) -> String {
    let Authorization { backend, cache_seconds, cache_entries } = authorization;
    json!([describe_backend(backend), cache_seconds, cache_entries]).to_string()
}

fn describe_backend(backend: &Backend) -> String {
    let Backend { url, allow_private_address, timeout, headers } = backend;
    json!([url, allow_private_address, timeout.as_millis(), sorted(headers)]).to_string()
}

fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort_unstable();
    items
}

fn hashed(secret: &Secret) -> String {
    hex::encode(Sha256::digest(secret.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::key::Algorithm;

    fn app(id: &str) -> App {
        let mut app = App::new(AppId::parse(id).unwrap(), "key", Secret::new("secret"));
        app.webhooks = vec![Webhook {
            url: "https://example.com/hook".into(),
            events: Kind::ALL.to_vec(),
            channel_prefix: String::new(),
            channel_suffix: String::new(),
            headers: vec![("a".into(), Secret::new("1")), ("b".into(), Secret::new("2"))],
            allow_private_address: false,
        }];
        app
    }

    fn jwt_key(c: char) -> Key {
        Key::from_secret(Algorithm::HS256, &Secret::new(c.to_string().repeat(32))).unwrap()
    }

    fn jwks() -> JwksSource {
        JwksSource {
            url: "https://id.example/keys".into(),
            algorithm: Algorithm::RS256,
            issuer: None,
            audience: None,
            allow_private_address: false,
        }
    }

    fn authorization(cache_seconds: u32) -> Authorization {
        Authorization { backend: backend(), cache_seconds, cache_entries: 1_000 }
    }

    fn backend() -> Backend {
        Backend {
            url: "https://app.example/who".into(),
            allow_private_address: false,
            timeout: std::time::Duration::from_secs(3),
            headers: vec!["cookie".into()],
        }
    }

    #[test]
    fn the_order_of_what_has_none_does_not_count() {
        let (mut one, other) = (app("1"), app("2"));
        let digest = of_apps([&one, &other]);
        assert_eq!(of_apps([&other, &one]), digest);
        one.webhooks[0].events.reverse();
        one.webhooks[0].headers.reverse();
        assert_eq!(of_apps([&one, &other]), digest);
        // Golden: nodes of different builds must agree.
        assert_eq!(format!("{digest:016x}"), "f14a4920a7a4a262");
    }

    #[test]
    fn whatever_else_differs_counts() {
        type Change = fn(&mut App);
        let changes: [Change; 18] = [
            |app| app.key = "other".into(),
            |app| app.aliases = vec![AppId::parse("9").unwrap()],
            |app| app.secrets = vec![Secret::new("new"), Secret::new("secret")],
            |app| app.secrets = vec![Secret::new("secret"), Secret::new("new")],
            |app| app.client_events = false,
            |app| app.limits.event_bytes += 1,
            |app| app.origins.clear(),
            |app| app.webhooks.clear(),
            |app| app.webhooks[0].headers[0].1 = Secret::new("3"),
            |app| app.jwt_keys = vec![jwt_key('a')],
            |app| app.jwt_keys = vec![jwt_key('b')],
            |app| {
                app.jwt_keys = vec![jwt_key('a')];
                app.jwt_keys[0].kid = Some("1".into());
            },
            |app| app.jwks = vec![jwks()],
            |app| app.namespaces = serde_json::from_str(r#"{"/a":"topics"}"#).unwrap(),
            |app| app.laravel_echo = Some(backend()),
            |app| app.authorization = Some(authorization(3)),
            |app| app.authorization = Some(authorization(4)),
            |app| app.roles = serde_json::from_str(r#"{"user":[]}"#).unwrap(),
        ];
        let mut digests = vec![of_apps([]), of_apps([&app("1")]), of_apps([&app("1"), &app("2")])];
        for change in changes {
            let mut app = app("1");
            change(&mut app);
            digests.push(of_apps([&app]));
        }
        let count = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }
}
