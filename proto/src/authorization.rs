//! Applications that say themselves who somebody is: where such an app is asked about visitors who show
//! no token, with what, and what it may answer.
//!
//! The answer says what a token would say. It is believed because of where it comes from, so it has
//! no signature; the question has one, as webhooks have.

use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::app::{App, Secret};
use crate::token::{TokenError, granted};
use crate::visitor::Visitor;

mod answers;

pub use answers::Answers;

/// Most bytes of an answer: as many as a token may have.
pub const ANSWER_BYTES_MAX: usize = 8192;

/// Where an app is asked, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// An `https` address, or an `http` one in a private range.
    pub url: String,
    /// Whether the address may lie in a loopback, private or otherwise non-global range.
    pub allow_private_address: bool,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// Names of the headers that are passed on, in lower case.
    pub headers: Vec<String>,
}

/// Where an app is asked who its visitors are, and what is remembered of its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Where.
    pub backend: Backend,
    /// Seconds for which an answer is remembered; 0 is not at all.
    pub cache_seconds: u32,
    /// Answers that are remembered at most.
    pub cache_entries: usize,
}

impl Backend {
    /// Whether a header of requests is for the application.
    #[must_use]
    pub fn takes(&self, header: &str) -> bool {
        self.headers.iter().any(|name| name == header)
    }
}

/// A header's name, in lower case, and its value.
pub type Header = (String, Secret);

/// What a request shows of who makes it, beside a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The headers that some back end of the app takes, in their order.
    pub headers: Vec<Header>,
    /// The page that makes it, if a browser says so.
    pub origin: Option<String>,
}

/// A question about a visitor. Two questions with the same [`key`](Question::key) are the same, letter by
/// letter: nothing else is sent.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    headers: Vec<&'a Header>,
    body: String,
}

impl<'a> Question<'a> {
    /// Asks an app about somebody who comes to a door and names these channels there.
    #[must_use]
    pub fn new(
        (app, backend): (&App, &Backend),
        shown: &'a Shown,
        door: &str,
        channels: &[&str],
    ) -> Self {
        let question = json!({
            "app": app.key,
            "door": door,
            "channels": channels,
            "origin": shown.origin,
        });
        let headers = shown.headers.iter().filter(|(name, _)| backend.takes(name)).collect();
        Self { headers, body: question.to_string() }
    }

    /// The body of the request.
    #[must_use]
    pub fn body(&self) -> &str {
        &self.body
    }

    /// The headers that are passed on.
    #[must_use]
    pub fn headers(&self) -> &[&'a Header] {
        &self.headers
    }

    /// Which question it is.
    #[must_use]
    pub fn key(&self) -> Key {
        let mut hash = Sha256::new();
        let mut write = |text: &str| {
            // With their lengths before them, no two lists of texts are the same bytes.
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        };
        write(&self.body);
        for (name, value) in &self.headers {
            write(name);
            write(value.expose());
        }
        Key(hash.finalize().into())
    }

    /// Whether an answer may be given again to whoever asks the same. Someone who shows nothing of
    /// themselves may have been given a name just now, which is nobody else's: only a refusal is.
    #[must_use]
    pub fn is_answered_by(&self, verdict: &Verdict) -> bool {
        !self.headers.is_empty() || verdict.is_err()
    }
}

/// Which question one is: a hash of all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key([u8; 32]);

/// The app does not let somebody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Forbidden")]
pub struct Forbidden;

/// What an app says of somebody.
pub type Verdict = Result<Visitor, Forbidden>;

/// Why an answer cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It says what no token could say.
    #[error("it says what a token could not: {0}")]
    Claims(#[from] TokenError),
    /// It is neither a yes nor a no.
    #[error("its status is {0}: 200, 401 or 403 was expected; redirects are not followed")]
    Status(u16),
}

/// Reads an answer: 200 with the claims of a token, or 401 or 403. Without `sub` it is about somebody
/// who is nobody in particular, and may read what anyone may.
///
/// `unix_ms` is the time, in milliseconds since the Unix epoch.
///
/// # Errors
/// What is wrong with it.
pub fn read((status, body): (u16, &[u8]), app: &App, unix_ms: u64) -> Result<Verdict, AnswerError> {
    match status {
        200 => Ok(Ok(granted(body, app, unix_ms)?.map_or_else(Visitor::anyone, Visitor::with))),
        401 | 403 => Ok(Err(Forbidden)),
        status => Err(AnswerError::Status(status)),
    }
}

#[cfg(test)]
mod tests;
