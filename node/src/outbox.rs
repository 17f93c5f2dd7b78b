//! The sending side of one connection: a bounded queue of encoded frames, and the socket's write
//! half, which nothing else touches.
//!
//! A frame that stands alone is written at once, by whoever delivers it. Frames that wait leave
//! together in one vectored write. An outbox that is full is closed, never waited for: one slow
//! reader must not hold up a channel. Before that, what was published with a low priority goes.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use proto::SocketId;
use proto::app::Limits;
use proto::door::{Close, Signal};
use proto::event::Priority;
use proto::pusher::code::CloseCode;
use proto::wire::Wire;
use tokio::io::WriteHalf;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio_rustls::server::TlsStream;

mod outcome;
mod queue;
mod writing;

pub use outcome::{Full, Pushed};
pub use queue::Frame;

use queue::Queue;

/// An event of high priority finds room where others find none: one part in so many of the limits.
const RESERVE: usize = 8;
/// News for the session that may wait. A session that does not take them is closed as lagging.
const SIGNALS_MAX: usize = 1_024;

/// The socket's write half.
#[derive(Debug)]
pub enum Writer {
    /// Plain TCP: anyone may write without waiting.
    Plain(OwnedWriteHalf),
    /// TLS: only the connection's task writes.
    Tls(WriteHalf<TlsStream<TcpStream>>),
    /// None: frames wait until a request comes and takes them.
    Held,
}

/// The bounded send queue of one connection.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    frames_max: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct State {
    writer: Writer,
    wire: Wire,
    queue: Queue,
    signals: VecDeque<News>,
    /// Nothing is taken any more: the close frame is the last one.
    is_closing: bool,
    /// The socket failed: nothing more can be sent.
    is_broken: bool,
    waker: Option<Waker>,
    /// Ids by which the client knows its sockets: the connection itself, and its further ones.
    names: Vec<(Option<SocketId>, Box<str>)>,
}

/// A signal, and the further socket of the connection that it is for, if it is not for itself.
pub type News = (Option<SocketId>, Signal);

impl Outbox {
    /// An outbox with an app's limits.
    #[must_use]
    pub fn new(writer: Writer, wire: Wire, limits: &Limits) -> Self {
        let state = State {
            writer,
            wire,
            queue: Queue::default(),
            signals: VecDeque::new(),
            is_closing: false,
            is_broken: false,
            waker: None,
            names: Vec::new(),
        };
        Self {
            state: Mutex::new(state),
            frames_max: limits.outbox_events,
            bytes_max: limits.outbox_bytes,
        }
    }

    /// Remembers by which id the client knows its connection, or a further socket of it; none if it does
    /// so no longer.
    pub fn set_name(&self, socket: Option<SocketId>, name: Option<String>) {
        let names = &mut self.lock().names;
        names.retain(|(of, _)| *of != socket);
        if let Some(name) = name {
            names.reserve_exact(1);
            names.push((socket, name.into()));
        }
    }

    /// Whether the client knows its connection, or this further socket of it, by an id of its own that is
    /// like this.
    pub fn is_named(&self, socket: Option<SocketId>, is_it: impl Fn(&str) -> bool) -> bool {
        self.lock().names.iter().any(|(of, name)| *of == socket && is_it(name))
    }

    /// Queues a frame without writing it.
    ///
    /// # Errors
    /// [`Full`]; the frame is not queued.
    pub fn push(&self, frame: impl Into<Frame>) -> Result<Pushed, Full> {
        let (mut state, frame) = (self.lock(), frame.into());
        let shed = self.make_room(&mut state, &frame)?;
        // Looked at after making room, which may have emptied it.
        let is_first = state.queue.is_empty();
        state.queue.push(frame);
        Ok(Pushed { is_first, shed })
    }

    /// Sends a frame: written at once if nothing waits and the socket is ready, queued otherwise.
    ///
    /// # Errors
    /// [`Full`]; the frame is not sent.
    pub fn send(&self, frame: impl Into<Frame>) -> Result<Pushed, Full> {
        let (mut state, mut frame) = (self.lock(), frame.into());
        let shed = self.make_room(&mut state, &frame)?;
        if state.queue.is_empty() {
            let whole = frame.bytes.len();
            frame.bytes = state.write_alone(frame.bytes);
            state.queue.push_rest(frame, whole);
            if !state.queue.is_empty() || state.is_broken {
                state.wake();
            }
        } else {
            // Whoever queued the first of them has seen to it that they leave.
            state.queue.push(frame);
        }
        Ok(Pushed { is_first: false, shed })
    }

