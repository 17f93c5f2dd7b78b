//! A WebSocket of a session that another node has. Here it is a WebSocket; there the session goes on
//! polling, and this node is its client: what comes on the WebSocket is posted, and what the polls
//! bring leaves on the WebSocket, many packets at once.

use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use proto::RelayId;
use proto::cluster::visit::{Errand, Visited};
use proto::engineio::{Packet, Timing, to_frames};
use proto::websocket::text_frame;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::cluster::Unreached;
use crate::outbox::Outbox;
use crate::socket::Socket;

use super::Sessions;
use super::link::dismiss;

/// How often a poll is released that a client has still under way when it changes its transport: it
/// waits for the answer. As often as the JavaScript server does it.
const RELEASE_EVERY: Duration = Duration::from_millis(100);

type Visiting = Pin<Box<dyn Future<Output = Result<Visited, Unreached>> + Send>>;

/// The WebSocket, and the way to its session.
pub(super) struct Bridge {
    pub(super) sessions: Sessions,
    pub(super) home: RelayId,
    pub(super) sid: String,
    pub(super) stream: Box<WebSocketStream<Socket>>,
    pub(super) outbox: Arc<Outbox>,
}

impl Bridge {
    /// Carries what is said both ways, until one side ends it.
    pub(super) async fn run(mut self, timing: Timing) {
        if timeout(timing.upgrade_timeout, self.upgrade()).await == Ok(true) {
            self.carry(timing.ping_interval + timing.ping_timeout).await;
        }
        dismiss(self.stream, self.outbox);
    }

    /// Lets the client change its transport. False if it does something else.
    async fn upgrade(&mut self) -> bool {
        if self.next().await.as_deref() != Some("2probe") {
            return false;
        }
        if self.outbox.send(text_frame(&Packet::Pong("probe").to_text())).is_err() {
            return false;
        }
        let mut due = interval(RELEASE_EVERY);
        loop {
            tokio::select! {
                said = self.next() => return said.as_deref() == Some("5"),
                _ = due.tick() => {}
            }
            if self.visit(Errand::Release).await != Ok(Visited::Taken) {
                return false;
            }
        }
    }

    /// What comes next waits in the session, which has its limits, until what was passed on has left. A
    /// client that does not take it in time is as lost as one that does not answer a ping.
    async fn carry(&mut self, patience: Duration) {
        let outbox = Arc::clone(&self.outbox);
        let (mut hearing, mut saying) = (Some(self.visit(Errand::Poll)), None);
        let mut lost = pin!(sleep(patience));
        loop {
            let is_sending = hearing.is_none();
            tokio::select! {
                said = self.next(), if saying.is_none() => match said {
                    Some(packet) => saying = Some(self.visit(Errand::Post(packet.into()))),
                    None => return,
                },
                taken = answered(&mut saying) => match taken {
                    Ok(Visited::Taken) => saying = None,
                    _ => return,
                },
                heard = answered(&mut hearing) => match heard {
                    Ok(Visited::Payload(payload)) if pass_on(&outbox, &payload) => {
                        hearing = None;
                        lost.as_mut().reset(Instant::now() + patience);
                    }
                    _ => return,
                },
                sent = poll_fn(|context| outbox.poll_empty(context)), if is_sending => match sent {
                    Ok(()) => hearing = Some(self.visit(Errand::Poll)),
                    Err(_) => return,
                },
                () = &mut lost, if is_sending => return,
            }
        }
    }

    /// The next packet of the client, in text form; none if it is gone. It writes what waits meanwhile.
    async fn next(&mut self) -> Option<String> {
        let Self { stream, outbox, .. } = self;
        loop {
            let message = tokio::select! {
                message = stream.next() => message?.ok()?,
                _ = poll_fn(|context| outbox.poll_signal(context)) => return None,
            };
            match message {
                Message::Text(text) => return Some(text.as_str().to_owned()),
                Message::Binary(bytes) => return Some(Packet::Binary(bytes[..].into()).to_text()),
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(_) | Message::Frame(_) => return None,
            }
        }
    }

    fn visit(&self, errand: Errand) -> Visiting {
        let (sessions, home, sid) = (self.sessions.clone(), self.home.clone(), self.sid.clone());
        Box::pin(async move { sessions.visit(&home, &sid, errand).await })
    }
}

/// Sends the packets of a payload. False if the client is gone.
fn pass_on(outbox: &Outbox, payload: &str) -> bool {
    let frames: Vec<Bytes> = to_frames(payload).collect();
    outbox.send(Bytes::from(frames.concat())).is_ok()
}

async fn answered(visiting: &mut Option<Visiting>) -> Result<Visited, Unreached> {
    match visiting {
        Some(visiting) => visiting.await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use proto::app::Limits;
    use proto::name::NodeId;
    use proto::wire::Wire;
    use tokio::net::TcpStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use crate::cluster::Elsewhere;
    use crate::listen::bind;
    use crate::socket::Stream;

    use super::*;

    /// More than the socket's buffers hold.
    const MUCH: usize = 32 << 20;

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_not_waited_for() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = Stream::Plain(listener.accept().await.unwrap().0);
        let (socket, outbox) = stream.divide(Wire::SocketIo, &Limits::default());
        let stream = Box::new(WebSocketStream::from_raw_socket(socket, Role::Server, None).await);
        let elsewhere = Elsewhere::reached();
        let me = RelayId { node: NodeId::parse("a").unwrap(), incarnation: 1 };
        let sessions = Sessions::new(me, elsewhere.peers.clone());
        let (home, sid) = (elsewhere.id.clone(), "session".to_owned());
        let mut bridge = Bridge { sessions, home, sid, stream, outbox };
        let carried = tokio::spawn(async move { bridge.carry(Duration::from_millis(50)).await });
        elsewhere.answers(0, Visited::Payload(format!("4{}", "x".repeat(MUCH)))).await;
        timeout(Duration::from_secs(20), carried).await.expect("it is over").unwrap();
        drop(client);
    }
}
