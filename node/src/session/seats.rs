//! The further sockets of a connection, and who is about to be let in.

use std::sync::Arc;
use std::task::{Context, Poll};

use proto::SocketId;
use proto::door::{Proof, Seat};
use proto::token::strip_bearer;
use proto::visitor::Visitor;
use proto::wire::Wire;

use super::unanswered::Unanswered;
use crate::apps::AppEntry;
use crate::outbox::Outbox;
use crate::relay::{Attached, Relay};

type Verdict = Result<Visitor, String>;

/// The further sockets, and the checks that are under way.
#[derive(Default)]
pub(super) struct Seats {
    taken: Vec<SocketId>,
    /// One for each socket at most: the connection itself, or a further one.
    verifying: Unanswered<Option<SocketId>, Verdict>,
}

impl Seats {
    /// Finds out who the client is.
    pub(super) fn verify(&mut self, entry: Arc<AppEntry>, wire: Wire, proof: Proof) {
        self.verifying.forget(Option::is_none);
        self.verifying.push(None, Box::pin(verify(entry, wire, proof)));
    }

    /// The same for a further socket. When its verdict is there, its deliveries have somewhere to go.
    pub(super) fn open(
        &mut self,
        entry: Arc<AppEntry>,
        (relay, outbox): (Arc<Relay>, Arc<Outbox>),
        (seat, proof): (Seat, Proof),
    ) {
        let socket = seat.socket;
        self.taken.push(socket);
        let opening = async move {
            let visitor = verify(Arc::clone(&entry), seat.wire, proof).await?;
            let Seat { socket, namespace, wire } = seat;
            let attached = Attached::new(entry.app.id.clone(), socket, wire);
            relay.attach(Attached { namespace: Some(namespace), ..attached }, outbox).await;
            Ok(visitor)
        };
        self.verifying.push(Some(socket), Box::pin(opening));
    }

    /// A further socket is gone.
    pub(super) fn leave(&mut self, relay: &Arc<Relay>, socket: SocketId) {
        self.verifying.forget(|verifying| *verifying == Some(socket));
        if let Some(index) = self.taken.iter().position(|taken| *taken == socket) {
            self.taken.swap_remove(index);
            detach(relay, socket, true);
        }
    }

    /// All of them are gone.
    pub(super) fn leave_all(&mut self, relay: &Arc<Relay>) {
        self.verifying.forget(|_| true);
        self.taken.drain(..).for_each(|socket| detach(relay, socket, true));
    }

    /// Ready when it is known who a client is.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<(Option<SocketId>, Verdict)> {
        self.verifying.poll(context)
    }
}

/// Tells the relay that a socket is gone, aside.
pub(super) fn detach(relay: &Arc<Relay>, socket: SocketId, is_for_good: bool) {
    let relay = Arc::clone(relay);
    tokio::spawn(async move { relay.detach(socket, is_for_good).await });
}

async fn verify(entry: Arc<AppEntry>, wire: Wire, proof: Proof) -> Verdict {
    match proof {
        Proof::Token(token) => {
            let verified = entry.verify_token(strip_bearer(&token)).await;
            verified.map(Visitor::with).map_err(|error| error.to_string())
        }
        Proof::Request(shown) => {
            let asked = entry.authorize(&shown, wire.label(), &[]).await;
            asked.map_err(|denied| denied.to_string())
        }
        Proof::Nobody => Ok(Visitor::anyone()),
    }
}
