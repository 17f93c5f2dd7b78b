//! The apps of this node: found by id or by key, replaced as a whole when the configuration is
//! reloaded, so that no request ever sees half of a change.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use proto::App;
use proto::app::digest;

use crate::metrics::{AppMetrics, Metrics};

/// The handle of the registry.
#[derive(Clone, Debug)]
pub struct Apps(Arc<Registry>);

#[derive(Debug)]
struct Registry {
    present: ArcSwap<Set>,
    metrics: Metrics,
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
}

impl Apps {
    /// A registry of these apps, whose ids and keys the configuration has found to be different.
    #[must_use]
    pub fn new(apps: Vec<App>, metrics: Metrics) -> Self {
        let registry = Registry { present: ArcSwap::default(), metrics };
        let apps_handle = Self(Arc::new(registry));
        apps_handle.replace(apps);
        apps_handle
    }

    /// Replaces all apps at once.
    pub fn replace(&self, apps: Vec<App>) {
        let mut set = Set { digest: digest::of_apps(&apps), ..Set::default() };
        for app in apps {
            let metrics = AppMetrics::new(&self.0.metrics, &app.id);
            let entry = Arc::new(AppEntry { app, metrics });
            for id in std::iter::once(&entry.app.id).chain(&entry.app.aliases) {
                set.by_id.insert(id.as_str().to_owned(), Arc::clone(&entry));
            }
            set.by_key.insert(entry.app.key.clone(), entry);
        }
        self.0.present.store(Arc::new(set));
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
