//! The apps of this node: found by id or by key, replaced as a whole when the configuration is
//! reloaded, so that no request ever sees half of a change.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use proto::app::digest;
use proto::authorization::{Forbidden, Header, Question, Shown};
use proto::token::jwks::JwksSource;
use proto::token::{Token, TokenError};
use proto::visitor::Visitor;
use proto::{App, ChannelName, SocketId};

use crate::authorization::{Authorizer, Denied, EchoAuthorizer};
use crate::jwks::{KeySet, Pace, verify_fresh};
use crate::metrics::{AppMetrics, Metrics};
use crate::outgoing::Client;

/// The handle of the registry.
#[derive(Clone, Debug)]
pub struct Apps(Arc<Registry>);

#[derive(Debug)]
struct Registry {
    present: ArcSwap<Set>,
    metrics: Metrics,
    client: Client,
}

#[derive(Debug, Default)]
struct Set {
    by_id: HashMap<String, Arc<AppEntry>>,
    by_key: HashMap<String, Arc<AppEntry>>,
    digest: u64,
}

/// An app and what is counted of it.
#[derive(Debug)]
pub struct AppEntry {
    /// The app's present configuration.
    pub app: App,
    /// Its counters.
    pub metrics: AppMetrics,
    jwks: Vec<KeySet>,
    authorizer: Option<Arc<Authorizer>>,
    echo: Option<Arc<EchoAuthorizer>>,
}

impl AppEntry {
    /// Finds out who somebody is that shows no token: the app says so if it wants to be asked, with
    /// what the request shows and the channels that it names. Else it is anyone.
    ///
    /// # Errors
    /// That the app says no, or nothing.
    pub async fn authorize(
        &self,
        shown: &Shown,
        door: &str,
        channels: &[&str],
    ) -> Result<Visitor, Denied> {
        let Self { app, metrics, authorizer, .. } = self;
        match (authorizer, &app.authorization) {
            (Some(authorizer), Some(terms)) => {
                let asked = (app, &terms.backend);
                let question = Question::new(asked, shown, door, channels);
                authorizer.ask(asked, metrics, &question).await
            }
            _ => Ok(Visitor::anyone()),
        }
    }

    /// Asks the app whether a socket of Laravel Echo may subscribe, and returns what it answers.
    ///
    /// # Errors
    /// That the app says no, or nothing.
    pub async fn authorize_echo(
        &self,
        socket: SocketId,
        channel: &ChannelName,
        headers: &[Header],
    ) -> Result<Vec<u8>, Denied> {
        let Self { app, metrics, echo, .. } = self;
        match (echo, &app.laravel_echo) {
            (Some(echo), Some(backend)) => {
                echo.ask((app, backend), metrics, (socket, channel), headers).await
            }
            _ => Err(Denied::Forbidden(Forbidden)),
        }
    }

    /// Checks a token for the app. With `jwks` configured it may wait, four seconds at most, for a
    /// set of keys.
    ///
    /// # Errors
    /// The first rule that the token breaks.
    pub async fn verify_token(&self, text: &str) -> Result<Token, TokenError> {
        verify_fresh(text, &self.app, &self.jwks).await
    }
}

impl Apps {
    /// A registry of these apps, whose ids and keys the configuration has found to be different.
    #[must_use]
    pub fn new(apps: Vec<App>, metrics: Metrics) -> Self {
        let registry = Registry { present: ArcSwap::default(), metrics, client: Client::new() };
        let apps_handle = Self(Arc::new(registry));
        apps_handle.replace(apps);
        apps_handle
    }

    /// Replaces all apps at once.
    pub fn replace(&self, apps: Vec<App>) {
        let mut set = Set { digest: digest::of_apps(&apps), ..Set::default() };
        for app in apps {
            let metrics = AppMetrics::new(&self.0.metrics, &app.id);
            let before = self.by_id(app.id.as_str());
            let before = before.as_deref();
            let jwks = self.key_sets(before, &app);
            let (authorizer, echo) = (self.authorizer(before, &app), self.echo(before, &app));
            let entry = Arc::new(AppEntry { app, metrics, jwks, authorizer, echo });
            for id in std::iter::once(&entry.app.id).chain(&entry.app.aliases) {
                set.by_id.insert(id.as_str().to_owned(), Arc::clone(&entry));
            }
            set.by_key.insert(entry.app.key.clone(), entry);
        }
        self.0.present.store(Arc::new(set));
    }

