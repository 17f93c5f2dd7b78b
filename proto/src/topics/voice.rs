//! What a socket says to its client, and asks of channels: by its namespace, and in the name of the
//! connection or of a further socket of it.

use crate::app::App;
use crate::door::{Action, Proof, Request, Seat};
use crate::name::ChannelName;
use crate::socketio::{self, Arguments, Input, Sockets};
use crate::time::Now;

/// The voice of one socket while something happens to it.
#[derive(Debug)]
pub(super) struct Voice<'a> {
    pub(super) sockets: &'a mut Sockets,
    pub(super) namespace: &'a str,
    /// What it is to the relay, if it is not the connection itself.
    pub(super) seat: Option<&'a Seat>,
    pub(super) app: &'a App,
    pub(super) now: Now,
    pub(super) actions: &'a mut Vec<Action>,
    /// It is no socket any more: it was turned down, or told to go.
    pub(super) is_over: bool,
}

impl Voice<'_> {
    /// Wants something done.
    pub(super) fn act(&mut self, action: Action) {
        self.actions.push(match self.seat {
            None => action,
            Some(seat) => Action::For { socket: seat.socket, action: Box::new(action) },
        });
    }

    /// Asks something of a channel.
    pub(super) fn ask(&mut self, channel: ChannelName, request: Request) {
        self.act(Action::Ask { channel, request });
    }

    /// Wants to know who the client is, and to be heard by channels if it is somebody.
    pub(super) fn verify(&mut self, proof: Proof) {
        self.actions.push(match self.seat {
            None => Action::Verify(proof),
            Some(seat) => Action::Open { seat: seat.clone(), proof },
        });
    }

    /// Sends an event: `data` are its arguments, as JSON with commas between.
    pub(super) fn emit(&mut self, name: &str, data: &str) {
        let arguments = Arguments::of(format!("[{data}]"));
        self.say(Input::Emit { namespace: self.namespace, name, arguments });
    }

    /// Acknowledges an event with one argument.
    pub(super) fn acknowledge(&mut self, id: u64, data: &str) {
        let arguments = Arguments::of(format!("[{data}]"));
        self.say(Input::Ack { namespace: self.namespace, id, arguments });
    }

    /// Lets the client in.
    pub(super) fn accept(&mut self, socket: socketio::Socket<'_>) {
        self.say(Input::Accept { namespace: self.namespace, socket });
    }

    /// Turns the client down.
    pub(super) fn reject(&mut self, message: &str) {
        self.say(Input::Reject { namespace: self.namespace, message });
        self.is_over = true;
    }

    /// Ends the socket: the stock client says `io server disconnect`, and does not come back by itself.
    pub(super) fn disconnect(&mut self) {
        self.say(Input::Disconnect { namespace: self.namespace });
        self.is_over = true;
    }

    /// What the application says leads to nothing but what is sent.
    fn say(&mut self, input: Input<'_>) {
        let mut wanted = Vec::new();
        self.sockets.apply(input, self.now, &mut wanted);
        self.actions.extend(wanted.into_iter().filter_map(|action| match action {
            socketio::Action::Send(text) => Some(Action::Send(text)),
            _ => None,
        }));
    }
}
