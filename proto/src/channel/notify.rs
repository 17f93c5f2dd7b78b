//! Who hears of a publication: the subscribers. A user's own channel tells notifications also to
//! connections that have not subscribed to it: those that are signed in as the user.

use std::sync::Arc;

use crate::event::{Data, Origin, Publication};

use super::{Channel, Delivery, Effect};

impl Channel {
    /// Tells those that it is for.
    pub(super) fn announce(&self, publication: &Arc<Publication>, effects: &mut Vec<Effect>) {
        self.tell_subscribers(&Delivery::Published(Arc::clone(publication)), effects);
        if self.kind.reserved && matches!(publication.draft.origin, Origin::Notice) {
            let (Data::Text(text) | Data::Json(text)) = &publication.draft.event.data;
            self.tell(&self.signed_in, &Delivery::Notified(Arc::clone(text)), effects);
        }
    }

    /// Connections that get what is published now: subscribers, and for a notification those that are
    /// signed in besides.
    pub(super) fn audience(&self, origin: &Origin) -> usize {
        let subscribers = self.roster.subscribers();
        let besides = match (self.kind.reserved, origin) {
            (true, Origin::Notice) => self.signed_in.not_in(subscribers),
            _ => 0,
        };
        subscribers.len() + besides
    }
}
