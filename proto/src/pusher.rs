//! The Pusher Channels WebSocket protocol, version 7 (5 and 6 are accepted).
//!
//! Source: the Pusher Channels protocol reference and what pusher-js 8.6 depends on.

pub mod auth;
pub mod code;
pub mod fallback;
pub mod frame;
pub mod handshake;
mod resumption;
mod session;
mod watch;

pub use resumption::{PRESENCE_GRACE, Resumption};
pub use session::{Session, Timing};
