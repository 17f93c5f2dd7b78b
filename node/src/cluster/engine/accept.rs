//! The cluster port: each connection does its handshake in a task of its own, few at a time and not
//! for long, so that strangers do not keep nodes out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use proto::cluster::handshake::{self, Refusal, Rule};
use ractor::ActorRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinError, JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use super::links::Message;
use super::pending::Pending;
use super::stream::Stream;
use super::{Shared, count, nonce, tls};
use crate::clock::unix_ms;

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(3);
/// How long an older session of the same peer may take to end.
const ADMISSION_MAX: Duration = Duration::from_secs(1);
/// How long the accept loop rests when there are no descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(20);

/// Accepts connections for ever.
pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>, links: ActorRef<Message>) {
    let mut tasks: JoinSet<u64> = JoinSet::new();
    let mut pending: Pending<AbortHandle> = Pending::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    count::add(&shared.counters.accepted);
                    let has_greeted = Arc::new(AtomicBool::new(false));
                    let (arrival, flag) = (pending.next(), Arc::clone(&has_greeted));
                    let (shared, links) = (Arc::clone(&shared), links.clone());
                    let task = tasks.spawn(async move {
                        admit(stream, address, &shared, &links, &flag).await;
                        arrival
                    });
                    pending.insert(task, address.ip(), has_greeted);
                    // What it has said already is read before the next one is let in.
                    yield_now().await;
                }
                Err(error) => {
                    tracing::warn!(%error, "a cluster connection was not accepted");
                    sleep(EXHAUSTED_PAUSE).await;
                }
            },
            Some(ended) = tasks.join_next() => forget(&mut pending, &ended),
        }
        while let Some(ended) = tasks.try_join_next() {
            forget(&mut pending, &ended);
        }
        for evicted in pending.evict() {
            count::add(&shared.counters.evicted);
            evicted.abort();
        }
        shared.counters.pending.store(pending.len() as u64, Ordering::Relaxed);
    }
}

fn forget(pending: &mut Pending<AbortHandle>, ended: &Result<u64, JoinError>) {
    match ended {
        Ok(arrival) => pending.remove(*arrival),
        // It was put out, and is forgotten already.
        Err(error) if error.is_cancelled() => {}
        Err(_) => pending.retain(|task| !task.is_finished()),
    }
}

/// Why a connection came to nothing.
enum Failure {
    Broken(io::Error),
    Refused(Refusal),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

async fn admit(
    stream: TcpStream,
    address: SocketAddr,
    shared: &Shared,
    links: &ActorRef<Message>,
    has_greeted: &AtomicBool,
) {
    let conversation = converse(stream, shared, links, has_greeted);
    match timeout(HANDSHAKE_MAX, conversation).await {
        Ok(Ok(())) => {}
        Ok(Err(Failure::Refused(refusal))) => {
            shared.counters.refused(refusal.rule);
            let is_noise = matches!(refusal.rule, Rule::Malformed | Rule::Myself | Rule::Busy);
            if !is_noise && may_complain(&shared.counters.complained_at) {
                tracing::warn!(%address, reason = %refusal, "a node was refused");
            } else {
                tracing::debug!(%address, reason = %refusal, "a cluster connection was refused");
            }
        }
        Ok(Err(Failure::Broken(error))) => {
            count::add(&shared.counters.broken);
            tracing::debug!(%address, %error, "a cluster handshake broke off");
        }
        Err(_) => {
            count::add(&shared.counters.overdue);
            tracing::debug!(%address, "a cluster handshake took too long");
        }
    }
}

/// Once a second: whoever reaches the port could fill the log.
fn may_complain(complained_at: &AtomicU64) -> bool {
    let second = unix_ms() / 1000;
    complained_at.swap(second, Ordering::Relaxed) != second
}

async fn converse(
    stream: TcpStream,
    shared: &Shared,
    links: &ActorRef<Message>,
    has_greeted: &AtomicBool,
) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let mut stream = match &shared.tls {
        None => Stream::Plain(stream),
        Some(tls) => tls.accept(stream).await?,
    };
    let outcome = greet(&mut stream, shared, links, has_greeted).await;
    match outcome {
        Ok(None) => Ok(()),
        Ok(Some(agreed)) => {
            // If the engine is being stopped, the connection is dropped with the message.
            let _ = links.cast(Message::Accepted(agreed, stream));
            Ok(())
        }
        Err(Failure::Refused(refusal)) => {
            stream.write_message(&refusal.encode()).await?;
            Err(Failure::Refused(refusal))
        }
        Err(broken) => Err(broken),
    }
}

async fn greet(
    stream: &mut Stream,
    shared: &Shared,
    links: &ActorRef<Message>,
    has_greeted: &AtomicBool,
) -> Result<Option<handshake::Agreed>, Failure> {
    let hello = stream.read_message().await.map_err(unreadable)?;
    let binding = stream.binding()?;
    let (greeted, welcome) =
        handshake::accept(&shared.keys, &shared.me, &hello, &nonce(), &binding)?;
    has_greeted.store(true, Ordering::Relaxed);
    tls::check_name(stream, &greeted.peer().node)?;
    stream.write_message(&welcome).await?;
    let proved = greeted.receive(&stream.read_message().await?)?;
    let (peer, is_probe) = (proved.peer().clone(), proved.is_probe());
    let patience_ms = ADMISSION_MAX.as_millis() as u64;
    let admission = ractor::call_t!(links, Message::Admit, patience_ms, peer, is_probe);
    admission.map_err(|error| io::Error::other(error.to_string()))??;
    let (agreed, proof) = proved.finish();
    stream.write_message(&proof).await?;
    Ok((!is_probe).then_some(agreed))
}

/// What is too long to be a hello is told so, as every other garbage is.
fn unreadable(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::InvalidData {
        return Failure::Refused(Refusal::malformed());
    }
    Failure::Broken(error)
}
