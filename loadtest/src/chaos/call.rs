//! One HTTP connection that is kept, one request at a time; every way of failing has a name.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::observation::Failure;
use crate::dialect::request;
use crate::http::Message;

/// How often someone who waits looks whether there is still something to wait for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a connect may take.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// A whole answer.
#[derive(Clone, Debug)]
pub(super) struct Answer(Vec<u8>);

impl Answer {
    /// The answer's parts.
    ///
    /// # Panics
    /// Never: an answer is whole.
    #[must_use]
    pub(super) fn message(&self) -> Message<'_> {
        Message::parse(&self.0).expect("an answer is whole")
    }

    /// The status.
    #[must_use]
    pub(super) fn status(&self) -> u16 {
        self.message().second_word().parse().unwrap_or(0)
    }

    /// The body, if it is a 200 with JSON of that form.
    #[must_use]
    pub(super) fn json<T: DeserializeOwned>(&self) -> Option<T> {
        let body = Some(self.message().body).filter(|_| self.status() == 200)?;
        serde_json::from_slice(body).ok()
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Caller {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Caller {
    /// Connects when it is first used.
    #[must_use]
    pub(super) const fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// Sends a request and waits for the answer as long as `is_hopeless` says no.
    ///
    /// # Errors
    /// How it failed.
    pub(super) fn call(
        &mut self,
        request: &[u8],
        patience: Duration,
        is_hopeless: impl Fn() -> bool,
    ) -> Result<Answer, Failure> {
        let until = Instant::now() + patience;
        let mut stream = match self.stream.take().filter(is_open) {
            Some(stream) => stream,
            None => connect(self.address, patience)?,
        };
        stream.write_all(request).map_err(|_| Failure::Broken)?;
        let (mut bytes, mut buffer) = (Vec::new(), [0; 8192]);
        while Instant::now() < until {
            match stream.read(&mut buffer) {
                Ok(0) => return Err(Failure::Broken),
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if is_hopeless() {
                        return Err(Failure::Stopped);
                    }
                    continue;
                }
                Err(_) => return Err(Failure::Broken),
            }
            if let Some(message) = Message::parse(&bytes) {
                let is_last = message.header("connection").is_some_and(|value| value == "close");
                self.stream = Some(stream).filter(|_| !is_last);
                return Ok(Answer(bytes));
            }
        }
        Err(Failure::Hung)
    }
}

fn connect(address: SocketAddr, patience: Duration) -> Result<TcpStream, Failure> {
    let open = || -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&address, patience.min(CONNECT_MAX))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(CONNECT_MAX))?;
        stream.set_read_timeout(Some(LOOK_EVERY.min(patience)))?;
        Ok(stream)
    };
    open().map_err(|_| Failure::Unreachable)
}

/// Whether the server has left a kept connection open.
fn is_open(stream: &TcpStream) -> bool {
    let look = || -> std::io::Result<usize> {
        stream.set_nonblocking(true)?;
        let seen = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        seen
    };
    look().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// A GET without a signature, on a connection of its own.
///
/// # Errors
/// How it failed.
pub(super) fn get(address: SocketAddr, path: &str, patience: Duration) -> Result<Answer, Failure> {
    let request = request(("GET", path), &[("connection", "close")], b"");
    Caller::new(address).call(&request, patience, || false)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;

    /// A server that answers each connection with the next of these bytes, and then ends it.
    fn server(answers: Vec<&'static [u8]>) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = [0; 1024];
                assert!(stream.read(&mut buffer).unwrap() > 0);
                stream.write_all(answer).unwrap();
            }
        });
        address
    }

    const PATIENCE: Duration = Duration::from_secs(5);

    #[test]
    fn a_kept_connection_that_ended_is_opened_anew() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        let mut caller = Caller::new(server(vec![answer, answer]));
        for _ in 0..2 {
            let answer = caller.call(b"GET / HTTP/1.1\r\n\r\n", PATIENCE, || false).unwrap();
            assert_eq!(answer.json::<serde_json::Value>(), Some(serde_json::json!({})));
            thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn ways_of_failing_are_told_apart() {
        let broken = Caller::new(server(vec![b""])).call(b"x", PATIENCE, || false);
        assert_eq!(broken.unwrap_err(), Failure::Broken);
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = silent.local_addr().unwrap();
        let short = Duration::from_millis(80);
        let hung = Caller::new(address).call(b"x", short, || false);
        assert_eq!(hung.unwrap_err(), Failure::Hung);
        let stopped = Caller::new(address).call(b"x", PATIENCE, || true);
        assert_eq!(stopped.unwrap_err(), Failure::Stopped);
        drop(silent);
        let refused = Caller::new(address).call(b"x", PATIENCE, || false);
        assert_eq!(refused.unwrap_err(), Failure::Unreachable);
    }
}
