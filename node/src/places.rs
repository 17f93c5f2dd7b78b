//! The sessions of this node that outlive their requests: where later requests find them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::AppId;
use tokio::sync::mpsc;

/// Requests that may wait for one session. A client has a few at most.
const KNOCKS_MAX: usize = 8;

/// All sessions of a kind; `K` is a request that comes to one.
#[derive(Debug)]
pub struct Places<K>(Arc<Mutex<State<K>>>);

#[derive(Debug)]
struct State<K> {
    sessions: BTreeMap<String, mpsc::Sender<K>>,
    per_app: BTreeMap<AppId, usize>,
}

/// A session's place among the others; it is given up when this is dropped.
#[derive(Debug)]
pub struct Place<K> {
    places: Places<K>,
    app: AppId,
    /// The session's id.
    pub id: String,
    /// The requests that come to it.
    pub knocks: mpsc::Receiver<K>,
}

impl<K> Places<K> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().sessions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A place for a new session. None if another has its id, or the app has `max` already.
    #[must_use]
    pub fn begin(&self, app: &AppId, max: usize, id: String) -> Option<Place<K>> {
        let mut state = self.lock();
        let count = state.per_app.get(app).copied().unwrap_or_default();
        if count >= max || state.sessions.contains_key(&id) {
            return None;
        }
        state.per_app.insert(app.clone(), count + 1);
        let (sender, knocks) = mpsc::channel(KNOCKS_MAX);
        state.sessions.insert(id.clone(), sender);
        Some(Place { places: self.clone(), app: app.clone(), id, knocks })
    }

    /// Where the requests of a session go, if it is here.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<mpsc::Sender<K>> {
        self.lock().sessions.get(id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// Derived, these would ask the same of `K`.
impl<K> Clone for Places<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Default for Places<K> {
    fn default() -> Self {
        let state = State { sessions: BTreeMap::new(), per_app: BTreeMap::new() };
        Self(Arc::new(Mutex::new(state)))
    }
}

impl<K> Drop for Place<K> {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        state.sessions.remove(&self.id);
        if let Some(count) = state.per_app.get_mut(&self.app) {
            *count -= 1;
            if *count == 0 {
                state.per_app.remove(&self.app);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_has_so_many_sessions_and_ended_ones_make_room() {
        let (places, app) = (Places::<()>::default(), AppId::parse("a").unwrap());
        let begin = |id: &str| places.begin(&app, 2, id.into());
        let first = begin("one").unwrap();
        let second = begin("two").unwrap();
        assert!(begin("three").is_none());
        assert!(places.begin(&AppId::parse("b").unwrap(), 2, "four".into()).is_some());
        assert!(places.find("one").is_some());
        drop(first);
        assert!(places.find("one").is_none());
        drop(begin("three").unwrap());
        drop(second);
        assert!(places.is_empty() && places.lock().per_app.is_empty());
    }

    #[test]
    fn two_sessions_cannot_have_the_same_id() {
        let (places, app) = (Places::<()>::default(), AppId::parse("a").unwrap());
        let first = places.begin(&app, 2, "one".into());
        assert!(places.begin(&app, 2, "one".into()).is_none());
        assert!(places.find("one").is_some());
        drop(first);
        assert!(places.begin(&app, 2, "one".into()).is_some());
    }
}
