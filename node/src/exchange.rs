//! A Pusher session over HTTP, as the fallback of pusher-js has it: the client says something in
//! requests, and listens to a response, which lasts (a stream) or ends with what it says first (a
//! poll). Then the client asks for another.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::mem::take;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use proto::pusher::fallback::{OPEN, UNITS_MAX, lines};
use proto::websocket::ping_frame;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::outbox::Outbox;
use crate::places::{Place, Places};

/// How long a client that listens to nothing is waited for. One that polls is back after a round trip.
const ABSENCE: Duration = Duration::from_secs(10);
/// Silence after which a client that listens hears a heartbeat: less than the minute for which proxies
/// wait for an answer.
const HEARTBEAT: Duration = Duration::from_secs(25);
/// Frames that leave together.
const FRAMES_PER_LINE: usize = 64;

/// All sessions of a node.
pub type Exchanges = Places<Knock>;

/// What comes to a session.
#[derive(Debug)]
pub enum Knock {
    /// The client listens to a response; to another one no more.
    Listen {
        /// The response.
        listener: Listener,
        /// Whether the client has asked for it, which is a sign of life; else it goes on at another
        /// node.
        is_asked: bool,
    },
    /// The client says something; nothing at all is a sign of life.
    Say(Vec<String>),
}

/// A response that a client listens to.
#[derive(Debug)]
pub struct Listener {
    body: mpsc::Sender<Bytes>,
    /// UTF-16 units that it may still say. It ends with the line that goes beyond them.
    left: usize,
}

/// One session.
#[derive(Debug)]
pub struct Exchange {
    place: Place<Knock>,
    outbox: Arc<Outbox>,
    message_bytes: usize,
    listener: Option<Listener>,
    /// The line that nothing was said before.
    opening: &'static str,
    /// What was said and not taken yet: the messages of one request at most.
    inbox: VecDeque<String>,
    /// Whether a heartbeat is unanswered.
    is_asked: bool,
    timer: Pin<Box<Sleep>>,
}

enum Event {
    Knock(Option<Knock>),
    Left,
    Sendable,
    Timer,
}

impl Listener {
    /// A response that lasts, until pusher-js has had enough of it.
    pub fn stream() -> (Self, Body) {
        Self::new(UNITS_MAX)
    }

    /// A response that ends with what it says first.
    pub fn poll() -> (Self, Body) {
        Self::new(0)
    }

    /// What is said first, to be passed on to wherever the response is.
    pub fn once() -> (Self, mpsc::Receiver<Bytes>) {
        let (body, said) = mpsc::channel(1);
        (Self { body, left: 0 }, said)
    }

    fn new(left: usize) -> (Self, Body) {
        let (body, mut chunks) = mpsc::channel(1);
        let chunks = stream::poll_fn(move |context| {
            chunks.poll_recv(context).map(|chunk| chunk.map(Ok::<Bytes, Infallible>))
        });
        (Self { body, left }, Body::from_stream(chunks))
    }

    /// Waits until there is room for more. False if the client has left.
    pub async fn has_room(&self) -> bool {
        self.body.reserve().await.is_ok()
    }

    /// Waits until the client has left.
    pub async fn left(&self) {
        self.body.closed().await;
    }

    /// Says something, for which there must be room. None if that was the last.
    #[must_use]
    pub fn say(self, lines: String) -> Option<Self> {
        let left = self.left.checked_sub(lines.encode_utf16().count());
        // That the client has left is noticed elsewhere.
        let _ = self.body.try_send(lines.into());
        left.map(|left| Self { left, ..self })
    }
}

impl Exchange {
    /// A session that has just begun.
    #[must_use]
    pub fn new(
        place: Place<Knock>,
        listener: Listener,
        outbox: Arc<Outbox>,
        message_bytes: usize,
    ) -> Self {
        Self {
            place,
            outbox,
            message_bytes,
            listener: Some(listener),
            opening: OPEN,
            inbox: VecDeque::new(),
            is_asked: false,
            timer: Box::pin(sleep(HEARTBEAT)),
        }
    }

