//! Sets of keys that identity providers publish. One task for each set fetches it at the start, every
//! five minutes, and when a token names a key that is not in it, but never twice within the floor:
//! made-up tokens cannot make the node ask more often. A set that cannot be fetched stays as it was.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::Method;
use hyper::header::ACCEPT;
use proto::App;
use proto::token::jwks::{JwksError, JwksSource};
use proto::token::{Key, Token, TokenError, verify};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::clock::unix_ms;
use crate::outgoing::guard::Reach;
use crate::outgoing::{ATTEMPT, Bounds, Client, OutgoingError};

/// What a set is held to.
const BOUNDS: Bounds = Bounds { deadline: ATTEMPT, bytes: 262_144 };

/// How often a set is fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// After a success.
    pub(crate) every: Duration,
    /// The least time between two attempts, and what is waited after a failure.
    pub(crate) floor: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { every: Duration::from_secs(300), floor: Duration::from_secs(30) }
    }
}

/// A set of keys that is kept fresh until its last handle is gone.
#[derive(Clone, Debug)]
pub(crate) struct KeySet {
    source: JwksSource,
    floor: Duration,
    seen: watch::Receiver<Seen>,
    wanted: Arc<Notify>,
}

/// What is known of a set.
#[derive(Clone, Debug, Default)]
struct Seen {
    keys: Arc<[Key]>,
    attempted: Option<Instant>,
}

/// Why a set could not be fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Outgoing(#[from] OutgoingError),
    #[error("the answer is no set of keys: {0}")]
    Jwks(#[from] JwksError),
}

impl KeySet {
    /// Begins to keep a set.
    pub(crate) fn start(client: Client, source: JwksSource, pace: Pace) -> Self {
        let (sender, seen) = watch::channel(Seen::default());
        let wanted = Arc::new(Notify::new());
        tokio::spawn(keep((client, source.clone()), pace, sender, Arc::clone(&wanted)));
        Self { source, floor: pace.floor, seen, wanted }
    }

    /// Whether this is the set of that source.
    pub(crate) fn is_of(&self, source: &JwksSource) -> bool {
        self.source == *source
    }

    fn keys(&self) -> Arc<[Key]> {
        Arc::clone(&self.seen.borrow().keys)
    }

    /// Waits for the set to be fetched once more, or not at all if that was tried just now.
    async fn refresh(&self) {
        let mut seen = self.seen.clone();
        match seen.borrow_and_update().attempted {
            Some(at) if at.elapsed() < self.floor => return,
            Some(_) => self.wanted.notify_one(),
            // The first attempt is under way.
            None => {}
        }
        // However it ends, the caller looks at the keys that there are then.
        let _ = timeout(ATTEMPT, seen.changed()).await;
    }
}

/// Checks a token for an app with the keys of its sets, which are fetched once more if the token is
/// of a key that is not among them. It waits four seconds for that at most.
pub(crate) async fn verify_fresh(
    text: &str,
    app: &App,
    sets: &[KeySet],
) -> Result<Token, TokenError> {
    let verdict = verify(text, app, &keys(sets), unix_ms());
    match &verdict {
        Err(error) if error.is_about_keys() && !sets.is_empty() => {
            futures_util::future::join_all(sets.iter().map(KeySet::refresh)).await;
            verify(text, app, &keys(sets), unix_ms())
        }
        _ => verdict,
    }
}

fn keys(sets: &[KeySet]) -> Vec<Key> {
    sets.iter().flat_map(|set| set.keys().to_vec()).collect()
}

/// The task that keeps a set.
async fn keep(
    (client, source): (Client, JwksSource),
    pace: Pace,
    sender: watch::Sender<Seen>,
    wanted: Arc<Notify>,
) {
    loop {
        let fetched = fetch(&client, &source).await;
        let pause = if fetched.is_ok() { pace.every } else { pace.floor };
        // One change, so that whoever waits for the attempt sees the keys that came of it.
        sender.send_modify(|seen| {
            seen.attempted = Some(Instant::now());
            match fetched {
                Ok(keys) => seen.keys = keys.into(),
                Err(error) => {
                    tracing::warn!(url = %source.url, %error, "a set of keys could not be fetched");
                }
            }
        });
        let due = async {
            sleep(pace.floor).await;
            tokio::select! {
                () = wanted.notified() => {}
                () = sleep(pause.saturating_sub(pace.floor)) => {}
            }
        };
        tokio::select! {
            () = due => {}
            () = sender.closed() => return,
        }
    }
}

async fn fetch(client: &Client, source: &JwksSource) -> Result<Vec<Key>, FetchError> {
    let to = (source.url.as_str(), Reach::allowing(source.allow_private_address));
    let complete = |request: hyper::http::request::Builder| {
        request.header(ACCEPT, "application/json").body(Full::default())
    };
    let answer = client.ask(Method::GET, to, BOUNDS, complete).await?;
    answer.expect_success()?;
    Ok(source.read(&answer.body().await?)?)
}

#[cfg(test)]
mod tests;
