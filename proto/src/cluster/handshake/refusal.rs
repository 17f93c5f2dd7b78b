//! Why two nodes do not come together: a rule for machines and a sentence for people, told to the
//! other side so that its log has the reason too.

use std::fmt;

use super::wire::{Kind, Reader, Writer};
use super::{Introduction, VERSION};
use crate::name::{NodeId, RelayId};

/// Bytes of a reason that came from the other side which are kept.
const REASON_BYTES_MAX: usize = 256;

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $rule:ident = $code:literal, $label:literal;)+) => {
        /// The rule that was broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $($(#[doc = $doc])+ $rule = $code,)+
        }

        impl Rule {
            /// All rules, in order of their codes.
            pub const ALL: &[Self] = &[$(Self::$rule,)+];

            /// A word for metrics: one of a small closed set.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$rule => $label,)+
                }
            }

            const fn of_code(code: u8) -> Self {
                match code {
                    $($code => Self::$rule,)+
                    // A rule of a later version: its sentence still says what it is.
                    _ => Self::Other,
                }
            }
        }
    };
}

rules! {
    /// A rule that this version does not know.
    Other = 0, "other";
    /// The bytes are not those of a handshake.
    Malformed = 1, "malformed";
    /// Another version of the handshake.
    Handshake = 2, "handshake_version";
    /// Another major version of the cluster's protocol.
    Wire = 3, "wire_version";
    /// Another number of slots.
    Slots = 4, "slots";
    /// Another node lives here, or another life of it.
    AnotherLife = 5, "another_life";
    /// A node dialled itself.
    Myself = 6, "myself";
    /// Two nodes have the same id.
    SameNode = 7, "same_node";
    /// The secret differs.
    Secret = 8, "secret";
    /// The certificate is not for this node.
    Certificate = 9, "certificate";
    /// A later life of the dialer is known.
    Stale = 10, "stale";
    /// Both dial each other, and the other attempt goes on.
    Busy = 11, "busy";
    /// TLS failed, or one side has it and the other has not.
    Transport = 12, "transport";
}

/// A refusal, ours or the other side's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The rule that was broken.
    pub rule: Rule,
    reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    pub(super) fn new(rule: Rule) -> Self {
        let reason = match rule {
            Rule::Secret => "the cluster secret differs (cluster.secret)",
            Rule::Malformed => "the bytes are not those of Handbell's cluster port",
            Rule::Myself => "a node dialled itself",
            _ => rule.label(),
        };
        Self { rule, reason: reason.into() }
    }

    fn told(rule: Rule, reason: String) -> Self {
        Self { rule, reason }
    }

    pub(super) fn handshake(theirs: u8) -> Self {
        let reason = format!("the handshake's version is {VERSION} here and {theirs} there");
        Self::told(Rule::Handshake, reason)
    }

    pub(super) fn wire(one: &Introduction, other: &Introduction) -> Self {
        let version = |of: &Introduction| format!("{}.{}", of.wire >> 8, of.wire & 0xff);
        let reason = format!(
            "the cluster protocol is {} on {} and {} on {}",
            version(one),
            one.id.node,
            version(other),
            other.id.node,
        );
        Self::told(Rule::Wire, reason)
    }

    pub(super) fn slots(one: &Introduction, other: &Introduction) -> Self {
        let (ours, theirs) = (one.slots, other.slots);
        let (here, there) = (&one.id.node, &other.id.node);
        let reason = format!("{here} divides channels into {ours} slots and {there} into {theirs}");
        Self::told(Rule::Slots, reason)
    }

    pub(super) fn another_life(found: &RelayId) -> Self {
        let RelayId { node, incarnation } = found;
        let reason = format!("another node lives here: {node} in its life {incarnation:x}");
        Self::told(Rule::AnotherLife, reason)
    }

    pub(super) fn same_node(node: &NodeId) -> Self {
        let reason = format!("another node with the id {node} is running (cluster.node_id)");
        Self::told(Rule::SameNode, reason)
    }

    /// That the bytes are not those of a handshake.
    #[must_use]
    pub fn malformed() -> Self {
        Self::new(Rule::Malformed)
    }

    /// That TLS failed, or that one side has it and the other has not.
    #[must_use]
    pub fn transport(error: &str) -> Self {
        let reason = format!("{error} (is cluster.tls the same on all nodes?)");
        Self::told(Rule::Transport, reason)
    }

    /// That a certificate is not for the node that shows it.
    #[must_use]
    pub fn certificate(node: &NodeId) -> Self {
        let reason = format!("the certificate's names do not contain the node id {node}");
        Self::told(Rule::Certificate, reason)
    }

    /// That a later life of the dialer is known.
    #[must_use]
    pub fn stale(node: &NodeId, known: u64) -> Self {
        let reason = format!("a later life of {node} is known: {known:x}");
        Self::told(Rule::Stale, reason)
    }

    /// That both dial each other, and the other attempt goes on.
    #[must_use]
    pub fn busy() -> Self {
        Self::told(Rule::Busy, "both dial each other".into())
    }

    /// The message that tells the other side.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Writer::new(Kind::Refusal).bytes(&[self.rule as u8]).bytes(self.reason.as_bytes()).finish()
    }

    /// Reads the other side's refusal. It is not proved to come from a node, so it may only be shown.
    pub(super) fn decode(reader: &mut Reader) -> Result<Self, Self> {
        let [code] = reader.array()?;
        let text = String::from_utf8_lossy(reader.remaining());
        let printable = |c: &char| !c.is_control();
        let mut reason: String = text.chars().filter(printable).collect();
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        Ok(Self { rule: Rule::of_code(code), reason })
    }
}