    /// The next message; none when the client has gone. It may be dropped and called again without
    /// losing one.
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        loop {
            if let Some(text) = self.inbox.pop_front() {
                return Some(self.checked(text));
            }
            match self.event().await {
                Event::Knock(Some(Knock::Say(texts))) if texts.is_empty() => {
                    return Some(Ok(self.heard()));
                }
                Event::Knock(Some(Knock::Say(texts))) => self.inbox.extend(texts),
                Event::Knock(Some(Knock::Listen { listener, is_asked })) => {
                    self.listener = Some(listener);
                    self.wait();
                    if is_asked {
                        self.is_asked = false;
                        return Some(Ok(Message::Pong(Bytes::new())));
                    }
                }
                Event::Sendable => self.deliver(),
                Event::Timer if self.listener.is_some() => {
                    self.beat();
                    self.wait();
                }
                // Nobody comes back to a session whose response broke off: pusher-js begins anew.
                Event::Timer | Event::Left | Event::Knock(None) => return None,
            }
        }
    }

    /// Says what is left to a client that listens, or comes back to.
    pub async fn part(&mut self) {
        while self.listener.is_none() {
            match self.place.knocks.recv().await {
                Some(Knock::Listen { listener, .. }) => self.listener = Some(listener),
                Some(Knock::Say(_)) => {}
                None => return,
            }
        }
        let last = self.lines(usize::MAX);
        if let Some(listener) = self.listener.take() {
            // Nobody hears it if the client has left.
            let _ = listener.body.send(last.into()).await;
        }
    }

    fn checked(&self, text: String) -> Result<Message, Error> {
        let (size, max_size) = (text.len(), self.message_bytes);
        match size <= max_size {
            true => Ok(Message::text(text)),
            false => Err(CapacityError::MessageTooLong { size, max_size }.into()),
        }
    }

    /// The client has answered a heartbeat, or asks for one. A client that streams answers each, so
    /// an answer must not be answered.
    fn heard(&mut self) -> Message {
        if !take(&mut self.is_asked) {
            self.beat();
        }
        Message::Pong(Bytes::new())
    }

    /// In the order of this list, so that a client which asks for another response has not left.
    async fn event(&mut self) -> Event {
        let Self { place, outbox, listener, timer, .. } = self;
        tokio::select! {
            biased;
            knock = place.knocks.recv() => Event::Knock(knock),
            () = left(listener.as_ref()) => Event::Left,
            () = sendable(listener.as_ref(), outbox) => Event::Sendable,
            () = timer.as_mut() => Event::Timer,
        }
    }

    fn deliver(&mut self) {
        let lines = self.lines(FRAMES_PER_LINE);
        self.listener = self.listener.take().and_then(|listener| listener.say(lines));
        self.wait();
    }

    fn lines(&mut self, frames_max: usize) -> String {
        let frames = self.outbox.take(frames_max);
        let lines = lines(frames.iter().map(|frame| &frame[..]));
        self.is_asked |= lines.starts_with('h');
        format!("{}{lines}", take(&mut self.opening))
    }

    fn beat(&self) {
        // An outbox that is full ends the session by itself.
        let _ = self.outbox.send(ping_frame());
    }

    fn wait(&mut self) {
        let period = if self.listener.is_some() { HEARTBEAT } else { ABSENCE };
        self.timer.as_mut().reset(Instant::now() + period);
    }
}

async fn left(listener: Option<&Listener>) {
    match listener {
        Some(listener) => listener.left().await,
        None => pending().await,
    }
}

/// There is something to say, and room for it.
async fn sendable(listener: Option<&Listener>, outbox: &Outbox) {
    match listener {
        Some(listener) if listener.has_room().await => {
            poll_fn(|context| outbox.poll_held(context)).await;
        }
        _ => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_ends_with_the_line_that_goes_beyond_what_pusher_js_reads() {
        let (listener, _body) = Listener::stream();
        // Three bytes and one unit each.
        let listener = listener.say("漢".repeat(UNITS_MAX)).unwrap();
        assert!(listener.say("\n".into()).is_none());
    }

    #[test]
    fn a_poll_ends_with_what_it_says_first() {
        let (listener, _body) = Listener::poll();
        assert!(listener.say("h\n".into()).is_none());
    }
}
