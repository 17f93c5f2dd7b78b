//! Mutual TLS 1.3 between nodes. Both sides show a certificate of the cluster's own authority, and
//! it has to name exactly the node that its owner says it is.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use proto::cluster::handshake::Refusal;
use proto::name::NodeId;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::stream::Stream;
use crate::tls::{Certificate, TlsFiles};

/// The files with which links are encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterTls {
    /// This node's certificate and its chain, PEM. One of its DNS names is the node's id.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The authority that signed the certificates of all nodes, and of nobody else, PEM.
    pub ca: PathBuf,
}

/// Both roles of TLS.
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    certificate: Arc<Certificate>,
}

impl Tls {
    /// Reads the files.
    pub(super) fn load(files: &ClusterTls) -> anyhow::Result<Self> {
        let certificate = Certificate::load(TlsFiles {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
        })?;
        let roots = Arc::new(roots(files)?);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .with_context(|| format!("{} (cluster.tls.ca)", files.ca.display()))?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Certificate>::clone(&certificate);
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyName::new(roots, provider)?))
            .with_client_cert_resolver(Arc::<Certificate>::clone(&certificate));
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
            certificate,
        })
    }

    /// Takes a renewed certificate over, for ever.
    pub(super) async fn watch(&self) {
        Arc::clone(&self.certificate).watch().await;
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        let stream = self.acceptor.accept(stream).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }

    pub(super) async fn connect(&self, stream: TcpStream) -> io::Result<Stream> {
        // Who is there is compared with what it says of itself, in `check_name`.
        let nobody = ServerName::try_from("cluster.invalid").map_err(io::Error::other)?;
        let stream = self.connector.connect(nobody, stream).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

fn roots(files: &ClusterTls) -> anyhow::Result<RootCertStore> {
    let context = || format!("{} (cluster.tls.ca)", files.ca.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&files.ca).with_context(context)? {
        roots.add(certificate.with_context(context)?).with_context(context)?;
    }
    anyhow::ensure!(!roots.is_empty(), "{}: there is no certificate in it", context());
    Ok(roots)
}

/// Checks that the certificate at the other end names the node that this end says it is. A pattern
/// such as `*.example.com` names no node.
pub(super) fn check_name(stream: &Stream, node: &NodeId) -> Result<(), Refusal> {
    let Stream::Tls(_) = stream else {
        return Ok(());
    };
    let is_named = stream
        .certificate()
        .and_then(|certificate| webpki::EndEntityCert::try_from(certificate).ok())
        .is_some_and(|certificate| certificate.valid_dns_names().any(|name| name == node.as_str()));
    if is_named { Ok(()) } else { Err(Refusal::certificate(node)) }
}

/// Checks a server's certificate as usual, except for its name: a seed is dialled before its name
/// is known.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl AnyName {
    fn new(roots: Arc<RootCertStore>, provider: Arc<CryptoProvider>) -> anyhow::Result<Self> {
        Ok(Self(WebPkiServerVerifier::builder_with_provider(roots, provider).build()?))
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        match self.0.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is looked at after everything else.
            Err(Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
