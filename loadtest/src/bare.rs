//! The bare server, which no broker can beat one event at a time: it accepts WebSocket handshakes and
//! writes what is posted, already encoded, to every socket of a channel, in an epoll loop on one
//! thread. No signature, no JSON, no protocol: what it costs is what the system calls cost.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::Context as _;
use rustix::net::SocketFlags;
use socket2::{Domain, Socket, Type};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::descriptors;
use crate::http::Message;
use crate::poll::{Interest, Poll};

mod connection;

use connection::Connection;

/// The listener's token; others are places in the table of connections.
const LISTENER: u64 = u64::MAX;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// The server.
#[derive(Debug)]
struct Bare {
    listener: TcpListener,
    poll: Poll,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    channels: HashMap<String, Vec<usize>>,
    buffer: Vec<u8>,
}

/// What a connection asks for.
enum Request {
    /// To belong to a channel.
    Join(String, String),
    /// To write these bytes to a channel.
    Write(String, Vec<u8>),
    /// The same, by one of its members, to all others.
    Say(String, Vec<u8>),
}

/// Serves until the process is killed.
///
/// # Errors
/// If the address cannot be listened on.
pub fn serve(address: SocketAddr) -> anyhow::Result<()> {
    descriptors::raise();
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let mut bare = Bare {
        listener: socket.into(),
        poll: Poll::new()?,
        connections: Vec::new(),
        free: Vec::new(),
        channels: HashMap::new(),
        buffer: vec![0; 64 * 1024],
    };
    bare.poll.add(&bare.listener, LISTENER, Interest::Read)?;
    bare.run().context("the bare server failed")
}

impl Bare {
    fn run(&mut self) -> io::Result<()> {
        loop {
            let count = self.poll.wait(None)?;
            for index in 0..count {
                match self.poll.ready(index) {
                    (LISTENER, _) => self.accept()?,
                    (token, is_writable) => {
                        let place = usize::try_from(token).unwrap_or(usize::MAX);
                        self.attend(place, is_writable)?;
                    }
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let stream = match rustix::net::accept_with(&self.listener, flags) {
                Ok(descriptor) => TcpStream::from(descriptor),
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nodelay(true)?;
            let place = self.free.pop().unwrap_or(self.connections.len());
            self.poll.add(&stream, place as u64, Interest::Read)?;
            let connection = Some(Connection::new(stream));
            match self.connections.get_mut(place) {
                Some(free) => *free = connection,
                None => self.connections.push(connection),
            }
        }
    }

    fn attend(&mut self, place: usize, is_writable: bool) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(place).and_then(Option::as_mut) else {
            return Ok(());
        };
        if is_writable && connection.resume()? {
            let stream = connection.stream();
            self.poll.change(stream, place as u64, Interest::Read)?;
        }
        match connection.stream().read(&mut self.buffer) {
            Ok(0) => self.close(place),
            Ok(count) => {
                let request = connection.take(&self.buffer[..count]);
                return request.map_or(Ok(()), |request| self.obey(place, request));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.close(place),
        }
        Ok(())
    }

    fn obey(&mut self, place: usize, request: Request) -> io::Result<()> {
        match request {
            Request::Join(channel, key) => {
                let accept = derive_accept_key(key.as_bytes());
                let answer = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
                     upgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
                );
                self.write(place, answer.as_bytes())?;
                self.channels.entry(channel).or_default().push(place);
            }
            Request::Say(channel, frames) => self.write_all(channel, &frames, Some(place))?,
            Request::Write(channel, frames) => {
                self.write_all(channel, &frames, None)?;
                self.write(place, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")?;
            }
        }
        Ok(())
    }

    fn write_all(
        &mut self,
        channel: String,
        frames: &[u8],
        except: Option<usize>,
    ) -> io::Result<()> {
        let members = self.channels.remove(&channel).unwrap_or_default();
        for &member in members.iter().filter(|&&member| Some(member) != except) {
            self.write(member, frames)?;
        }
        self.channels.insert(channel, members);
        Ok(())
    }

    fn write(&mut self, place: usize, bytes: &[u8]) -> io::Result<()> {
        let connection = self.connections.get_mut(place).and_then(Option::as_mut);
        let Some(connection) = connection else {
            return Ok(());
        };
        if connection.write(bytes) {
            let stream = connection.stream();
            self.poll.change(stream, place as u64, Interest::ReadWrite)?;
        }
        Ok(())
    }

    fn close(&mut self, place: usize) {
        let Some(connection) = self.connections[place].take() else {
            return;
        };
        self.free.push(place);
        if connection.is_member() {
            for members in self.channels.values_mut() {
                members.retain(|&member| member != place);
            }
        }
    }
}

impl Request {
    fn read(message: &Message<'_>) -> Self {
        let channel = message.second_word().trim_start_matches('/').to_owned();
        match message.header("sec-websocket-key") {
            Some(key) => Self::Join(channel, key.to_owned()),
            None => Self::Write(channel, message.body.to_vec()),
        }
    }
}
