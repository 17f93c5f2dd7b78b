//! Sessions that another node has: who, and what a client says to them and hears of them from here.

use proto::channel::{Command, Reply};
use proto::cluster::visit::{Errand, Visit, Visited};
use proto::{AppId, ChannelKey, ChannelName, RelayId};

use crate::cluster::Unreached;
use crate::exchange::Listener;
use crate::router::RouteError;
use crate::server::Server;

/// The node that has a session, if it is another one. Who holds a session is signed in to the channel
/// that stands for it.
///
/// # Errors
/// If nobody can say.
pub(super) async fn home(
    server: &Server,
    app: &AppId,
    channel: &ChannelName,
) -> Result<Option<RelayId>, RouteError> {
    let key = ChannelKey { app: app.clone(), channel: channel.clone() };
    let Reply::Channel(summary) = server.router.ask(key, Command::Inspect).answer().await? else {
        return Err(RouteError::Unavailable);
    };
    let mut holders = summary.signed_in.into_iter();
    Ok(holders.find(|holder| holder != server.router.me()))
}

/// Says something to a session. False if it is gone.
///
/// # Errors
/// If it was not said.
pub(super) async fn say(
    server: &Server,
    home: &RelayId,
    id: &str,
    messages: Vec<String>,
) -> Result<bool, Unreached> {
    let visit = Visit { id: id.to_owned(), errand: Errand::Say(messages) };
    let visited = server.router.peers().visit(home, visit).await?;
    Ok(visited == Visited::Taken)
}

/// Passes on what a session says, until the response has had enough, the client leaves or the session
/// is gone or cannot be reached. Then the response ends, and pusher-js asks for another one.
pub(super) async fn listen(server: &Server, home: &RelayId, id: &str, listener: Listener) {
    let (mut listener, mut is_asked) = (Some(listener), true);
    while let Some(listening) = listener.take() {
        let visit = Visit { id: id.to_owned(), errand: Errand::Listen { is_asked } };
        let said = tokio::select! {
            visited = server.router.peers().visit(home, visit) => visited,
            () = listening.left() => return,
        };
        if let Ok(Visited::Payload(lines)) = said
            && listening.has_room().await
        {
            listener = listening.say(lines);
        }
        is_asked = false;
    }
}
