//! Many WebSocket clients: opened in waves, each subscribed to one channel.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use socket2::{Domain, Socket, Type};

use crate::door::Step;
use crate::frame::{self, CLOSE};
use crate::http::Message;
use crate::server::Target;
use crate::stream;

/// Connections that are opened at the same time: enough to keep a server busy, and far below any
/// listening queue.
const WAVE: usize = 64;
/// How long a server may take for one step of an opening.
const STEP_MAX: Duration = Duration::from_secs(10);
/// Connections from one source address: a pair of addresses has some 28,000 ports.
const PER_ADDRESS: usize = 20_000;

/// Closed by a reset: else its port would stay taken for a minute, and rounds follow each other faster
/// than that.
pub(crate) const NO_LINGER: Option<Duration> = Some(Duration::ZERO);

/// Opens one connection for each channel in the list and subscribes it. They do not block.
///
/// # Errors
/// If the server refuses one, or takes too long.
pub fn open(
    target: &Target,
    channels: &[String],
    progress: impl Fn(usize),
) -> anyhow::Result<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(channels.len());
    for wave in channels.chunks(WAVE) {
        let mut openings = Vec::with_capacity(wave.len());
        for (number, channel) in (streams.len()..).zip(wave) {
            let source = source(target, number);
            let mut opening = Opening::connect(target.address, source, STEP_MAX)?;
            opening.is_stream = target.dialect.is_stream();
            opening.send(target.dialect.opening(channel).as_bytes())?;
            openings.push((opening, target.dialect.steps(channel).into_iter()));
        }
        for (opening, _) in &mut openings {
            opening.switched()?;
        }
        // Step by step, so that the server has something to do for all of them at once.
        let mut is_done = false;
        while !is_done {
            is_done = true;
            for (opening, steps) in &mut openings {
                if let Some(step) = steps.next() {
                    opening.take(&step)?;
                    is_done = false;
                }
            }
        }
        for (opening, _) in openings {
            streams.push(opening.finish()?);
        }
        progress(streams.len());
    }
    Ok(streams)
}

/// Where a connection comes from: `127.0.0.2`, `127.0.0.3` and so on.
pub(crate) fn source(target: &Target, number: usize) -> Option<SocketAddr> {
    let last = u8::try_from(2 + number / PER_ADDRESS).ok()?;
    let address = Ipv4Addr::new(127, 0, 0, last);
    target.address.is_ipv4().then(|| (address, 0).into())
}

/// A connection on its way to being open. It blocks, for a time.
#[derive(Debug)]
pub struct Opening {
    stream: TcpStream,
    unread: Vec<u8>,
    /// Whether the server sends an event stream, and no WebSocket frames.
    is_stream: bool,
}

impl Opening {
    /// Connects, from an address of its own if one is given; no step may take longer than
    /// `patience`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn connect(
        address: SocketAddr,
        source: Option<SocketAddr>,
        patience: Duration,
    ) -> anyhow::Result<Self> {
        let connect = || -> std::io::Result<TcpStream> {
            let domain = Domain::for_address(address);
            let socket = Socket::new(domain, Type::STREAM, None)?;
            if let Some(source) = source {
                socket.bind(&source.into())?;
            }
            socket.connect_timeout(&address.into(), patience)?;
            socket.set_tcp_nodelay(true)?;
            socket.set_linger(NO_LINGER)?;
            socket.set_read_timeout(Some(patience))?;
            Ok(socket.into())
        };
        let stream = connect().with_context(|| format!("cannot connect to {address}"))?;
        let unread = Vec::new();
        Ok(Self { stream, unread, is_stream: false })
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// If the server went away.
    pub fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(bytes).context("the server went away")
    }

    fn read_more(&mut self) -> anyhow::Result<()> {
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer);
        let count = count.context("the server did not answer in time")?;
        ensure!(count > 0, "the server closed a connection as it was opened");
        self.unread.extend_from_slice(&buffer[..count]);
        Ok(())
    }

    /// Waits for the answer to the upgrade.
    ///
    /// # Errors
    /// If it is no, or does not come.
    pub fn switched(&mut self) -> anyhow::Result<()> {
        loop {
            if let Some(answer) = Message::parse(&self.unread) {
                let status = answer.second_word();
                let expected = if self.is_stream { "200" } else { "101" };
                ensure!(status == expected, "the server refused a connection: {status}");
                let bytes = answer.bytes;
                self.unread.drain(..bytes);
                return Ok(());
            }
            self.read_more()?;
        }
    }

    fn take(&mut self, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Send(bytes) => self.send(bytes),
            Step::Join(_) => bail!("this way in is for public channels"),
            Step::Expect(words) if self.is_stream => self.event(words),
            Step::Expect(words) => self.text(words).map(drop),
        }
    }

    /// Waits for an event of a stream that has these words in it.
    fn event(&mut self, words: &str) -> anyhow::Result<()> {
        loop {
            while let Some(event) = stream::parse(&self.unread) {
                let text = String::from_utf8_lossy(event);
                let (bytes, is_it) = (event.len(), text.contains(words));
                self.unread.drain(..bytes);
                if is_it {
                    return Ok(());
                }
            }
            self.read_more()?;
        }
    }

    /// Waits for a message that has these words in it.
    ///
    /// # Errors
    /// If the server says no, or nothing.
    pub fn text(&mut self, words: &str) -> anyhow::Result<String> {
        loop {
            while let Some(frame) = frame::parse(&self.unread)? {
                let text = String::from_utf8_lossy(frame.payload);
                if frame.opcode == CLOSE || text.contains("error") {
                    bail!("the server refused a client: {text}");
                }
                let found = text.contains(words).then(|| text.into_owned());
                let bytes = frame.bytes;
                self.unread.drain(..bytes);
                if let Some(text) = found {
                    return Ok(text);
                }
            }
            self.read_more()?;
        }
    }

    /// The connection, and what has been read of it and not been waited for.
    #[must_use]
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.unread)
    }

    fn finish(self) -> anyhow::Result<TcpStream> {
        let is_quiet = self.unread.is_empty();
        ensure!(is_quiet, "the server sent something before it was asked");
        self.stream.set_read_timeout(None)?;
        self.stream.set_nonblocking(true)?;
        Ok(self.stream)
    }
}
