//! The sending side of one connection: a bounded queue of encoded frames, and the socket's write
//! half, which nothing else touches.
//!
//! A frame that stands alone is written at once, by whoever delivers it. Frames that wait leave
//! together in one vectored write. An outbox that is full is closed, never waited for: one slow
//! reader must not hold up a channel.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use proto::SocketId;
use proto::app::Limits;
use proto::door::{Close, Signal};
use proto::pusher::code::CloseCode;
use proto::wire::Wire;
use tokio::io::{AsyncWrite, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio_rustls::server::TlsStream;

/// Frames that leave in one system call at most. Linux takes up to 1,024; beyond some tens the call
/// costs no less per frame.
const FRAMES_PER_WRITE: usize = 64;
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
    frames: VecDeque<Bytes>,
    bytes: usize,
    signals: VecDeque<News>,
    /// Nothing is taken any more: the close frame is the last one.
    is_closing: bool,
    /// The socket failed: nothing more can be sent.
    is_broken: bool,
    waker: Option<Waker>,
}

/// A signal, and the further socket of the connection that it is for, if it is not for itself.
pub type News = (Option<SocketId>, Signal);

/// Why an outbox took no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The connection is closing or gone.
    Closed,
    /// This frame did not fit; the connection is being closed.
    Lagging,
}

impl Outbox {
    /// An outbox with an app's limits.
    #[must_use]
    pub fn new(writer: Writer, wire: Wire, limits: &Limits) -> Self {
        let state = State {
            writer,
            wire,
            frames: VecDeque::new(),
            bytes: 0,
            signals: VecDeque::new(),
            is_closing: false,
            is_broken: false,
            waker: None,
        };
        Self {
            state: Mutex::new(state),
            frames_max: limits.outbox_events,
            bytes_max: limits.outbox_bytes,
        }
    }

    /// Queues a frame without writing it. True if the outbox was empty: then [`Outbox::flush`] is due.
    ///
    /// # Errors
    /// [`Full`]; the frame is not queued.
    pub fn push(&self, frame: Bytes) -> Result<bool, Full> {
        let mut state = self.lock();
        self.make_room(&mut state, frame.len())?;
        // Looked at after making room, which may have emptied it.
        let was_empty = state.frames.is_empty();
        state.queue(frame);
        Ok(was_empty)
    }

    /// Sends a frame: written at once if nothing waits and the socket is ready, queued otherwise.
    ///
    /// # Errors
    /// [`Full`]; the frame is not sent.
    pub fn send(&self, frame: Bytes) -> Result<(), Full> {
        let mut state = self.lock();
        self.make_room(&mut state, frame.len())?;
        if state.frames.is_empty() {
            let rest = state.write_alone(frame);
            if !rest.is_empty() {
                state.queue(rest);
            }
            if !state.frames.is_empty() || state.is_broken {
                state.wake();
            }
        } else {
            // Whoever queued the first of them has seen to it that they leave.
            state.queue(frame);
        }
        Ok(())
    }

    /// Checks that a frame may be queued. An outbox that stays full closes its connection.
    fn make_room(&self, state: &mut State, bytes: usize) -> Result<(), Full> {
        if state.is_closing {
            return Err(Full::Closed);
        }
        if !state.frames.is_empty() && self.is_full(state, bytes) {
            // What the socket takes now makes room; a reader that keeps up is never closed.
            state.make_room();
            if self.is_full(state, bytes) {
                let close = CloseCode::OverCapacity.because("the connection reads too slowly");
                state.close(&close);
                state.wake_for((None, Signal::Close(close)));
                return Err(Full::Lagging);
            }
        }
        Ok(())
    }

