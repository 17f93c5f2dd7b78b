//! Where the requests of sessions go that began with polling: to the session, which may be at another
//! node. A session's id says which.

use axum::body::Body;
use proto::RelayId;
use proto::cluster::visit::{Errand, Visit, Visited};
use proto::engineio::Refusal;
use tokio::sync::{mpsc, oneshot};

use crate::cluster::{Peers, Unreached};
use crate::places::{Place, Places};
use crate::random;

use super::knock::{Knock, Reply};

/// The sessions of this node, and the way to those of others; a clone has the same ones.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    places: Places<Knock>,
    cluster: Option<(RelayId, Peers)>,
}

impl Sessions {
    /// Those of a node that can be one of several.
    #[must_use]
    pub fn new(me: RelayId, peers: Peers) -> Self {
        Self { places: Places::default(), cluster: Some((me, peers)) }
    }

    /// How many are here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// A place for a new session, which the requests to any node find. None if the app has `max` of
    /// them already.
    pub(super) fn begin(&self, app: &proto::AppId, max: usize) -> Option<Place<Knock>> {
        let me = self.cluster.as_ref().map_or(0, |(me, _)| me.incarnation);
        self.places.begin(app, max, format!("{}-{me:x}", random::hex(32)))
    }

    /// Where the requests of a session go that is here.
    pub(super) fn find(&self, sid: &str) -> Option<mpsc::Sender<Knock>> {
        self.places.find(sid)
    }

    /// Asks a session that is here for what waits. None if there is no such session.
    pub async fn poll(&self, sid: &str) -> Option<Visited> {
        self.knock(sid, Knock::Poll).await
    }

    /// Answers a GET that waits with nothing. None if there is no such session.
    pub async fn release(&self, sid: &str) -> Option<Visited> {
        self.knock(sid, Knock::Release).await
    }

    /// Says something to a session that is here. None if there is no such session.
    pub async fn post(&self, sid: &str, body: Body) -> Option<Visited> {
        self.knock(sid, |reply| Knock::Post(body, reply)).await
    }

    async fn knock(&self, sid: &str, knock: impl FnOnce(Reply) -> Knock) -> Option<Visited> {
        let session = self.find(sid)?;
        let (reply, answer) = oneshot::channel();
        match session.try_send(knock(reply)) {
            Ok(()) => answer.await.ok(),
            Err(_) => Some(Visited::Refused(Refusal::BadRequest)),
        }
    }

    /// The node that began a session, if it is another one.
    pub(super) fn home(&self, sid: &str) -> Option<RelayId> {
        let (me, peers) = self.cluster.as_ref()?;
        let incarnation = u64::from_str_radix(sid.rsplit_once('-')?.1, 16).ok()?;
        (incarnation != me.incarnation).then(|| peers.member(incarnation)).flatten()
    }

    /// Takes a request to a session that another node has.
    ///
    /// # Errors
    /// [`Unreached`].
    pub(super) async fn visit(
        &self,
        home: &RelayId,
        sid: &str,
        errand: Errand,
    ) -> Result<Visited, Unreached> {
        match &self.cluster {
            Some((_, peers)) => peers.visit(home, Visit { id: sid.to_owned(), errand }).await,
            None => Ok(Visited::Gone),
        }
    }
}
