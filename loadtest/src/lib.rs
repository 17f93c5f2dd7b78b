//! The parts of the load test; `main.rs` reads the options and puts them together.
//!
//! A [`scenario`] opens clients ([`client`], [`subscriber`]) and publishers ([`publisher`]) to a
//! [`server`], runs them in one loop ([`traffic`]), and returns figures ([`report`]) from what the
//! server's process used ([`process`]) and what the [`checker`] saw. [`bare`] is the server that
//! everything is compared with. A [`recording`] is what happened when: [`timeline`] and [`sampler`] make
//! it. [`chaos`] breaks a cluster and judges what its clients see.

pub mod assertion;
pub mod bare;
pub mod chaos;
pub mod checker;
pub mod client;
pub mod compare;
pub mod descriptors;
pub mod dialect;
pub mod door;
pub mod file;
pub mod frame;
pub mod html;
pub mod http;
pub mod mark;
pub mod poll;
pub mod process;
pub mod progress;
pub mod publisher;
pub mod recording;
pub mod report;
pub mod sampler;
pub mod scenario;
pub mod scene;
pub mod server;
pub mod stream;
pub mod subscriber;
pub mod tally;
pub mod timeline;
pub mod traffic;
