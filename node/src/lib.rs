//! Handbell: everything with a socket, a clock or a task.
//!
//! What is decided is decided in the crate `proto`; here it is carried out. A publish is read in
//! five files: [`session`] (or `http/events.rs`), [`router`], [`channel`], `proto/src/channel.rs`
//! and [`relay`].

pub mod admin;
pub mod apps;
pub mod authorization;
pub mod channel;
pub mod channels;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod doors;
pub mod engineio;
pub mod exchange;
pub mod http;
mod jwks;
pub mod listen;
pub mod metrics;
pub mod node;
pub mod outbox;
pub mod outgoing;
pub mod places;
pub mod publish;
pub mod quotas;
pub mod random;
pub mod reader;
pub mod relay;
pub mod reload;
pub mod router;
pub mod server;
pub mod session;
pub mod sessions;
mod shrink;
pub mod socket;
pub mod supervisor;
pub mod tls;
pub mod webhook;
pub mod websocket;

pub use config::Config;
pub use node::Node;
