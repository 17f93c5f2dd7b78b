//! What is logged of a connection's life. It has a target of its own, so that an operator can ask for it
//! alone: `log.level = "info,handbell::clients=debug"`.

use std::time::Duration;

use proto::UserId;

use super::Connection;

/// The target of the log lines about clients.
pub const CLIENTS: &str = "handbell::clients";

macro_rules! line {
    ($connection:expr, $message:literal $(, $more:tt)*) => {{
        let Connection { socket, entry, door, .. } = $connection;
        let user = door.user().map(UserId::as_str);
        let transport = door.wire().label();
        tracing::debug!(
            target: CLIENTS, app = %entry.app.id, %socket, transport, user, $($more,)* $message
        );
    }};
}

pub(super) fn connected(connection: &Connection) {
    line!(connection, "connected");
}

/// A token has let the client in.
pub(super) fn let_in(connection: &Connection) {
    line!(connection, "let in");
}

/// The client's application says that it is there.
pub(super) fn heartbeat(connection: &Connection) {
    line!(connection, "heartbeat");
}

/// `reason` is a word for metrics.
pub(super) fn disconnected(connection: &Connection, reason: &str, after: Duration) {
    let seconds = after.as_secs_f64();
    line!(connection, "disconnected", reason, seconds);
}
