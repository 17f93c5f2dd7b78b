//! The cluster: who is in it, which node owns which slot, how nodes talk, and how the channels of a
//! slot pass from one node to another without losing what was acknowledged.

pub mod custody;
pub mod handshake;
pub mod link;
pub mod membership;
pub mod message;
pub mod ownership;
pub mod quorum;
pub mod replication;
pub mod ring;
pub mod slot;
pub mod takeover;
pub mod view;
pub mod visit;
