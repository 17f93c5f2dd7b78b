//! What the engine counts, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use proto::cluster::handshake::Rule;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Numbers that only grow, except `pending`.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)+
            refused: [AtomicU64; Rule::ALL.len()],
            /// The second in which a refusal was logged last.
            pub(super) complained_at: AtomicU64,
        }

        /// The counters at one time.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Counts {
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// Handshakes that were refused, by either side, and the rule that was broken.
            pub refused: Vec<(Rule, u64)>,
        }

        impl Counters {
            /// What was counted so far.
            pub(super) fn read(&self) -> Counts {
                let refused = Rule::ALL.iter().zip(&self.refused);
                Counts {
                    $($name: self.$name.load(Ordering::Relaxed),)+
                    refused: refused.map(|(&rule, n)| (rule, n.load(Ordering::Relaxed))).collect(),
                }
            }
        }
    };
}

counters! {
    /// Connections to the cluster port that were accepted.
    accepted,
    /// Handshakes going on at this moment.
    pending,
    /// Connections that were closed in mid-handshake because too many others came.
    evicted,
    /// Connections that said nothing, or too little, until the deadline.
    overdue,
    /// Handshakes that broke off: the connection was lost, or TLS failed.
    broken,
    /// Datagrams that are not from this cluster.
    datagrams_garbage,
    /// Datagrams whose sender's clock differs too much.
    datagrams_clock,
    /// Datagrams that had been received before.
    datagrams_repeated,
    /// Datagrams that could not be sent.
    datagrams_unsent,
    /// Frames of sessions that had ended.
    frames_late,
    /// Sessions that were closed because the peer sent more than was taken.
    sessions_flooded,
}

impl Counters {
    pub(super) fn refused(&self, rule: Rule) {
        let index = Rule::ALL.iter().position(|&other| other == rule);
        if let Some(counter) = index.and_then(|index| self.refused.get(index)) {
            add(counter);
        }
    }
}

pub(super) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
