//! The cluster as values: which node owns which slot. A single node is a ring of one.

pub mod ring;
pub mod slot;
