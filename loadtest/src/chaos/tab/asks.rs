//! What a client wants to be in, and which answers to it are still to come. A client that leaves and
//! comes back at once has asked twice: only the answer to its last request says that it is in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::observation::Channel;

/// How long a client waits after a subscription that was refused.
const RESUBSCRIBE: Duration = Duration::from_millis(250);

/// One client's requests, by channel.
#[derive(Debug, Default)]
pub(super) struct Asks(BTreeMap<Channel, Ask>);

#[derive(Debug, Default)]
struct Ask {
    is_wanted: bool,
    unanswered: u32,
    /// It was refused: when it is asked for again.
    again: Option<Duration>,
}

impl Asks {
    /// The client asks to be let in.
    pub(super) fn ask(&mut self, channel: Channel) {
        let ask = self.0.entry(channel).or_default();
        ask.is_wanted = true;
        ask.unanswered += 1;
        ask.again = None;
    }

    /// The client leaves, or does not want to come any more.
    pub(super) fn leave(&mut self, channel: Channel) {
        let ask = self.0.entry(channel).or_default();
        ask.is_wanted = false;
        ask.again = None;
    }

    /// It was let in. True if that is how things stand: nothing was asked since, and it has not left.
    pub(super) fn admitted(&mut self, channel: Channel) -> bool {
        self.answered(channel).is_some()
    }

    /// It was refused, and asks again later if that was the last word.
    pub(super) fn refused(&mut self, channel: Channel, now: Duration) {
        if let Some(ask) = self.answered(channel) {
            ask.again = Some(now + RESUBSCRIBE);
        }
    }

    /// What is to be asked for again by now.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Channel> {
        let is_due = |ask: &mut Ask| ask.again.take_if(|again| *again <= now).is_some();
        self.0.iter_mut().filter_map(|(&channel, ask)| is_due(ask).then_some(channel)).collect()
    }

    fn answered(&mut self, channel: Channel) -> Option<&mut Ask> {
        let ask = self.0.get_mut(&channel)?;
        ask.unanswered = ask.unanswered.saturating_sub(1);
        Some(ask).filter(|ask| ask.is_wanted && ask.unanswered == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);
    const LATER: Duration = Duration::from_secs(2);

    #[test]
    fn only_the_answer_to_the_last_request_lets_a_client_in() {
        let mut asks = Asks::default();
        asks.ask(3);
        asks.leave(3);
        asks.ask(3);
        assert!(!asks.admitted(3), "the first request's");
        assert!(asks.admitted(3));
    }

    #[test]
    fn who_has_left_is_not_let_in() {
        let mut asks = Asks::default();
        asks.ask(3);
        asks.leave(3);
        assert!(!asks.admitted(3));
    }

    #[test]
    fn every_channel_that_was_refused_is_asked_for_again_once() {
        let mut asks = Asks::default();
        asks.ask(3);
        asks.ask(4);
        asks.refused(3, NOW);
        asks.refused(4, NOW);
        assert!(asks.due(NOW).is_empty());
        assert_eq!(asks.due(LATER), [3, 4]);
        assert!(asks.due(LATER).is_empty());
    }

    #[test]
    fn what_is_not_wanted_or_asked_for_already_is_not_asked_for_again() {
        let mut asks = Asks::default();
        for channel in [3, 4] {
            asks.ask(channel);
            asks.refused(channel, NOW);
        }
        asks.leave(3);
        asks.ask(4);
        assert!(asks.due(LATER).is_empty());
        let mut asks = Asks::default();
        asks.ask(5);
        asks.leave(5);
        asks.ask(5);
        asks.refused(5, NOW);
        assert!(asks.due(LATER).is_empty(), "the second request is on its way");
        assert!(asks.admitted(5));
    }
}
