//! A connection between two nodes, plain or TLS: first for the messages of the handshake, then for
//! `ractor_cluster`.

use std::io;

use proto::cluster::handshake::MESSAGE_BYTES_MAX;
use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// `ractor_cluster` reads without a buffer of its own, at two system calls a frame.
const READ_BUFFER: usize = 64 * 1024;

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Reads one message of the handshake, and nothing beyond it.
    pub(super) async fn read_message(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 2];
        self.read_exact(&mut length).await?;
        let length = usize::from(u16::from_be_bytes(length));
        if length > MESSAGE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "this is not a handshake"));
        }
        let mut message = vec![0; length];
        self.read_exact(&mut message).await?;
        Ok(message)
    }

    async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.read_exact(buffer).await,
            Self::Tls(stream) => stream.read_exact(buffer).await,
        }?;
        Ok(())
    }

    /// Writes one message of the handshake.
    pub(super) async fn write_message(&mut self, message: &[u8]) -> io::Result<()> {
        let length = u16::try_from(message.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes(), message].concat();
        match self {
            Self::Plain(stream) => stream.write_all(&framed).await,
            Self::Tls(stream) => {
                stream.write_all(&framed).await?;
                stream.flush().await
            }
        }
    }

    /// A value that only the two ends of this TLS connection share; empty without TLS.
    pub(super) fn binding(&self) -> io::Result<Vec<u8>> {
        let label = b"EXPORTER-handbell-cluster";
        let Self::Tls(stream) = self else {
            return Ok(Vec::new());
        };
        let exported = match &**stream {
            TlsStream::Client(stream) => {
                stream.get_ref().1.export_keying_material([0; 32], label, None)
            }
            TlsStream::Server(stream) => {
                stream.get_ref().1.export_keying_material([0; 32], label, None)
            }
        };
        exported.map(Vec::from).map_err(io::Error::other)
    }

    /// The other side's certificate; none without TLS.
    pub(super) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        let Self::Tls(stream) = self else {
            return None;
        };
        stream.get_ref().1.peer_certificates()?.first()
    }
}

/// An authenticated connection, labelled with its session's number: that is how sessions of
/// `ractor_cluster` are recognized as ours.
#[derive(Debug)]
pub(super) struct Labelled {
    pub(super) stream: Stream,
    pub(super) session: u64,
}

impl ClusterBidiStream for Labelled {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        match self.stream {
            Stream::Plain(stream) => {
                let (reader, writer) = stream.into_split();
                (Box::new(BufReader::with_capacity(READ_BUFFER, reader)), Box::new(writer))
            }
            Stream::Tls(stream) => {
                let (reader, writer) = tokio::io::split(*stream);
                (Box::new(BufReader::with_capacity(READ_BUFFER, reader)), Box::new(writer))
            }
        }
    }

    fn peer_label(&self) -> Option<String> {
        Some(label(self.session))
    }
}

/// A session's number as text.
pub(super) fn label(session: u64) -> String {
    format!("{session:016x}")
}

/// Reads [`label`].
pub(super) fn session_of(label: &str) -> Option<u64> {
    u64::from_str_radix(label, 16).ok().filter(|_| label.len() == 16)
}
