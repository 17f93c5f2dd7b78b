//! A back end that publishes over one kept-alive HTTP connection, one request at a time. Its requests
//! are made and signed beforehand, so that what they cost is in no figure.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::Range;

use anyhow::{Context as _, bail, ensure};

use crate::http::Message;
use crate::mark::Mark;
use crate::server::Target;

/// What a publisher will send, in order.
#[derive(Debug, Default)]
pub struct Script {
    bytes: Vec<u8>,
    posts: Vec<Post>,
}

/// One request: some events of one stream.
#[derive(Clone, Debug)]
pub struct Post {
    bytes: Range<usize>,
    /// The first event's place.
    pub first: Mark,
    /// How many events it carries.
    pub events: u32,
}

impl Script {
    /// Adds a request that publishes `events` events of `size` bytes of data to a channel.
    pub fn push(
        &mut self,
        target: &Target,
        channel: &str,
        (first, events): (Mark, u32),
        size: usize,
    ) {
        let data: Vec<String> = (first.number..first.number + events)
            .map(|number| Mark { number, ..first }.data(size))
            .collect();
        let start = self.bytes.len();
        target.dialect.publish(&mut self.bytes, channel, &data);
        self.posts.push(Post { bytes: start..self.bytes.len(), first, events });
    }

    /// How many requests it has.
    #[must_use]
    pub const fn requests(&self) -> usize {
        self.posts.len()
    }
}

/// A connection and its script.
#[derive(Debug)]
pub struct Publisher {
    stream: TcpStream,
    script: Script,
    /// Requests that were begun.
    begun: usize,
    /// What of the last one is not written yet.
    unsent: Range<usize>,
    is_waiting: bool,
    answer: Vec<u8>,
}

impl Publisher {
    /// Connects.
    ///
    /// # Errors
    /// The operating system's.
    pub fn connect(target: &Target, script: Script) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.address).context("cannot connect to publish")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, script, begun: 0, unsent: 0..0, is_waiting: false, answer: Vec::new() })
    }

    /// The socket, to watch.
    #[must_use]
    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether it waits for an answer.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// The next request, if fewer than `limit` have been begun.
    #[must_use]
    pub fn next(&self, limit: usize) -> Option<&Post> {
        let posts = &self.script.posts[..limit.min(self.script.posts.len())];
        posts.get(self.begun)
    }

    /// Begins the next request. The last one must have been answered.
    ///
    /// # Errors
    /// The operating system's.
    pub fn begin(&mut self) -> anyhow::Result<()> {
        self.unsent = self.script.posts[self.begun].bytes.clone();
        self.begun += 1;
        self.is_waiting = true;
        self.write()
    }

    /// Begins a request that is in no script. The last one must have been answered.
    ///
    /// # Errors
    /// The operating system's.
    pub fn send(&mut self, request: Vec<u8>) -> anyhow::Result<()> {
        self.unsent = 0..request.len();
        self.script.bytes = request;
        self.is_waiting = true;
        self.write()
    }

    /// Goes on when the socket is ready. True if a request was answered.
    ///
    /// # Errors
    /// If the server refused it or went away.
    pub fn go_on(&mut self) -> anyhow::Result<bool> {
        self.write()?;
        let mut buffer = [0; 4096];
        loop {
            match (&self.stream).read(&mut buffer) {
                Ok(0) => bail!("the server closed a publishing connection"),
                Ok(count) => self.answer.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("a publishing connection failed"),
            }
        }
        self.take_answer()
    }

    fn take_answer(&mut self) -> anyhow::Result<bool> {
        let Some(answer) = Message::parse(&self.answer) else {
            return Ok(false);
        };
        let status = answer.second_word();
        if !status.starts_with('2') {
            let body = String::from_utf8_lossy(answer.body);
            bail!("the server refused to publish: {status} {body}");
        }
        let is_chunked = answer.header("transfer-encoding").is_some();
        ensure!(!is_chunked, "the server answers in chunks");
        let is_whole = answer.bytes == self.answer.len();
        ensure!(is_whole && self.is_waiting, "the server answered unasked");
        self.answer.clear();
        self.is_waiting = false;
        Ok(true)
    }

    fn write(&mut self) -> anyhow::Result<()> {
        while !self.unsent.is_empty() {
            match (&self.stream).write(&self.script.bytes[self.unsent.clone()]) {
                Ok(count) => self.unsent.start += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("a publishing connection failed"),
            }
        }
        Ok(())
    }
}
