//! A client that comes back: it says where it was, and is let in as the one that it was if the channels
//! can give it all that it missed.
//!
//! What it shows is its id as it was signed for it, for its user and its namespace: nobody else comes
//! back under that id, and any node can tell.

use std::collections::BTreeSet;

use crate::app::App;
use crate::cursor::Cursor;
use crate::door::{Action, Request};
use crate::http::signature::{is_signed, sign};
use crate::json::quoted;
use crate::name::ChannelName;
use crate::socketio;

use super::socket::Socket;
use super::voice::Voice;

/// A client that wants to go on where it was.
#[derive(Debug)]
pub(super) struct ComingBack {
    pub(super) id: String,
    pub(super) signature: String,
    pub(super) cursor: Cursor,
    /// Channels that have not let it in yet.
    pub(super) waiting: BTreeSet<ChannelName>,
}

impl Socket {
    /// Joins the channels in which the client was, where it was.
    pub(super) fn go_on(&mut self, mut coming_back: ComingBack, voice: &mut Voice<'_>) {
        let mut requests = Vec::new();
        for name in coming_back.cursor.channels() {
            let Ok((channel, role)) = self.visitor.subscribe(voice.app, name.as_str()) else {
                return self.accept(None, voice);
            };
            let since = coming_back.cursor.get(&channel);
            requests.push((channel, Request::Join { role, since }));
        }
        if voice.app.check_channels(requests.len()).is_err() {
            return self.accept(None, voice);
        }
        for (channel, request) in requests {
            coming_back.waiting.insert(channel.clone());
            self.channels.insert(channel.clone());
            voice.ask(channel, request);
        }
        self.coming_back = Some(coming_back);
    }

    /// A channel has let a client in that comes back, or not.
    pub(super) fn came_back(
        &mut self,
        channel: &ChannelName,
        is_whole: bool,
        voice: &mut Voice<'_>,
    ) {
        let Some(coming_back) = &mut self.coming_back else { return };
        coming_back.waiting.remove(channel);
        if !is_whole {
            // It begins anew, and subscribes to what it wants.
            self.leave().for_each(|channel| voice.ask(channel, Request::Unsubscribe));
            self.accept(None, voice);
        } else if coming_back.waiting.is_empty() {
            let id = std::mem::take(&mut coming_back.id);
            self.accept(Some(id), voice);
        }
    }

    /// What is signed for a client that may come back under this id: neither another user does, nor the
    /// same one in another namespace.
    fn signed(&self, id: &str, namespace: &str) -> Vec<u8> {
        let user = self.visitor.user().map_or("", |user| user.as_str());
        // No namespace and no id has this byte, so no two of them are the same text.
        ["socketio", id, namespace, user].join("\0").into_bytes()
    }

    /// Whether a client may come back as what it says that it was.
    pub(super) fn may_come_back(&self, as_what: &ComingBack, voice: &Voice<'_>) -> bool {
        let ComingBack { id, signature, .. } = as_what;
        is_signed(&voice.app.secrets, &self.signed(id, voice.namespace), signature)
    }

    fn private_id(&self, id: &str, namespace: &str, app: &App) -> Option<String> {
        let secret = app.secrets.first()?;
        Some(format!("{id}.{}", sign(secret.expose(), &self.signed(id, namespace))))
    }

    /// Lets the client in: as a new socket, or as the one that had this id.
    pub(super) fn accept(&mut self, again: Option<String>, voice: &mut Voice<'_>) {
        self.coming_back = None;
        // The stock client keeps the last place that it was told, also when it begins anew: it is told
        // that it has none.
        let place = if again.is_some() { "" } else { r#","""# };
        let id = again.unwrap_or_else(|| self.id.clone());
        let private = self.private_id(&id, voice.namespace, voice.app);
        voice.accept(socketio::Socket { id: &id, private: private.as_deref() });
        let user = self.visitor.user().map_or_else(
            || "null".to_owned(),
            |user| format!(r#"{{"id":{}}}"#, quoted(user.as_str())),
        );
        let data = format!(
            r#"{{"connectionId":{},"timestamp":{},"user":{user}}}{place}"#,
            quoted(&id),
            voice.now.unix_ms
        );
        voice.emit("connected", &data);
        voice.act(Action::Name(Some(id)));
    }
}
