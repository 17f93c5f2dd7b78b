//! What happens to a scene when a socket is ready.

use anyhow::Context as _;

use crate::frame::TEXT;
use crate::mark::Mark;
use crate::poll::Interest;
use crate::subscriber::{Delivered, Subscriber, answer};
use crate::tally::Tally;

use super::{PUBLISHERS, Role, Scene, State};

/// By these words a member's frame says that another one has gone.
const REMOVED: &[u8] = b"member_removed";
/// By these a visitor is told that it has joined.
const JOINED: &[u8] = b"subscription_succeeded";

impl Scene<'_> {
    /// A socket is ready.
    pub(super) fn attend(&mut self, token: u64) -> anyhow::Result<()> {
        if let Some(publisher) = token.checked_sub(PUBLISHERS) {
            let number = usize::try_from(publisher)?;
            self.publishers[number].0.go_on()?;
            return self.begin(number);
        }
        let number = usize::try_from(token)?;
        match self.clients[number].state {
            State::Coming(_) => self.receive(number),
            State::Here(_) => self.read(number),
            State::Away | State::Deaf(_) => Ok(()),
        }
    }

    /// A client that comes goes on, and may have arrived.
    fn receive(&mut self, number: usize) -> anyhow::Result<()> {
        let client = &mut self.clients[number];
        let State::Coming(arrival) = &mut client.state else { return Ok(()) };
        match arrival.go_on(&mut self.buffer) {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(error) => {
                client.state = State::Away;
                self.coming -= 1;
                self.arrivals.failed += 1;
                self.arrivals.timeline.wrong(super::nanoseconds(self.began.elapsed()));
                self.arrivals.reason.get_or_insert_with(|| format!("{error:#}"));
                self.failed.push_back(number);
                return Ok(());
            }
        }
        client.arrive();
        self.coming -= 1;
        let (role, due_ns) = (client.role, client.due_ns);
        if let State::Here(subscriber) = &client.state {
            self.poll.change(subscriber.stream(), number as u64, Interest::Read)?;
        }
        let now = self.now_ns();
        let latency = now.saturating_sub(due_ns);
        self.arrivals.came += 1;
        self.arrivals.latency.saturating_record(latency.max(1));
        self.arrivals.timeline.delivered(now, latency);
        if role != Role::Visitor {
            self.tally.checker.join(number);
        }
        // What came together with the answer has been read already.
        self.read(number)
    }

    /// A client reads.
    fn read(&mut self, number: usize) -> anyhow::Result<()> {
        let now = self.now_ns();
        let Self { clients, tally, buffer, visits, .. } = self;
        let client = &mut clients[number];
        let State::Here(subscriber) = &mut client.state else { return Ok(()) };
        let is_open = match client.role {
            Role::Subscriber => {
                subscriber.receive(buffer, |delivered| tally.take(number, delivered, now))
            }
            Role::Sluggard => {
                subscriber.receive(buffer, |late| tally.take_late(number, late.mark, now))
            }
            Role::Member => read_members(subscriber, buffer, (tally, number), now),
            Role::Visitor => {
                *visits += read_visits(subscriber, buffer)?;
                Ok(subscriber.is_open())
            }
        };
        if is_open.with_context(|| format!("client {number}"))? {
            return Ok(());
        }
        let code = subscriber.close_code();
        client.state = State::Away;
        if client.role == Role::Sluggard {
            self.tally.checker.leave(number);
            self.let_go.push((number, code));
        } else {
            self.tally.take_close(now);
        }
        Ok(())
    }
}

/// Reads of whom a member is told: who joins and leaves is the visitor's doing, and its name is a mark.
/// An event's number is twice the visitor's, and one more if it has gone.
fn read_members(
    subscriber: &mut Subscriber,
    buffer: &mut [u8],
    (tally, number): (&mut Tally, usize),
    now: u64,
) -> anyhow::Result<bool> {
    let mut hint = 0;
    subscriber.receive_frames(buffer, |stream, frame| {
        if frame.opcode != TEXT {
            return Ok(());
        }
        let Some(mark) = Mark::find(frame.payload, &mut hint) else {
            return answer(stream, frame.payload);
        };
        let event = 2 * mark.number + u32::from(has(frame.payload, REMOVED));
        let mark = Mark { number: event, ..mark };
        tally.take(number, Delivered { mark, frame_bytes: frame.bytes }, now);
        Ok(())
    })
}

/// Reads how often a visitor was told that it has joined.
fn read_visits(subscriber: &mut Subscriber, buffer: &mut [u8]) -> anyhow::Result<u64> {
    let mut joined = 0;
    subscriber.receive_frames(buffer, |stream, frame| {
        joined += u64::from(frame.opcode == TEXT && has(frame.payload, JOINED));
        answer(stream, frame.payload)
    })?;
    Ok(joined)
}

fn has(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}
