//! The socket of gossip: UDP on the cluster port, every datagram sealed.
//!
//! chitchat takes an error for the end of the socket, so it never sees one.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Deserializable, Serializable};
use proto::cluster::handshake::Keys;

use super::count::{self, Counters};
use super::seal::{Seal, Unsealed};
use crate::clock::unix_ms;
use crate::random;

/// The largest datagram that UDP carries.
const DATAGRAM_BYTES_MAX: usize = 65_507;
/// The pause after the operating system could not receive.
const TROUBLE_PAUSE: Duration = Duration::from_millis(10);
/// A wrong clock is logged once for so many datagrams.
const CLOCK_LOG_EVERY: u32 = 100;

/// Opens the sealed socket.
pub(super) struct SealedTransport {
    pub(super) socket: UdpSocket,
    pub(super) keys: Keys,
    pub(super) counters: Arc<Counters>,
}

#[async_trait]
impl Transport for SealedTransport {
    async fn open(&self, _listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let salt = random::bits().to_be_bytes();
        Ok(Box::new(SealedSocket {
            socket: tokio::net::UdpSocket::from_std(self.socket.try_clone()?)?,
            seal: Seal::new(self.keys.clone(), salt),
            buffer: vec![0; DATAGRAM_BYTES_MAX],
            clock_complaints: 0,
            counters: Arc::clone(&self.counters),
        }))
    }
}

struct SealedSocket {
    socket: tokio::net::UdpSocket,
    seal: Seal,
    buffer: Vec<u8>,
    clock_complaints: u32,
    counters: Arc<Counters>,
}

#[async_trait]
impl Socket for SealedSocket {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        let datagram = self.seal.seal(&message.serialize_to_vec(), unix_ms());
        if let Err(error) = self.socket.send_to(&datagram, to).await {
            count::add(&self.counters.datagrams_unsent);
            tracing::debug!(%to, %error, "a gossip datagram could not be sent");
        }
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        loop {
            match self.socket.recv_from(&mut self.buffer).await {
                Ok((length, from)) => {
                    if let Some(message) = self.open(length, from) {
                        return Ok((from, message));
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a gossip datagram could not be received");
                    tokio::time::sleep(TROUBLE_PAUSE).await;
                }
            }
        }
    }
}

impl SealedSocket {
    fn open(&mut self, length: usize, from: SocketAddr) -> Option<ChitchatMessage> {
        match self.seal.open(&mut self.buffer[..length], unix_ms()) {
            Ok(mut text) => match ChitchatMessage::deserialize(&mut text) {
                Ok(message) => Some(message),
                Err(error) => {
                    count::add(&self.counters.datagrams_garbage);
                    tracing::warn!(%from, %error, "a node gossips what is not understood");
                    None
                }
            },
            Err(Unsealed::Garbage) => {
                count::add(&self.counters.datagrams_garbage);
                None
            }
            Err(Unsealed::Repeated) => {
                count::add(&self.counters.datagrams_repeated);
                None
            }
            Err(Unsealed::Clock(milliseconds)) => {
                count::add(&self.counters.datagrams_clock);
                if self.clock_complaints.is_multiple_of(CLOCK_LOG_EVERY) {
                    tracing::error!(%from, milliseconds, "the clocks of two nodes differ too much; they do not gossip");
                }
                self.clock_complaints = self.clock_complaints.wrapping_add(1);
                None
            }
        }
    }
}
