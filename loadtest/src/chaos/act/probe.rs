//! A back end that asks one node, ready or not: what a node says when no load balancer would ask it.

use std::time::Duration;

use super::super::backend::{Manner, reached, request};
use super::super::call::Caller;
use super::super::director::Director;
use super::super::observation::{Node, Observation, Outcome, Published};
use super::super::plan;
use crate::mark::Mark;

/// The back end: it uses no keys, and the streams of the director.
pub(super) struct Probe {
    node: Node,
    stream: u32,
    channel: String,
    caller: Caller,
    /// Whether it asks for a level by name.
    is_named: bool,
    patience: Duration,
}

impl Probe {
    /// A back end of this node.
    pub(super) fn new(
        director: &Director,
        node: Node,
        (is_named, patience): (bool, Duration),
    ) -> Self {
        let plan = &director.stage.plan;
        let (channel, publisher) = (plan.hot.start, plan.size.publishers - 1);
        let stream = channel * plan.size.publishers + publisher;
        let caller = Caller::new(plan::clients(node));
        Self { node, stream, channel: plan.name(channel).to_owned(), caller, is_named, patience }
    }

    /// Publishes one event, and tells the judge.
    pub(super) fn publish(&mut self, director: &mut Director) -> Published {
        let stage = &director.stage;
        let sent_at = stage.now();
        let number = u32::try_from(sent_at.as_millis()).unwrap_or(u32::MAX);
        let mark = Mark { stream: self.stream, number };
        let manner = Manner { is_keyed: false, is_named: self.is_named };
        let request = request(stage, &[(mark, &self.channel)], manner);
        let answer = self.caller.call(&request, self.patience, || false);
        let done_at = stage.now();
        let answer = answer.ok().filter(|answer| answer.status() == 200);
        let outcome = answer.map_or(Outcome::Failed, |answer| reached(stage, &answer, manner));
        let (node, is_keyed, failures) = (Some(self.node), false, Vec::new());
        let published = Published { mark, sent_at, done_at, outcome, node, is_keyed, failures };
        director.judge.take(Observation::Published(published.clone()));
        published
    }
}