    /// Writes what the socket takes without waiting; the connection's task does the rest.
    pub fn flush(&self) {
        let mut state = self.lock();
        state.write_now();
        if !state.frames.is_empty() || state.is_broken {
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
            state.queue(last);
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
        match state.frames.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }

    /// Takes what waits, so many frames at most.
    #[must_use]
    pub fn take(&self, frames_max: usize) -> Vec<Bytes> {
        let mut state = self.lock();
        let count = state.frames.len().min(frames_max);
        let taken: Vec<Bytes> = state.frames.drain(..count).collect();
        state.bytes -= taken.iter().map(Bytes::len).sum::<usize>();
        taken
    }

    /// Gives the socket to the outbox of a connection that had none. What waits here leaves first.
    pub fn hand_over(&self, heir: &Self) {
        let (writer, mut frames) = {
            let mut state = self.lock();
            state.is_closing = true;
            state.bytes = 0;
            (std::mem::replace(&mut state.writer, Writer::Held), std::mem::take(&mut state.frames))
        };
        let mut state = heir.lock();
        state.writer = writer;
        state.bytes += frames.iter().map(Bytes::len).sum::<usize>();
        frames.append(&mut state.frames);
        state.frames = frames;
        state.write_now();
        state.wake();
    }

    fn is_full(&self, state: &State, more: usize) -> bool {
        state.frames.len() >= self.frames_max || state.bytes + more > self.bytes_max
    }

    /// A panic while the lock is held ends one connection's delivery and poisons nothing else.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn queue(&mut self, frame: Bytes) {
        if frame.is_empty() {
            return;
        }
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// Drops what waits, except a frame that has begun, and closes.
    fn close(&mut self, close: &Close) {
        self.frames.truncate(1);
        self.bytes = self.frames.iter().map(Bytes::len).sum();
        self.queue(self.wire.close(close));
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

    /// Writes what the socket takes at once, over TLS too. There it may cost the connection's task
    /// its registration with the socket, so it is woken to register again.
    fn make_room(&mut self) {
        self.write_now();
        if matches!(self.writer, Writer::Tls(_)) {
            // What fails here fails again when the task writes, which ends the connection.
            let _ = self.poll_write(&mut Context::from_waker(Waker::noop()));
            self.wake();
        }
    }

    /// Writes one frame past the empty queue, and returns what of it is left.
    fn write_alone(&mut self, mut frame: Bytes) -> Bytes {
        let Writer::Plain(socket) = &self.writer else {
            return frame;
        };
        match socket.try_write(&frame) {
            Ok(written) => frame.split_off(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => frame,
            Err(_) => {
                self.is_broken = true;
                Bytes::new()
            }
        }
    }

    /// Writes while the socket takes it at once. TLS is left to the connection's task.
    fn write_now(&mut self) {
        let Self { writer: Writer::Plain(socket), frames, bytes, .. } = self else {
            return;
        };
        while let Some(first) = frames.front() {
            let outcome = if frames.len() == 1 {
                socket.try_write(first)
            } else {
                let (slices, count) = slices(frames);
                socket.try_write_vectored(&slices[..count])
            };
            match outcome {
                Ok(written) => advance(frames, bytes, written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.is_broken = true;
                    self.frames.clear();
                    self.bytes = 0;
                    break;
                }
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.write_now();
            if self.is_broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let Self { writer, frames, bytes, .. } = self;
            match writer {
                Writer::Plain(_) | Writer::Held if frames.is_empty() => return Poll::Ready(Ok(())),
                Writer::Held => return Poll::Pending,
                Writer::Plain(socket) => {
                    std::task::ready!(socket.as_ref().poll_write_ready(context))?;
                }
                Writer::Tls(socket) if frames.is_empty() => {
                    return Pin::new(socket).poll_flush(context);
                }
                Writer::Tls(socket) => {
                    let (slices, count) = slices(frames);
                    let socket = Pin::new(socket);
                    let outcome = socket.poll_write_vectored(context, &slices[..count]);
                    advance(frames, bytes, std::task::ready!(outcome)?);
                }
            }
        }
    }
}

fn slices(frames: &VecDeque<Bytes>) -> ([IoSlice<'_>; FRAMES_PER_WRITE], usize) {
    let mut slices = [IoSlice::new(&[]); FRAMES_PER_WRITE];
    let mut count = 0;
    for (slice, frame) in slices.iter_mut().zip(frames) {
        *slice = IoSlice::new(frame);
        count += 1;
    }
    (slices, count)
}

/// Takes `written` bytes off the front. A frame that left in part keeps its rest.
fn advance(frames: &mut VecDeque<Bytes>, bytes: &mut usize, mut written: usize) {
    *bytes -= written;
    while let Some(front) = frames.front_mut() {
        if written < front.len() {
            bytes::Buf::advance(front, written);
            return;
        }
        written -= front.len();
        frames.pop_front();
    }
    // An idle connection keeps no buffer.
    frames.shrink_to_fit();
}

#[cfg(test)]
mod tests;
