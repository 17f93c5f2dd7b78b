//! One connection of the bare server: a socket, and buffers only while bytes are in flight.

use std::io::{self, Write};
use std::net::TcpStream;

use proto::websocket::text_frame;

use crate::frame::{TEXT, parse_masked};
use crate::http::Message;

use super::Request;

/// A client: a subscriber once it has upgraded, a publisher until then.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// The channel that it belongs to, if it is a subscriber.
    channel: Option<String>,
    unread: Vec<u8>,
    unsent: Vec<u8>,
}

impl Connection {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self { stream, channel: None, unread: Vec::new(), unsent: Vec::new() }
    }

    pub(super) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) const fn is_member(&self) -> bool {
        self.channel.is_some()
    }

    /// Takes bytes and returns the request that they complete.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Option<Request> {
        if let Some(channel) = self.channel.clone() {
            self.unread.extend_from_slice(bytes);
            let frames = self.said();
            return (!frames.is_empty()).then_some(Request::Say(channel, frames));
        }
        let (request, size) = if self.unread.is_empty() {
            read(bytes).or_else(|| {
                self.unread.extend_from_slice(bytes);
                None
            })?
        } else {
            self.unread.extend_from_slice(bytes);
            read(&self.unread)?
        };
        // A publisher waits for its answer, so nothing follows a request.
        debug_assert!(size >= bytes.len());
        self.unread = Vec::new();
        if let Request::Join(channel, _) = &request {
            self.channel = Some(channel.clone());
        }
        Some(request)
    }

    /// The texts of a subscriber that are there whole, as a server's frames.
    fn said(&mut self) -> Vec<u8> {
        let mut frames = Vec::new();
        while let Some((opcode, payload, bytes)) = parse_masked(&self.unread) {
            if opcode == TEXT
                && let Ok(text) = std::str::from_utf8(&payload)
            {
                frames.extend_from_slice(&text_frame(text));
            }
            self.unread.drain(..bytes);
        }
        frames
    }

    /// Writes, after what waits. True if this is the first that has to wait.
    pub(super) fn write(&mut self, bytes: &[u8]) -> bool {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return false;
        }
        // A socket that failed is closed when it is read.
        let written = (&self.stream).write(bytes).unwrap_or(0);
        self.unsent.extend_from_slice(&bytes[written..]);
        !self.unsent.is_empty()
    }

    /// Writes what waits. True if nothing does any more.
    pub(super) fn resume(&mut self) -> io::Result<bool> {
        let written = match (&self.stream).write(&self.unsent) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            // A socket that failed is closed when it is read.
            Err(_) => self.unsent.len(),
        };
        self.unsent.drain(..written);
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
        }
        Ok(self.unsent.is_empty())
    }
}

fn read(bytes: &[u8]) -> Option<(Request, usize)> {
    let message = Message::parse(bytes)?;
    Some((Request::read(&message), message.bytes))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;
    use crate::frame::{PONG, masked};

    fn connection() -> Connection {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Connection::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap())
    }

    #[test]
    fn a_request_may_arrive_in_pieces() {
        let mut connection = connection();
        let bytes = b"POST /c1 HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc";
        assert!(connection.take(&bytes[..20]).is_none());
        let request = connection.take(&bytes[20..]);
        let is_write = |channel: &str, frames: &[u8]| channel == "c1" && frames == b"abc";
        assert!(matches!(request, Some(Request::Write(c, f)) if is_write(&c, &f)));
        assert!(!connection.is_member());
    }

    #[test]
    fn an_upgrade_makes_a_member_whose_texts_are_for_its_channel() {
        let mut connection = connection();
        let bytes = b"GET /c1 HTTP/1.1\r\nsec-websocket-key: k\r\n\r\n";
        let request = connection.take(bytes);
        assert!(matches!(request, Some(Request::Join(c, k)) if c == "c1" && k == "k"));
        assert!(connection.is_member());
        let frames = [masked(PONG, b""), masked(TEXT, b"one"), masked(TEXT, b"two")].concat();
        let (begin, end) = frames.split_at(frames.len() - 2);
        let expected = [text_frame("one"), text_frame("two")];
        for (bytes, expected) in [begin, end].into_iter().zip(expected) {
            let request = connection.take(bytes);
            assert!(matches!(request, Some(Request::Say(c, f)) if c == "c1" && f == expected));
        }
    }
}
