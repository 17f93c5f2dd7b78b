//! A client that comes back: it says where it was, and is let in as the one that it was if the channels
//! can give it all that it missed.

use std::collections::BTreeSet;

use crate::cluster::slot::StableHash;
use crate::cursor::Cursor;
use crate::door::Request;
use crate::json::quoted;
use crate::name::ChannelName;
use crate::socketio;

use super::session::Identity;
use super::socket::Socket;
use super::voice::Voice;

/// A client that wants to go on where it was.
#[derive(Debug)]
pub(super) struct ComingBack {
    pub(super) private: String,
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
            let private = std::mem::take(&mut coming_back.private);
            self.accept(Some(private), voice);
        }
    }

    /// Who a private id belongs to, besides: what another user had is not gone on with, nor what the
    /// same user had in another namespace.
    pub(super) fn owner(&self, namespace: &str) -> String {
        let mut hash = StableHash::default();
        hash.write(namespace.as_bytes());
        // No namespace has this byte, so no two pairs are the same text.
        hash.write(&[0]);
        hash.write(self.visitor.user().map_or(&[], |user| user.as_str().as_bytes()));
        format!("{:016x}", hash.finish())
    }

    /// Lets the client in: as a new socket, or as the one that had this private id.
    pub(super) fn accept(&mut self, again: Option<String>, voice: &mut Voice<'_>) {
        self.coming_back = None;
        // The stock client keeps the last place that it was told, also when it begins anew: it is told
        // that it has none.
        let place = if again.is_some() { "" } else { r#","""# };
        let private = again.unwrap_or_else(|| {
            let Identity { id, secret } = &self.identity;
            format!("{id}.{secret}.{}", self.owner(voice.namespace))
        });
        // The id of a socket is the first part of its private id.
        let id = private.split('.').next().unwrap_or_default();
        voice.accept(socketio::Socket { id, private: Some(&private) });
        let user = self.visitor.user().map_or_else(
            || "null".to_owned(),
            |user| format!(r#"{{"id":{}}}"#, quoted(user.as_str())),
        );
        let data = format!(
            r#"{{"connectionId":{},"timestamp":{},"user":{user}}}{place}"#,
            quoted(id),
            voice.now.unix_ms
        );
        voice.emit("connected", &data);
        if voice.seat.is_none() {
            voice.act(crate::door::Action::Name(id.to_owned()));
        }
    }
}