    /// Checks that a frame may be queued, and returns how many others went for it. An outbox that
    /// stays full closes its connection.
    fn make_room(&self, state: &mut State, frame: &Frame) -> Result<usize, Full> {
        if state.is_closing {
            return Err(Full::Closed);
        }
        if !self.is_full(state, frame) {
            return Ok(0);
        }
        // What the socket takes now makes room; a reader that keeps up is never closed.
        state.make_room();
        state.queue.expire();
        if !self.is_full(state, frame) {
            return Ok(0);
        }
        if frame.priority == Priority::Low {
            return Err(Full::Shed);
        }
        let shed = state.queue.shed();
        if !self.is_full(state, frame) {
            return Ok(shed);
        }
        let close = CloseCode::OverCapacity.because("the connection reads too slowly");
        state.close(&close);
        state.wake_for((None, Signal::Close(close)));
        Err(Full::Lagging)
    }

    /// Writes what the socket takes without waiting; the connection's task does the rest.
    pub fn flush(&self) {
        let mut state = self.lock();
        state.write_now();
        if !state.queue.is_empty() || state.is_broken {
            state.wake();
        }
    }

    /// Gives news to the session.
    pub fn signal(&self, news: News) {
        let mut state = self.lock();
        if state.signals.len() < SIGNALS_MAX {
            state.wake_for(news);
        } else if !state.is_closing {
            let close = CloseCode::OverCapacity.because("the connection reads too slowly");
            state.close(&close);
            // What it has not heard of by now it need not hear of any more.
            state.signals.clear();
            state.wake_for((None, Signal::Close(close)));
        }
    }

    /// Queues the close frame, after everything that waits. Nothing is taken after it.
    pub fn close(&self, close: &Close) {
        let mut state = self.lock();
        if !state.is_closing {
            let last = state.wire.close(close);
            state.queue.push(last.into());
            state.is_closing = true;
            state.write_now();
            state.wake();
        }
    }

    /// For the connection's task: sends what waits whenever the socket is ready, and is ready itself
    /// when there is news for the session. Fails when the socket has failed.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_signal(&self, context: &mut Context<'_>) -> Poll<io::Result<News>> {
        let mut state = self.lock();
        if let Some(news) = state.signals.pop_front() {
            if state.signals.is_empty() {
                // An idle connection keeps no buffer.
                state.signals = VecDeque::new();
            }
            return Poll::Ready(Ok(news));
        }
        state.remember_waker(context);
        match state.poll_write(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    /// The news that wait for the session.
    pub fn take_signals(&self) -> VecDeque<News> {
        std::mem::take(&mut self.lock().signals)
    }

    /// For the connection's task: ready when everything has left.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_empty(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        state.remember_waker(context);
        state.poll_write(context)
    }

    /// For a connection without a socket: ready when frames wait.
    pub fn poll_held(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        state.remember_waker(context);
        state.queue.expire();
        match state.queue.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }

    /// Takes what waits, so many frames at most.
    #[must_use]
    pub fn take(&self, frames_max: usize) -> Vec<Bytes> {
        self.lock().queue.take(frames_max)
    }

    /// Gives the socket to the outbox of a connection that had none. What waits here leaves first.
    pub fn hand_over(&self, heir: &Self) {
        let (writer, earlier) = {
            let mut state = self.lock();
            state.is_closing = true;
            (std::mem::replace(&mut state.writer, Writer::Held), std::mem::take(&mut state.queue))
        };
        let mut state = heir.lock();
        state.writer = writer;
        state.queue.prepend(earlier);
        state.write_now();
        state.wake();
    }

    /// One frame always has room.
    fn is_full(&self, State { queue, .. }: &State, more: &Frame) -> bool {
        let with_reserve = |limit: usize| match more.priority {
            Priority::High => limit + limit / RESERVE,
            Priority::Low | Priority::Normal => limit,
        };
        !queue.is_empty()
            && (queue.len() >= with_reserve(self.frames_max)
                || queue.bytes() + more.bytes.len() > with_reserve(self.bytes_max))
    }

    /// A panic while the lock is held ends one connection's delivery and poisons nothing else.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Drops what waits, except a frame that has begun, and closes. A poll gets what waits: each event
    /// says how far it has come, and the next poll goes on from there.
    fn close(&mut self, close: &Close) {
        if self.wire != Wire::Poll {
            self.queue.cut();
        }
        self.queue.push(self.wire.close(close).into());
        self.is_closing = true;
    }

    fn wake_for(&mut self, news: News) {
        self.signals.push_back(news);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn remember_waker(&mut self, context: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }
}

#[cfg(test)]
mod tests;
