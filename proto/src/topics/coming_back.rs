//! A client that comes back: it says where it was, and is let in as the one that it was if the channels
//! can give it all that it missed.

use std::collections::BTreeSet;

use crate::app::App;
use crate::cluster::slot::StableHash;
use crate::cursor::Cursor;
use crate::door::{Action, Request};
use crate::json::quoted;
use crate::name::ChannelName;
use crate::socketio::{Input, Socket};
use crate::time::Now;

use super::session::{ROOT, Session};

/// A client that wants to go on where it was.
#[derive(Debug)]
pub(super) struct ComingBack {
    pub(super) private: String,
    pub(super) cursor: Cursor,
    /// Channels that have not let it in yet.
    pub(super) waiting: BTreeSet<ChannelName>,
}

impl Session {
    /// Joins the channels in which the client was, where it was.
    pub(super) fn go_on(
        &mut self,
        mut coming_back: ComingBack,
        app: &App,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let mut requests = Vec::new();
        for name in coming_back.cursor.channels() {
            let Ok((channel, role)) = self.visitor.subscribe(app, name.as_str()) else {
                return self.accept(None, now, actions);
            };
            let since = coming_back.cursor.get(&channel);
            requests.push((channel, Request::Join { role, since }));
        }
        if requests.len() > app.limits.channels_per_connection {
            return self.accept(None, now, actions);
        }
        for (channel, request) in requests {
            coming_back.waiting.insert(channel.clone());
            self.channels.insert(channel.clone());
            actions.push(Action::Ask { channel, request });
        }
        self.coming_back = Some(coming_back);
    }

    /// A channel has let a client in that comes back, or not.
    pub(super) fn came_back(
        &mut self,
        channel: &ChannelName,
        is_whole: bool,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Some(coming_back) = &mut self.coming_back else { return };
        coming_back.waiting.remove(channel);
        if !is_whole {
            // It begins anew, and subscribes to what it wants.
            self.leave(actions);
            self.accept(None, now, actions);
        } else if coming_back.waiting.is_empty() {
            let private = std::mem::take(&mut coming_back.private);
            self.accept(Some(private), now, actions);
        }
    }

    /// Who a private id belongs to, besides: what another user had is not gone on with.
    pub(super) fn owner(&self) -> String {
        let mut hash = StableHash::default();
        hash.write(self.visitor.user().map_or(&[], |user| user.as_str().as_bytes()));
        format!("{:016x}", hash.finish())
    }

    /// Lets the client in: as a new socket, or as the one that had this private id.
    pub(super) fn accept(&mut self, again: Option<String>, now: Now, actions: &mut Vec<Action>) {
        self.coming_back = None;
        // The stock client keeps the last place that it was told, also when it begins anew: it is told
        // that it has none.
        let place = if again.is_some() { "" } else { r#","""# };
        let private =
            again.unwrap_or_else(|| format!("{}.{}", self.identity.private, self.owner()));
        // The id of a socket is the first part of its private id.
        let id = private.split('.').next().unwrap_or_default().to_owned();
        let socket = Socket { id: &id, private: Some(&private) };
        self.say(Input::Accept { namespace: ROOT, socket }, now, actions);
        let user = self.visitor.user().map_or_else(
            || "null".to_owned(),
            |user| format!(r#"{{"id":{}}}"#, quoted(user.as_str())),
        );
        let data = format!(
            r#"{{"connectionId":{},"timestamp":{},"user":{user}}}{place}"#,
            quoted(&id),
            now.unix_ms
        );
        self.emit("connected", &data, now, actions);
        actions.push(Action::Name(id));
    }
}
