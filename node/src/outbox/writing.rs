//! How what an outbox has gets into its socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use super::{State, Writer};

impl State {
    /// Writes what the socket takes at once, over TLS too. There it may cost the connection's task
    /// its registration with the socket, so it is woken to register again.
    pub(super) fn make_room(&mut self) {
        self.write_now();
        if matches!(self.writer, Writer::Tls(_)) {
            // What fails here fails again when the task writes, which ends the connection.
            let _ = self.poll_write(&mut Context::from_waker(Waker::noop()));
            self.wake();
        }
    }

    /// Writes one frame past the empty queue, and returns what of it is left.
    pub(super) fn write_alone(&mut self, mut frame: Bytes) -> Bytes {
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
    pub(super) fn write_now(&mut self) {
        let Self { writer: Writer::Plain(socket), queue, .. } = self else {
            return;
        };
        queue.expire();
        while let Some(first) = queue.first() {
            let outcome = if queue.len() == 1 {
                socket.try_write(first)
            } else {
                let (slices, count) = queue.slices();
                socket.try_write_vectored(&slices[..count])
            };
            match outcome {
                Ok(written) => queue.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.is_broken = true;
                    queue.clear();
                    break;
                }
            }
        }
    }

    pub(super) fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.write_now();
            if self.is_broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let Self { writer, queue, .. } = self;
            match writer {
                Writer::Plain(_) | Writer::Held if queue.is_empty() => return Poll::Ready(Ok(())),
                Writer::Held => return Poll::Pending,
                Writer::Plain(socket) => {
                    std::task::ready!(socket.as_ref().poll_write_ready(context))?;
                }
                Writer::Tls(socket) if queue.is_empty() => {
                    return Pin::new(socket).poll_flush(context);
                }
                Writer::Tls(socket) => {
                    let (slices, count) = queue.slices();
                    let socket = Pin::new(socket);
                    let outcome = socket.poll_write_vectored(context, &slices[..count]);
                    queue.advance(std::task::ready!(outcome)?);
                }
            }
        }
    }
}
