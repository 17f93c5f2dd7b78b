//! Asking an app's own back end who a visitor is that shows no token. An app that cannot be asked lets
//! nobody in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http_body_util::Full;
use hyper::Method;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use proto::App;
use proto::authorization::{
    ANSWER_BYTES_MAX, AnswerError, Answers, Authorization, Forbidden, Question, Verdict, read,
};
use proto::http::webhook::signature;
use proto::visitor::Visitor;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::metrics::AppMetrics;
use crate::outgoing::guard::Reach;
use crate::outgoing::{Bounds, Client, OutgoingError};

/// Questions of an app that may be on their way at once. Beyond it a visitor is told to come again.
const CALLS_MAX: usize = 64;

/// What asks one app.
#[derive(Debug)]
pub(crate) struct Authorizer {
    client: Client,
    clock: Clock,
    answers: Mutex<Answers>,
    calls: Semaphore,
    /// Whether the last question had no answer of use: said once, not for each visitor.
    is_failing: AtomicBool,
}

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

impl Authorizer {
    pub(crate) fn new(client: Client, terms: &Authorization) -> Self {
        Self {
            client,
            clock: Clock::start(),
            answers: Mutex::new(Answers::new(terms)),
            calls: Semaphore::new(CALLS_MAX),
            is_failing: AtomicBool::new(false),
        }
    }

    /// Asks, or remembers what was answered.
    pub(crate) async fn ask(
        &self,
        (app, terms): (&App, &Authorization),
        metrics: &AppMetrics,
        question: &Question<'_>,
    ) -> Result<Visitor, Denied> {
        let key = question.key();
        if let Some(verdict) = self.answers().get(key, self.clock.now()) {
            metrics.authorized("remembered");
            return Ok(verdict?);
        }
        let Ok(_turn) = self.calls.try_acquire() else {
            metrics.authorized("busy");
            return Err(Denied::Unavailable);
        };
        let called = self.call((app, terms), question).await;
        self.note(app, terms, called.as_ref().err());
        let Ok(verdict) = called else {
            metrics.authorized("failed");
            return Err(Denied::Unavailable);
        };
        metrics.authorized(if verdict.is_ok() { "allowed" } else { "refused" });
        if question.is_answered_by(&verdict) {
            self.answers().put(key, verdict.clone(), self.clock.now());
        }
        Ok(verdict?)
    }

    async fn call(
        &self,
        (app, terms): (&App, &Authorization),
        question: &Question<'_>,
    ) -> Result<Verdict, CallError> {
        let bounds = Bounds { deadline: terms.timeout, bytes: ANSWER_BYTES_MAX };
        let to = (terms.url.as_str(), Reach::allowing(terms.allow_private_address));
        let complete = |mut request: hyper::http::request::Builder| {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .header(ACCEPT, "application/json")
                .header("X-Pusher-Key", &app.key)
                .header("X-Pusher-Signature", signature(app, question.body()));
            for (name, value) in question.headers() {
                request = request.header(name, value.expose());
            }
            request.body(Full::from(question.body().to_owned()))
        };
        let answer = self.client.ask(Method::POST, to, bounds, complete).await?;
        let status = answer.status().as_u16();
        let body = answer.body().await?;
        Ok(read((status, &body), app, self.clock.now().unix_ms)?)
    }

    /// Says that an app is not heard, and that it is heard again.
    fn note(&self, app: &App, terms: &Authorization, error: Option<&CallError>) {
        let was_failing = self.is_failing.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !was_failing => {
                tracing::warn!(app = %app.id, url = %terms.url, %error, "an app cannot say who its visitors are; they are told to come again");
            }
            None if was_failing => {
                tracing::info!(app = %app.id, url = %terms.url, "the app says who its visitors are again");
            }
            _ => {}
        }
    }

    /// A panic while the lock is held loses nothing but remembered answers.
    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
