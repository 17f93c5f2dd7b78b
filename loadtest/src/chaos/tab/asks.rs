//! What a client wants to be in, and which answers to it are still to come. A server that refuses what
//! the client has left meanwhile may say nothing about it: so a client asks again only when it was
//! answered, or when no answer can come any more. Else it could not tell which request was answered.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::observation::Channel;

/// How long a client waits after a subscription that was refused.
const RESUBSCRIBE: Duration = Duration::from_millis(250);
/// By then every request has been answered, if it ever is.
const ANSWERED_WITHIN: Duration = Duration::from_secs(6);

/// One client's requests, by channel.
#[derive(Debug, Default)]
pub(super) struct Asks(BTreeMap<Channel, Ask>);

#[derive(Debug, Default)]
struct Ask {
    is_wanted: bool,
    /// When it asked for what has not been answered.
    asked: Option<Duration>,
    /// It was refused: when it is asked for again.
    again: Option<Duration>,
}

impl Asks {
    /// Whether the client may ask to be let in: it would know the answer.
    pub(super) fn may_ask(&self, channel: Channel, now: Duration) -> bool {
        let asked = self.0.get(&channel).and_then(|ask| ask.asked);
        asked.is_none_or(|asked| now >= asked + ANSWERED_WITHIN)
    }

    /// The client asks to be let in.
    pub(super) fn ask(&mut self, channel: Channel, now: Duration) {
        *self.0.entry(channel).or_default() =
            Ask { is_wanted: true, asked: Some(now), again: None };
    }

    /// The client leaves, or does not want to come any more.
    pub(super) fn leave(&mut self, channel: Channel) {
        let ask = self.0.entry(channel).or_default();
        ask.is_wanted = false;
        ask.again = None;
    }

    /// It was let in. True if that is how things stand: it has not left meanwhile.
    pub(super) fn admitted(&mut self, channel: Channel) -> bool {
        self.answered(channel).is_some()
    }

    /// It was refused, and asks again later if it still wants to.
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
        let was_asked = ask.asked.take().is_some();
        Some(ask).filter(|ask| was_asked && ask.is_wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);
    const LATER: Duration = Duration::from_secs(2);
    const LATE: Duration = Duration::from_secs(7);

    #[test]
    fn who_has_left_is_not_let_in() {
        let mut asks = Asks::default();
        asks.ask(3, NOW);
        asks.leave(3);
        assert!(!asks.admitted(3));
    }

    #[test]
    fn nobody_asks_again_while_an_answer_can_come() {
        let mut asks = Asks::default();
        assert!(asks.may_ask(3, NOW));
        asks.ask(3, NOW);
        asks.leave(3);
        assert!(!asks.may_ask(3, LATER));
        assert!(asks.may_ask(3, LATE));
        assert!(!asks.admitted(3), "it has left");
        assert!(asks.may_ask(3, LATER));
        asks.ask(3, LATER);
        assert!(asks.admitted(3));
        assert!(!asks.admitted(3), "nothing was asked");
    }

    #[test]
    fn every_channel_that_was_refused_is_asked_for_again_once() {
        let mut asks = Asks::default();
        asks.ask(3, NOW);
        asks.ask(4, NOW);
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
            asks.ask(channel, NOW);
            asks.refused(channel, NOW);
        }
        asks.leave(3);
        asks.ask(4, NOW);
        assert!(asks.due(LATER).is_empty());
        asks.ask(5, NOW);
        asks.leave(5);
        asks.refused(5, NOW);
        assert!(asks.due(LATER).is_empty(), "it has left");
    }
}
