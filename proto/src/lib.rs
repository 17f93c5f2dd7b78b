//! Everything about Handbell that is deterministic: names, wire formats, signatures, and the
//! machines that decide what happens to connections and channels.
//!
//! Nothing here opens a socket, reads a clock, starts a task, takes a lock, logs or draws a random
//! number. Time comes in as [`time::Now`], ids and seeds come in as values. Every machine has the
//! same shape: `apply(command, now, &mut effects) -> reply`. The crate `handbell` runs them.

pub mod app;
pub mod authorization;
pub mod budget;
pub mod channel;
pub mod client_event;
pub mod cluster;
pub mod cursor;
pub mod door;
pub mod engineio;
pub mod event;
pub mod http;
pub mod idempotency;
pub mod intake;
pub mod json;
pub mod name;
pub mod origin;
pub mod permission;
pub mod plain;
pub mod position;
pub mod proof;
pub mod pusher;
pub mod quota;
pub mod rate;
pub mod refusal;
pub mod relay;
pub mod socketio;
pub mod sse;
pub mod time;
pub mod token;
pub mod topics;
pub mod visitor;
pub mod websocket;
pub mod wire;

pub use app::{App, Limits};
pub use channel::Channel;
pub use event::{Event, Publication};
pub use name::{AppId, ChannelKey, ChannelKind, ChannelName, NodeId, RelayId, SocketId, UserId};
pub use position::{Epoch, Offset, Position};
pub use refusal::Refusal;
pub use time::{Moment, Now};
