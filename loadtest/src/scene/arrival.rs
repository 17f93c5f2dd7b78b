//! A connection on its way to being subscribed, without blocking: any number of them at once.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, bail, ensure};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use crate::client::{NO_LINGER, source};
use crate::door::{Join, Step};
use crate::frame::{self, CLOSE, TEXT, masked};
use crate::http::Message;
use crate::server::Target;
use crate::stream;
use crate::subscriber::Subscriber;

/// What a connection is opened for.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The channel that it subscribes. None: it only says hello.
    pub channel: Option<String>,
    /// Who it is there, if the channel is a presence channel.
    pub user: Option<String>,
}

/// The connection.
#[derive(Debug)]
pub(super) struct Arrival {
    stream: TcpStream,
    unread: Vec<u8>,
    unsent: Vec<u8>,
    /// Whether the upgrade was answered.
    is_switched: bool,
    /// Whether the server sends an event stream, and no WebSocket frames.
    is_stream: bool,
    steps: VecDeque<Step>,
    /// What the server calls it, as soon as it has said so.
    socket_id: Option<String>,
}

impl Arrival {
    /// Begins to connect; the number decides about the source address, and `room` is what the kernel is to
    /// take before it is read.
    pub(super) fn begin(
        target: &Target,
        (number, room): (usize, Option<usize>),
        seat: &Seat,
    ) -> anyhow::Result<Self> {
        let stream = connect(target.address, source(target, number), room)
            .with_context(|| format!("cannot connect to {}", target.address))?;
        let channel = seat.channel.as_deref();
        Ok(Self {
            stream,
            unread: Vec::new(),
            unsent: target.dialect.opening(channel.unwrap_or_default()).into_bytes(),
            is_switched: false,
            is_stream: target.dialect.is_stream(),
            steps: target.dialect.entrance(channel, seat.user.as_deref()).into(),
            socket_id: None,
        })
    }

    /// The socket, to watch.
    pub(super) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Goes on when the socket is ready. True if it has arrived.
    ///
    /// # Errors
    /// If the server refuses, or goes away.
    pub(super) fn go_on(&mut self, buffer: &mut [u8]) -> anyhow::Result<bool> {
        self.write()?;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a connection as it was opened"),
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
                Err(error) if is_early(&error) => break,
                Err(error) => return Err(error).context("a connection failed as it was opened"),
            }
        }
        self.advance()?;
        self.write()?;
        Ok(self.is_switched && self.steps.is_empty() && self.unsent.is_empty())
    }

    /// The subscriber that it has become, and what the server calls it.
    pub(super) fn finish(self) -> (Subscriber, Option<String>) {
        let subscriber = Subscriber::resume(self.stream, self.unread);
        (subscriber.reads_events(self.is_stream), self.socket_id)
    }

    /// Takes the steps that what has been read allows.
    fn advance(&mut self) -> anyhow::Result<()> {
        if !self.is_switched && !self.switched()? {
            return Ok(());
        }
        while let Some(step) = self.steps.front() {
            match step {
                Step::Send(bytes) => self.unsent.extend_from_slice(bytes),
                Step::Join(join) => {
                    let frame = join.frame(self.socket_id.as_deref().unwrap_or_default());
                    self.unsent.extend_from_slice(&frame);
                }
                Step::Expect(words) => {
                    let words = *words;
                    if !self.expected(words)? {
                        return Ok(());
                    }
                }
            }
            self.steps.pop_front();
        }
        Ok(())
    }

    fn switched(&mut self) -> anyhow::Result<bool> {
        let Some(answer) = Message::parse(&self.unread) else { return Ok(false) };
        let status = answer.second_word();
        let expected = if self.is_stream { "200" } else { "101" };
        ensure!(status == expected, "the server refused a connection: {status}");
        let bytes = answer.bytes;
        self.unread.drain(..bytes);
        self.is_switched = true;
        Ok(true)
    }

    /// Whether a message with these words has come; what came before it is dropped.
    fn expected(&mut self, words: &str) -> anyhow::Result<bool> {
        loop {
            let (bytes, text) = if self.is_stream {
                let Some(event) = stream::parse(&self.unread) else { return Ok(false) };
                (event.len(), String::from_utf8_lossy(event).into_owned())
            } else {
                let Some(frame) = frame::parse(&self.unread)? else { return Ok(false) };
                let text = String::from_utf8_lossy(frame.payload).into_owned();
                let is_no = frame.opcode == CLOSE || text.contains("error");
                ensure!(!is_no, "the server refused a client: {text}");
                (frame.bytes, text)
            };
            self.unread.drain(..bytes);
            if self.socket_id.is_none() {
                self.socket_id = Join::socket_id(&text);
            }
            if text.contains(words) {
                return Ok(true);
            }
        }
    }

    fn write(&mut self) -> anyhow::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if is_early(&error) => break,
                Err(error) => return Err(error).context("a connection failed as it was opened"),
            }
        }
        Ok(())
    }
}

/// Whether there is nothing wrong, and only nothing to do yet.
fn is_early(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}

fn connect(
    address: SocketAddr,
    source: Option<SocketAddr>,
    room: Option<usize>,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    room.map_or(Ok(()), |bytes| socket.set_recv_buffer_size(bytes))?;
    if let Some(source) = source {
        socket.bind(&source.into())?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.set_linger(NO_LINGER)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// A frame that a client sends as a text.
pub(super) fn text(words: &str) -> Vec<u8> {
    masked(TEXT, words.as_bytes())
}
