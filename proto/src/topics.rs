//! The Socket.IO door: the channels of an app as topics, over the events of Socket.IO's namespace `/`.
//! docs/doors/socketio.md says what the events look like.

mod answer;
mod asked;
mod coming_back;
pub mod frame;
mod session;

pub use session::{Identity, Session};
