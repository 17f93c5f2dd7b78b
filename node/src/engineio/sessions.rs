//! The sessions of this node that requests can still find: where their requests go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use proto::AppId;
use proto::engineio::Refusal;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;

use crate::outbox::Outbox;
use crate::random;
use crate::socket::Socket;

/// Requests that may wait for one session. A client has three at most: a GET, a POST, a WebSocket.
const KNOCKS_MAX: usize = 8;

/// A request that a session has to answer.
pub(super) enum Knock {
    /// A GET.
    Poll(Reply),
    /// A POST, whose body is still to be read.
    Post(Body, Reply),
    /// A WebSocket that may become the session's transport.
    Socket(Box<WebSocketStream<Socket>>, Arc<Outbox>),
}

/// Where the answer goes.
pub(super) type Reply = oneshot::Sender<Answer>;

/// A session's answer to a request.
pub(super) enum Answer {
    /// A payload, for a GET.
    Payload(String),
    /// The body of a POST was taken.
    Taken,
    /// The body of a POST is too large.
    TooLarge,
    /// The session does not take the request.
    Refused(Refusal),
}

/// All sessions of a node that began with polling.
#[derive(Clone, Debug, Default)]
pub struct Sessions(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    sessions: BTreeMap<String, mpsc::Sender<Knock>>,
    per_app: BTreeMap<AppId, usize>,
}

/// A session's place among the others; it is given up when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    sessions: Sessions,
    app: AppId,
    pub(super) sid: String,
    pub(super) knocks: mpsc::Receiver<Knock>,
}

impl Sessions {
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

    /// A place for a new session under an id that nobody can guess. None if the app has `max`
    /// already.
    pub(super) fn begin(&self, app: &AppId, max: usize) -> Option<Place> {
        let mut state = self.lock();
        let count = state.per_app.entry(app.clone()).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        let sid = random::hex(32);
        let (sender, knocks) = mpsc::channel(KNOCKS_MAX);
        state.sessions.insert(sid.clone(), sender);
        Some(Place { sessions: self.clone(), app: app.clone(), sid, knocks })
    }

    pub(super) fn find(&self, sid: &str) -> Option<mpsc::Sender<Knock>> {
        self.lock().sessions.get(sid).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.sessions.lock();
        state.sessions.remove(&self.sid);
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
        let (sessions, app) = (Sessions::default(), AppId::parse("a").unwrap());
        let first = sessions.begin(&app, 2).unwrap();
        let second = sessions.begin(&app, 2).unwrap();
        assert!(first.sid != second.sid && first.sid.len() == 32);
        assert!(sessions.begin(&app, 2).is_none());
        assert!(sessions.begin(&AppId::parse("b").unwrap(), 2).is_some());
        let sid = first.sid.clone();
        assert!(sessions.find(&sid).is_some());
        drop(first);
        assert!(sessions.find(&sid).is_none());
        drop(sessions.begin(&app, 2).unwrap());
        drop(second);
        assert!(sessions.is_empty() && sessions.lock().per_app.is_empty());
    }
}
