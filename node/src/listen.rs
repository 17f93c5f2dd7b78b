//! The client port: accepting, TLS, and the limits that keep slow or greedy clients from taking the
//! node down: header size and time, a bounded wait for TLS, and room left in the descriptor table.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

use crate::socket::Stream;

/// How long a request's head may take to arrive. It also ends connections that idle this long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 100;
/// How long the accept loop rests when there are no descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// What a request's handler can know of the connection it came through.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The other end.
    pub address: SocketAddr,
    /// Whether it came over TLS.
    pub is_tls: bool,
}

/// What becomes of a connection that a request's handler takes over.
pub type Begin = Box<dyn FnOnce(Stream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Lets the handler of a request have its connection, from which nothing more is read as HTTP.
#[derive(Clone, Debug)]
pub struct Takeover(mpsc::Sender<Begin>);

impl Takeover {
    /// Takes the connection over. It does not return: there is no answer that HTTP would send.
    pub async fn begin<T>(self, begin: Begin) -> T {
        // If nobody takes it the connection has just ended, and this future with it.
        let _ = self.0.send(begin).await;
        std::future::pending().await
    }
}

/// Serves a port until `stop` says true; then connections without a request in progress are closed.
///
/// # Errors
/// Never while it runs: accept errors are waited out.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    routes: Router,
    mut stop: watch::Receiver<bool>,
) {
    // One descriptor is kept back, to accept and refuse a connection when there is none left.
    let mut reserve = File::open("/dev/null").ok();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|&stop| stop) => return,
        };
        match accepted {
            Ok((stream, address)) => {
                let (tls, routes, stop) = (tls.clone(), routes.clone(), stop.clone());
                tokio::spawn(converse(stream, address, tls, routes, stop));
            }
            Err(error) if is_exhausted(&error) => {
                tracing::warn!(%error, "no file descriptor is left; a connection is refused");
                refuse_one(&listener, &mut reserve).await;
            }
            // The client gave up before it was accepted.
            Err(error) => tracing::debug!(%error, "a connection was not accepted"),
        }
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// Takes a waiting connection with the descriptor kept back and closes it, so that its client does
/// not wait for nothing; then rests, so that the loop does not spin.
async fn refuse_one(listener: &TcpListener, reserve: &mut Option<File>) {
    drop(reserve.take());
    let _ = timeout(Duration::from_millis(1), listener.accept()).await;
    sleep(EXHAUSTED_PAUSE).await;
    *reserve = File::open("/dev/null").ok();
}

async fn converse(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    routes: Router,
    stop: watch::Receiver<bool>,
) {
    // Events are small and must not wait for each other.
    let _ = stream.set_nodelay(true);
    let peer = Peer { address, is_tls: tls.is_some() };
    let stream = match tls {
        None => Stream::Plain(stream),
        Some(tls) => match timeout(TLS_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
            Ok(Err(error)) => return tracing::debug!(%address, %error, "a TLS handshake failed"),
            Err(_) => return tracing::debug!(%address, "a TLS handshake took too long"),
        },
    };
    serve_http(stream, peer, routes, stop).await;
}

async fn serve_http(stream: Stream, peer: Peer, routes: Router, mut stop: watch::Receiver<bool>) {
    let (sender, mut taken) = mpsc::channel(1);
    let takeover = Takeover(sender);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(takeover.clone());
        let mut routes = routes.clone();
        async move { routes.call(request.map(Body::new)).await as Result<_, Infallible> }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut is_stopping = false;
    let outcome = loop {
        tokio::select! {
            outcome = &mut connection => break outcome,
            // The handler of a last request may want it too.
            begin = taken.recv() => return become_another(connection, begin),
            _ = stop.wait_for(|&stop| stop), if !is_stopping => {
                is_stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(address = %peer.address, %error, "an HTTP connection failed");
    }
}

/// Gives a connection to the handler that wants it. It goes on in a task of its own: this one is made
/// for HTTP, with buffers that would stay as long as it does.
fn become_another<S>(connection: UpgradeableConnection<TokioIo<Stream>, S>, begin: Option<Begin>)
where
    S: HttpService<Incoming, ResBody = Body>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if let (Some(begin), Some(parts)) = (begin, connection.into_parts()) {
        tokio::spawn(begin(parts.io.into_inner()));
    }
}

/// Binds a port with a backlog for many clients that arrive at once.
///
/// # Errors
/// The operating system's.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    const BACKLOG: i32 = 4096;
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Raises the limit of open descriptors as far as this process may, and returns it.
#[must_use]
pub fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // It stays as it was if it may not be raised; what it is then is returned.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Shares an acceptor's configuration.
#[must_use]
pub fn acceptor(config: Arc<rustls::ServerConfig>) -> TlsAcceptor {
    TlsAcceptor::from(config)
}

#[cfg(test)]
mod tests {
    use axum::Extension;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_request_that_is_under_way_when_the_port_stops_can_still_become_a_stream() {
        let (stop, asked) = (watch::Sender::new(false), Arc::new(Notify::new()));
        let (stopping, arrived) = (stop.clone(), Arc::clone(&asked));
        let handler = async move |Extension(takeover): Extension<Takeover>| -> &'static str {
            arrived.notify_one();
            stopping.subscribe().wait_for(|&stop| stop).await.unwrap();
            // The connection has heard of it too.
            sleep(Duration::from_millis(20)).await;
            let stream = |mut stream: Stream| async move {
                stream.write_all(b"a stream").await.unwrap();
            };
            takeover.begin(Box::new(move |socket| Box::pin(stream(socket)))).await
        };
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/", get(handler));
        tokio::spawn(serve(listener, None, routes, stop.subscribe()));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        asked.notified().await;
        stop.send_replace(true);
        let mut said = String::new();
        let read = client.read_to_string(&mut said);
        timeout(Duration::from_secs(20), read).await.expect("it does not hang").unwrap();
        assert_eq!(said, "a stream");
    }
}