    /// The sets of an app's keys: those that it had already stay as they are.
    fn key_sets(&self, before: Option<&AppEntry>, app: &App) -> Vec<KeySet> {
        let had = |source: &JwksSource| {
            let sets = before.map(|entry| entry.jwks.as_slice()).unwrap_or_default();
            sets.iter().find(|set| set.is_of(source)).cloned()
        };
        let start = |source: &JwksSource| {
            KeySet::start(self.0.client.clone(), source.clone(), Pace::default())
        };
        app.jwks.iter().map(|source| had(source).unwrap_or_else(|| start(source))).collect()
    }

    /// What asks an app who its visitors are. What it remembers counts as long as the app would be asked
    /// the same, and its answers would allow the same.
    fn authorizer(&self, before: Option<&AppEntry>, app: &App) -> Option<Arc<Authorizer>> {
        let terms = app.authorization.as_ref()?;
        let settings = |app: &App| (app.authorization.clone(), app.roles.clone(), app.key.clone());
        let same = before.filter(|entry| settings(&entry.app) == settings(app));
        let had = same.and_then(|entry| entry.authorizer.clone());
        Some(had.unwrap_or_else(|| Arc::new(Authorizer::new(self.0.client.clone(), terms))))
    }

    /// What asks an app about subscriptions of Laravel Echo: as many at once as before.
    fn echo(&self, before: Option<&AppEntry>, app: &App) -> Option<Arc<EchoAuthorizer>> {
        let backend = app.laravel_echo.as_ref()?;
        let same = before.filter(|entry| entry.app.laravel_echo.as_ref() == Some(backend));
        let had = same.and_then(|entry| entry.echo.clone());
        Some(had.unwrap_or_else(|| Arc::new(EchoAuthorizer::new(self.0.client.clone()))))
    }

    /// The app of this id.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<Arc<AppEntry>> {
        self.0.present.load().by_id.get(id).map(Arc::clone)
    }

    /// The app of this key.
    #[must_use]
    pub fn by_key(&self, key: &str) -> Option<Arc<AppEntry>> {
        self.0.present.load().by_key.get(key).map(Arc::clone)
    }

    /// What the apps have in common on nodes that have the same ones.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.0.present.load().digest
    }

    /// All apps.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<AppEntry>> {
        self.0.present.load().by_key.values().map(Arc::clone).collect()
    }
}

#[cfg(test)]
mod tests {
    use proto::AppId;
    use proto::app::Secret;
    use proto::authorization::{Authorization, Backend};

    use super::*;

    #[tokio::test]
    async fn what_an_app_was_asked_is_remembered_until_its_settings_change() {
        let mut app = App::new(AppId::parse("a").unwrap(), "key", Secret::new("secret"));
        let backend = Backend {
            url: "https://example.com".into(),
            allow_private_address: false,
            timeout: std::time::Duration::from_secs(1),
            headers: Vec::new(),
        };
        app.laravel_echo = Some(backend.clone());
        app.authorization = Some(Authorization { backend, cache_seconds: 10, cache_entries: 10 });
        let apps = Apps::new(vec![app.clone()], Metrics::new());
        let asking = || {
            let entry = apps.by_id("a").unwrap();
            (entry.authorizer.clone().unwrap(), entry.echo.clone().unwrap())
        };
        let first = asking();
        app.client_events = false;
        apps.replace(vec![app.clone()]);
        let second = asking();
        assert!(Arc::ptr_eq(&first.0, &second.0) && Arc::ptr_eq(&first.1, &second.1));
        app.authorization.as_mut().unwrap().cache_seconds = 0;
        app.laravel_echo.as_mut().unwrap().headers.push("cookie".into());
        apps.replace(vec![app]);
        let third = asking();
        assert!(!Arc::ptr_eq(&first.0, &third.0) && !Arc::ptr_eq(&first.1, &third.1));
    }
}
