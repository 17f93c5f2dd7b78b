//! One client after it has subscribed: it reads frames, answers pings and reports events.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, ensure};

use crate::frame::{self, CLOSE, Frame, PING, PONG, TEXT, masked};
use crate::mark::Mark;
use crate::stream;

/// An event that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Its place.
    pub mark: Mark,
    /// Bytes of its frame.
    pub frame_bytes: usize,
}

/// A subscribed connection.
#[derive(Debug)]
pub struct Subscriber {
    /// None once the server has closed it.
    stream: Option<TcpStream>,
    /// The beginning of a frame whose end is not there yet.
    rest: Vec<u8>,
    /// Where the last mark was.
    hint: usize,
    /// Whether an event stream comes, and no WebSocket frames.
    is_stream: bool,
    /// Whether `rest` has not been looked at yet.
    is_resumed: bool,
    /// Why the server closed the connection.
    close_code: Option<u16>,
}

impl Subscriber {
    /// Takes over a connection that does not block.
    #[must_use]
    pub const fn new(stream: TcpStream) -> Self {
        Self::resume(stream, Vec::new())
    }

    /// Takes over a connection of which something has been read already.
    #[must_use]
    pub const fn resume(stream: TcpStream, rest: Vec<u8>) -> Self {
        let is_resumed = !rest.is_empty();
        let stream = Some(stream);
        Self { stream, rest, hint: 0, is_stream: false, is_resumed, close_code: None }
    }

    /// The same, of an event stream.
    #[must_use]
    pub fn reads_events(self, is_stream: bool) -> Self {
        Self { is_stream, ..self }
    }

    /// The socket, to watch.
    ///
    /// # Panics
    /// If it is closed.
    #[must_use]
    pub const fn stream(&self) -> &TcpStream {
        self.stream.as_ref().expect("a closed client is not watched")
    }

