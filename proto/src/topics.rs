//! The Socket.IO door: the channels of an app as topics, over the events of Socket.IO's namespaces.
//! docs/doors/socketio.md says what the events look like.

mod asked;
mod coming_back;
pub mod echo;
pub mod frame;
mod namespaces;
mod session;
mod socket;
mod voice;

pub use namespaces::{MAIN, NAMESPACES_MAX, NamespaceError, Namespaces, Profile};
pub use session::{Identity, Session};

#[cfg(test)]
mod tests;
