//! The two halves of a client's connection: what is read goes to the WebSocket reader, and what that
//! reader wants to write (pongs and its answer to a close) goes through the outbox like all else.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use proto::app::Limits;
use proto::wire::Wire;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio_rustls::server::TlsStream;

use crate::outbox::{Outbox, Writer};

/// A client's connection before it is divided: plain or TLS.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// The read half, with the outbox in the place of the write half.
#[derive(Debug)]
pub struct Socket {
    reader: Reader,
    outbox: Arc<Outbox>,
}

#[derive(Debug)]
enum Reader {
    Plain(OwnedReadHalf),
    Tls(ReadHalf<TlsStream<TcpStream>>),
}

impl Stream {
    /// Gives the connection up when the other end takes nothing of what was sent for so long: a machine
    /// that is gone says nothing, and TCP by itself would wait for a quarter of an hour.
    ///
    /// # Errors
    /// The socket's.
    pub fn lose_after(&self, silence: Duration) -> io::Result<()> {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        SockRef::from(stream).set_tcp_user_timeout(Some(silence))
    }

    /// Divides the connection.
    #[must_use]
    pub fn divide(self, wire: Wire, limits: &Limits) -> (Socket, Arc<Outbox>) {
        let (reader, writer) = match self {
            Self::Plain(stream) => {
                let (reader, writer) = stream.into_split();
                (Reader::Plain(reader), Writer::Plain(writer))
            }
            Self::Tls(stream) => {
                let (reader, writer) = tokio::io::split(*stream);
                (Reader::Tls(reader), Writer::Tls(writer))
            }
        };
        let outbox = Arc::new(Outbox::new(writer, wire, limits));
        (Socket { reader, outbox: Arc::clone(&outbox) }, outbox)
    }
}

impl Socket {
    /// Lets what the reader wants to write go through another outbox, which has the write half now.
    pub fn adopt(&mut self, outbox: Arc<Outbox>) {
        self.outbox = outbox;
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().reader {
            Reader::Plain(reader) => Pin::new(reader).poll_read(context, buffer),
            Reader::Tls(reader) => Pin::new(reader).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // A frame of the reader's own is taken whole, so it never tears another one. When the
        // outbox is closing its close frame is the last: there is nothing to answer any more.
        let _ = self.outbox.send(Bytes::copy_from_slice(bytes));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

macro_rules! forward {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Plain($stream) => $call,
            Stream::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        forward!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}