    /// Whether the server has not closed it.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// The code by which the server closed it, if it said one.
    #[must_use]
    pub const fn close_code(&self) -> Option<u16> {
        self.close_code
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn send(&self, frame: &[u8]) -> anyhow::Result<()> {
        self.stream.as_ref().map_or(Ok(()), |stream| send(stream, frame))
    }

    /// Reads once, into a buffer that all clients share, and reports what has arrived whole. False
    /// if the server closed the connection.
    ///
    /// # Errors
    /// If the server sends no WebSocket frames.
    pub fn receive(
        &mut self,
        buffer: &mut [u8],
        mut report: impl FnMut(Delivered),
    ) -> anyhow::Result<bool> {
        if self.is_stream {
            return self.receive_events(buffer, report);
        }
        let mut hint = self.hint;
        let open = self.receive_frames(buffer, |stream, frame| match frame.opcode {
            TEXT => match Mark::find(frame.payload, &mut hint) {
                Some(mark) => {
                    report(Delivered { mark, frame_bytes: frame.bytes });
                    Ok(())
                }
                None => answer(stream, frame.payload),
            },
            _ => Ok(()),
        });
        self.hint = hint;
        open
    }

    /// Reads once and hands over the texts and the close frame that have arrived whole; pings are
    /// answered. False if the server closed the connection.
    ///
    /// # Errors
    /// If the server sends no WebSocket frames, or if `take` fails.
    pub fn receive_frames(
        &mut self,
        buffer: &mut [u8],
        mut take: impl FnMut(&TcpStream, Frame<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        let mut unread = match self.read(buffer)? {
            Read::Bytes(count) => &buffer[..count],
            Read::Nothing => return Ok(true),
            Read::Closed => return Ok(false),
        };
        let Some(stream) = &self.stream else { return Ok(true) };
        while let Some(frame) = frame::parse(unread)? {
            unread = &unread[frame.bytes..];
            match frame.opcode {
                TEXT | CLOSE => take(stream, frame)?,
                PING => send(stream, &masked(PONG, frame.payload))?,
                _ => {}
            }
            if frame.opcode == CLOSE {
                let code = frame.payload.first_chunk();
                self.close_code = code.map(|code| u16::from_be_bytes(*code));
                self.stream = None;
                return Ok(false);
            }
        }
        self.rest.clear();
        self.rest.extend_from_slice(unread);
        Ok(true)
    }
}

impl Subscriber {
    fn receive_events(
        &mut self,
        buffer: &mut [u8],
        mut report: impl FnMut(Delivered),
    ) -> anyhow::Result<bool> {
        let mut unread = match self.read(buffer)? {
            Read::Bytes(count) => &buffer[..count],
            Read::Nothing => return Ok(true),
            Read::Closed => return Ok(false),
        };
        while let Some(event) = stream::parse(unread) {
            unread = &unread[event.len()..];
            if let Some(mark) = Mark::find(event, &mut self.hint) {
                report(Delivered { mark, frame_bytes: event.len() });
            }
        }
        self.rest.clear();
        self.rest.extend_from_slice(unread);
        Ok(true)
    }

    /// Reads once, behind what is left of the last time.
    fn read(&mut self, buffer: &mut [u8]) -> anyhow::Result<Read> {
        let Some(mut stream) = self.stream.as_ref() else { return Ok(Read::Nothing) };
        let kept = self.rest.len();
        ensure!(kept < buffer.len(), "a message does not fit the buffer");
        if std::mem::take(&mut self.is_resumed) {
            // What is left of the opening may be whole: nothing more need come.
            buffer[..kept].copy_from_slice(&self.rest);
            return Ok(Read::Bytes(kept));
        }
        let count = match stream.read(&mut buffer[kept..]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Read::Nothing),
            Err(_) => 0,
        };
        if count == 0 {
            self.stream = None;
            return Ok(Read::Closed);
        }
        buffer[..kept].copy_from_slice(&self.rest);
        Ok(Read::Bytes(kept + count))
    }
}

/// What reading gave.
enum Read {
    /// So many bytes are in the buffer.
    Bytes(usize),
    /// Nothing new.
    Nothing,
    /// The server has closed the connection.
    Closed,
}

/// Older servers ping with an event, and Engine.IO with a digit.
///
/// # Errors
/// If the connection is broken.
pub fn answer(stream: &TcpStream, message: &[u8]) -> anyhow::Result<()> {
    const QUESTION: &[u8] = b"pusher:ping";
    if message == b"2" {
        send(stream, &masked(TEXT, b"3"))?;
    }
    if message.windows(QUESTION.len()).any(|w| w == QUESTION) {
        send(stream, &masked(TEXT, br#"{"event":"pusher:pong","data":{}}"#))?;
    }
    Ok(())
}

/// A client sends so little that a socket always takes it whole.
fn send(mut stream: &TcpStream, frame: &[u8]) -> anyhow::Result<()> {
    stream.write_all(frame).context("cannot answer a ping")
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use proto::websocket::{close_frame, ping_frame, text_frame};

    use super::*;

    fn pair() -> (TcpStream, Subscriber) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, Subscriber::new(client))
    }

    #[test]
    fn frames_are_put_together_and_pings_answered() {
        let (mut server, mut subscriber) = pair();
        let mark = Mark { stream: 1, number: 2 };
        let frame = text_frame(&mark.data(100));
        let bytes = [&ping_frame()[..], &frame, &close_frame(4200, "bye")].concat();
        let (mut buffer, mut got) = (vec![0; 512], Vec::new());
        let (begin, end) = bytes.split_at(50);
        server.write_all(begin).unwrap();
        assert!(subscriber.receive(&mut buffer, |d| got.push(d)).unwrap());
        server.write_all(end).unwrap();
        assert!(!subscriber.receive(&mut buffer, |d| got.push(d)).unwrap());
        let frame_bytes = frame.len();
        assert_eq!(got, [Delivered { mark, frame_bytes }]);
        assert_eq!(subscriber.close_code(), Some(4200));
        let mut pong = [0; 6];
        server.read_exact(&mut pong).unwrap();
        assert_eq!(pong.to_vec(), masked(PONG, b""));
    }

    #[test]
    fn what_came_with_the_opening_is_not_waited_for() {
        let (_server, subscriber) = pair();
        let mark = Mark { stream: 1, number: 2 };
        let rest = text_frame(&mark.data(100)).to_vec();
        let mut subscriber = Subscriber::resume(subscriber.stream.unwrap(), rest);
        let (mut buffer, mut got) = (vec![0; 512], Vec::new());
        assert!(subscriber.receive(&mut buffer, |d| got.push(d.mark)).unwrap());
        assert_eq!(got, [mark]);
    }
}
