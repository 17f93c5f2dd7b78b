//! Asking an app's own back end: who a visitor is that shows no token, and whether a client of Laravel
//! Echo may subscribe. An app that cannot be asked lets nobody in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Method;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use proto::authorization::{
    self, ANSWER_BYTES_MAX, AnswerError, Answers, Authorization, Backend, Forbidden, Header,
    Question,
};
use proto::http::webhook::signature;
use proto::visitor::Visitor;
use proto::{App, ChannelName, SocketId};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::metrics::AppMetrics;
use crate::outgoing::guard::Reach;
use crate::outgoing::{Bounds, Client, OutgoingError};

/// Questions of an app that may be on their way at once. Others wait for their turn, as long as for an
/// answer.
const CALLS_MAX: usize = 64;

/// The way to a back end of an app.
#[derive(Debug)]
struct Caller {
    client: Client,
    calls: Semaphore,
    /// Whether the last question had no answer of use: said once, not for each visitor.
    is_failing: AtomicBool,
    /// Whether somebody waited for their turn in vain, and nobody has had it at once since.
    is_crowded: AtomicBool,
}

/// What asks one app who its visitors are.
#[derive(Debug)]
pub(crate) struct Authorizer {
    caller: Caller,
    clock: Clock,
    answers: Mutex<Answers>,
}

/// What asks one app about subscriptions of Laravel Echo.
#[derive(Debug)]
pub(crate) struct EchoAuthorizer(Caller);

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The app said no.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The app could not be asked, or its answer was of no use.
    #[error("the application cannot say now who you are; try again")]
    Unavailable,
}

/// Why an app was not heard.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Outgoing(#[from] OutgoingError),
    #[error("the answer is of no use: {0}")]
    Answer(#[from] AnswerError),
    #[error(
        "its status is {0}: 200, 401, 403, 404 or 419 was expected; redirects are not followed"
    )]
    EchoStatus(u16),
}

impl Caller {
    fn new(client: Client) -> Self {
        let calls = Semaphore::new(CALLS_MAX);
        Self {
            client,
            calls,
            is_failing: AtomicBool::new(false),
            is_crowded: AtomicBool::new(false),
        }
    }

    /// Posts a body, with the headers that are passed on, and reads the answer with `read`. Waits for
    /// its turn if too many questions are on their way.
    async fn call<T>(
        &self,
        (app, backend): (&App, &Backend),
        headers: &[&Header],
        (kind, body): (&str, String),
        read: impl FnOnce(u16, Bytes) -> Result<T, CallError>,
    ) -> Result<T, Denied> {
        let Some(_turn) = self.turn(app, backend).await else {
            return Err(Denied::Unavailable);
        };
        let asked = self.ask((app, backend), headers, (kind, body)).await;
        let outcome = asked.map_err(CallError::from).and_then(|(status, body)| read(status, body));
        self.note(app, backend, outcome.as_ref().err());
        outcome.map_err(|_| Denied::Unavailable)
    }

    /// The right to ask. None if it does not come in time, which is said once, not for each visitor.
    async fn turn(&self, app: &App, backend: &Backend) -> Option<SemaphorePermit<'_>> {
        if let Ok(turn) = self.calls.try_acquire() {
            self.is_crowded.store(false, Ordering::Relaxed);
            return Some(turn);
        }
        if let Ok(Ok(turn)) = timeout(backend.timeout, self.calls.acquire()).await {
            return Some(turn);
        }
        if !self.is_crowded.swap(true, Ordering::Relaxed) {
            tracing::warn!(app = %app.id, url = %backend.url, at_once = CALLS_MAX, "an app answers too slowly for all its visitors; some are told to come again");
        }
        None
    }

    async fn ask(
        &self,
        (app, backend): (&App, &Backend),
        headers: &[&Header],
        (kind, body): (&str, String),
    ) -> Result<(u16, Bytes), OutgoingError> {
        let bounds = Bounds { deadline: backend.timeout, bytes: ANSWER_BYTES_MAX };
        let to = (backend.url.as_str(), Reach::allowing(backend.allow_private_address));
        let complete = |mut request: hyper::http::request::Builder| {
            request = request
                .header(CONTENT_TYPE, kind)
                .header(ACCEPT, "application/json")
                .header("X-Requested-With", "XMLHttpRequest")
                .header("X-Pusher-Key", &app.key)
                .header("X-Pusher-Signature", signature(app, &body));
            for (name, value) in headers {
                request = request.header(name, value.expose());
            }
            request.body(Full::from(body))
        };
        let answer = self.client.ask(Method::POST, to, bounds, complete).await?;
        Ok((answer.status().as_u16(), answer.body().await?))
    }

    /// Says that an app is not heard, and that it is heard again.
    fn note(&self, app: &App, backend: &Backend, error: Option<&CallError>) {
        let was_failing = self.is_failing.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !was_failing => {
                tracing::warn!(app = %app.id, url = %backend.url, %error, "an app cannot be asked about its visitors; they are told to come again");
            }
            None if was_failing => {
                tracing::info!(app = %app.id, url = %backend.url, "an app can be asked about its visitors again");
            }
            _ => {}
        }
    }
}

impl Authorizer {
    pub(crate) fn new(client: Client, terms: &Authorization) -> Self {
        let answers = Mutex::new(Answers::new(terms));
        Self { caller: Caller::new(client), clock: Clock::start(), answers }
    }

    /// Asks, or remembers what was answered.
    pub(crate) async fn ask(
        &self,
        (app, backend): (&App, &Backend),
        metrics: &AppMetrics,
        question: &Question<'_>,
    ) -> Result<Visitor, Denied> {
        let key = question.key();
        if let Some(verdict) = self.answers().get(key, self.clock.now()) {
            metrics.authorized("remembered");
            return Ok(verdict?);
        }
        let body = ("application/json", question.body().to_owned());
        let read = |status, body: Bytes| {
            let now = self.clock.now();
            authorization::read((status, &body), app, now.unix_ms).map_err(CallError::from)
        };
        let called = self.caller.call((app, backend), question.headers(), body, read).await;
        let verdict = called.inspect_err(|_| metrics.authorized("failed"))?;
        metrics.authorized(if verdict.is_ok() { "allowed" } else { "refused" });
        if question.is_answered_by(&verdict) {
            self.answers().put(key, verdict.clone(), self.clock.now());
        }
        Ok(verdict?)
    }

    /// A panic while the lock is held loses nothing but remembered answers.
    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EchoAuthorizer {
    pub(crate) fn new(client: Client) -> Self {
        Self(Caller::new(client))
    }

    /// Asks whether a socket may subscribe to a channel: the form that pusher-js sends.
    pub(crate) async fn ask(
        &self,
        (app, backend): (&App, &Backend),
        metrics: &AppMetrics,
        (socket, channel): (SocketId, &ChannelName),
        headers: &[Header],
    ) -> Result<Vec<u8>, Denied> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("socket_id", &socket.to_string())
            .append_pair("channel_name", channel.as_str())
            .finish();
        let read = |status, body: Bytes| match status {
            200 => Ok(Ok(body.to_vec())),
            401 | 403 | 404 | 419 => Ok(Err(Forbidden)),
            status => Err(CallError::EchoStatus(status)),
        };
        let headers: Vec<&Header> = headers.iter().collect();
        let body = ("application/x-www-form-urlencoded", form);
        let called = self.0.call((app, backend), &headers, body, read).await;
        let answer = called.inspect_err(|_| metrics.authorized("failed"))?;
        metrics.authorized(if answer.is_ok() { "allowed" } else { "refused" });
        Ok(answer?)
    }
}
