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
use tokio::sync::Semaphore;
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
}

impl Caller {
    fn new(client: Client) -> Self {
        Self { client, calls: Semaphore::new(CALLS_MAX), is_failing: AtomicBool::new(false) }
    }

    /// Posts a body, with the headers that are passed on, and reads the answer with `read`. Waits for
    /// its turn if too many questions are on their way.
    async fn call<T>(
        &self,
        (app, backend): (&App, &Backend),
        headers: &[&Header],
        (kind, body): (&str, String),
        read: impl FnOnce(u16, Bytes) -> Result<T, AnswerError>,
    ) -> Result<T, Denied> {
        let waiting = timeout(backend.timeout, self.calls.acquire());
        let Ok(Ok(_turn)) = waiting.await else {
            return Err(Denied::Unavailable);
        };
        let asked = self.ask((app, backend), headers, (kind, body)).await;
        let read = |(status, body)| Ok(read(status, body)?);
        let outcome: Result<T, CallError> = asked.map_err(CallError::from).and_then(read);
        self.note(app, backend, outcome.as_ref().err());
        outcome.map_err(|_| Denied::Unavailable)
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
            authorization::read((status, &body), app, self.clock.now().unix_ms)
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
            status => Err(AnswerError::Status(status)),
        };
        let headers: Vec<&Header> = headers.iter().collect();
        let body = ("application/x-www-form-urlencoded", form);
        let called = self.0.call((app, backend), &headers, body, read).await;
        let answer = called.inspect_err(|_| metrics.authorized("failed"))?;
        metrics.authorized(if answer.is_ok() { "allowed" } else { "refused" });
        Ok(answer?)
    }
}
