//! One attempt to reach another node, from the connection to the end of our handshake.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use proto::RelayId;
use proto::cluster::handshake::{self, Agreed, Purpose, Refusal, Rule};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::links::DIAL_MAX;
use super::stream::Stream;
use super::{Shared, count, nonce, tls};

/// Why an attempt has failed.
#[derive(Debug)]
pub(super) enum DialError {
    /// Nothing listens there.
    Absent,
    /// No answer in time, or the connection was lost.
    Silent(String),
    /// One side will not have the other.
    Rejected(Refusal),
}

impl DialError {
    /// Whether it is certain that the life of the node that was dialled is not there.
    pub(super) fn is_absent(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Silent(_) => false,
            Self::Rejected(refusal) => matches!(refusal.rule, Rule::AnotherLife | Rule::Myself),
        }
    }

    /// The refusal, if it is one that does not go away by itself.
    pub(super) fn concerns_a_person(&self) -> Option<&Refusal> {
        match self {
            Self::Rejected(refusal) => {
                let is_passing =
                    matches!(refusal.rule, Rule::AnotherLife | Rule::Myself | Rule::Busy);
                (!is_passing).then_some(refusal)
            }
            Self::Absent | Self::Silent(_) => None,
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("the connection was refused"),
            Self::Silent(reason) => f.write_str(reason),
            Self::Rejected(refusal) => refusal.fmt(f),
        }
    }
}

impl From<Refusal> for DialError {
    fn from(refusal: Refusal) -> Self {
        Self::Rejected(refusal)
    }
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Absent,
            // TLS, or an answer that is none of ours.
            io::ErrorKind::InvalidData => Self::Rejected(Refusal::transport(&error.to_string())),
            _ => Self::Silent(error.to_string()),
        }
    }
}

/// Dials one life of a node.
pub(super) async fn link(
    shared: &Shared,
    peer: &RelayId,
    address: SocketAddr,
) -> Result<(Agreed, Stream), DialError> {
    attempt(shared, Purpose::Link(peer.clone()), address).await
}

/// Asks whoever is at an address whether it would have us.
pub(super) async fn probe(shared: &Shared, address: SocketAddr) -> Result<(), DialError> {
    attempt(shared, Purpose::Probe, address).await?;
    Ok(())
}

async fn attempt(
    shared: &Shared,
    purpose: Purpose,
    address: SocketAddr,
) -> Result<(Agreed, Stream), DialError> {
    let outcome = match timeout(DIAL_MAX, converse(shared, purpose, address)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(DialError::Silent("there was no answer in time".into())),
    };
    if let Err(DialError::Rejected(refusal)) = &outcome {
        shared.counters.refused(refusal.rule);
    } else if outcome.is_err() {
        count::add(&shared.counters.broken);
    }
    outcome
}

async fn converse(
    shared: &Shared,
    purpose: Purpose,
    address: SocketAddr,
) -> Result<(Agreed, Stream), DialError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut stream = match &shared.tls {
        None => Stream::Plain(stream),
        Some(tls) => tls.connect(stream).await?,
    };
    let binding = stream.binding()?;
    let (dialing, hello) =
        handshake::dial(&shared.keys, shared.me.clone(), purpose, nonce(), &binding);
    stream.write_message(&hello).await?;
    let welcome = stream.read_message().await?;
    let (proving, proof) = dialing.receive(&welcome)?;
    tls::check_name(&stream, &proving.peer().node)?;
    stream.write_message(&proof).await?;
    let answer = stream.read_message().await?;
    Ok((proving.receive(&answer)?, stream))
}
