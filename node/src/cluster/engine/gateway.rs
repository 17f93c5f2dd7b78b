//! Gateways: the only actors that other nodes can reach, one for each lane. Every actor that can be
//! reached is mirrored on every peer for 10 KB and 21 µs, so there are no others.
//!
//! A frame carries no sender, so its last bytes are the number of its session. Both ends got that
//! number from the same handshake and it is never used again: a frame of an older session finds no
//! session and is dropped.

use std::sync::Arc;

use ractor::message::{BoxedDowncastErr, SerializedMessage};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, Message, pg};

use super::count::{self, Counters};
use super::session::Sessions;
use super::{FRAME_SPARE, LANES, links};

/// The process groups of gateways are this scope's; each group is one lane's.
const SCOPE: &str = "handbell gateways";

/// A frame and, behind it, the number of its session.
#[derive(Debug)]
pub(super) struct Frame(pub(super) Vec<u8>);

impl Message for Frame {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        Ok(SerializedMessage::Cast { variant: String::new(), args: self.0, metadata: None })
    }

    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        match message {
            SerializedMessage::Cast { args, .. } => Ok(Self(args)),
            SerializedMessage::Call { .. } | SerializedMessage::CallReply(..) => {
                Err(BoxedDowncastErr)
            }
        }
    }
}

/// The gateway of one lane.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) lane: usize,
    pub(super) sessions: Arc<Sessions>,
    pub(super) counters: Arc<Counters>,
    pub(super) links: ActorRef<links::Message>,
}

impl Actor for Gateway {
    type Msg = Frame;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Frame>, (): ()) -> Result<(), ActorProcessingErr> {
        pg::join_scoped(SCOPE.into(), group(self.lane), vec![myself.get_cell()]);
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Frame>,
        Frame(mut frame): Frame,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let Some((rest, number)) = frame.split_last_chunk::<FRAME_SPARE>() else {
            count::add(&self.counters.frames_late);
            return Ok(());
        };
        let (length, number) = (rest.len(), u64::from_be_bytes(*number));
        let Some(session) = self.sessions.get(number) else {
            count::add(&self.counters.frames_late);
            return Ok(());
        };
        frame.truncate(length);
        if !session.receive(self.lane, frame) {
            count::add(&self.counters.sessions_flooded);
            tracing::error!(peer = %session.peer.node, lane = self.lane, "a peer sends more than is taken; its session is closed");
            self.links.cast(links::Message::Close(number))?;
        }
        Ok(())
    }
}

fn group(lane: usize) -> String {
    lane.to_string()
}

/// The gateways of the peer at the other end of a session of `ractor_cluster`; none if it has not
/// exactly one for each lane.
pub(super) fn of_peer(session: ractor_cluster::NodeId) -> Option<[ActorRef<Frame>; LANES]> {
    let is_theirs = |cell: &ActorCell| matches!(cell.get_id(), ActorId::Remote { node_id, .. } if node_id == session);
    let gateways: Option<Vec<ActorRef<Frame>>> = (0..LANES)
        .map(|lane| {
            let mut theirs = pg::get_scoped_members(&SCOPE.into(), &group(lane));
            theirs.retain(is_theirs);
            match theirs.as_slice() {
                [one] => Some(ActorRef::from(one.clone())),
                _ => None,
            }
        })
        .collect();
    gateways?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::path::Path;

    #[test]
    fn a_frame_is_its_bytes_on_the_wire() {
        assert!(Frame::serializable());
        let serialized = Frame(vec![1, 2]).serialize().unwrap();
        let SerializedMessage::Cast { variant, args, metadata: None } = &serialized else {
            panic!("a frame is cast");
        };
        assert_eq!((variant.as_str(), args.as_slice()), ("", [1, 2].as_slice()));
        assert_eq!(Frame::deserialize(serialized).unwrap().0, [1, 2]);
    }

    #[test]
    fn nothing_else_can_be_reached_from_other_nodes() {
        assert!(!links::Message::serializable());
        let mut remotable = Vec::new();
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut remotable);
        assert_eq!(remotable, [file!().rsplit('/').next().unwrap()]);
    }

    /// The names of the files in which a message says that it can be sent to other nodes.
    fn collect(folder: &Path, remotable: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, remotable);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            let derived = concat!("Ractor", "ClusterMessage");
            if text.contains("fn serializable()") || text.contains(derived) {
                remotable.push(path.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
    }
}
