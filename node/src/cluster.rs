//! The cluster: the engine that finds other nodes and carries bytes to them, and what is built on
//! it: links that lose nothing while both ends live, and the member that keeps the view.

mod agreement;
pub mod engine;
mod inbox;
mod lease;
mod member;
mod peers;
mod pulse;
pub mod rebirth;
mod start;
mod visits;

pub use agreement::Differences;
pub use inbox::Inbox;
pub use lease::Lease;
pub use member::{Member, MemberParts, Message, Status};
pub use peers::{LinkStatus, Peers};
pub use pulse::Pulse;
pub use start::{Cluster, alone, incarnation};
pub use visits::Unreached;
#[cfg(test)]
pub(crate) use visits::tests::Elsewhere;
