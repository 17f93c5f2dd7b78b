//! A back end that publishes at its own pace, one event at a time, through any node that is ready. With
//! keys it repeats a publish, under the same key and through another node, until it is acknowledged.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::call::{Answer, Caller};
use super::observation::{Failure, Node, Observation, Outcome, Published};
use super::plan;
use super::schedule::Draw;
use super::stage::Stage;
use crate::mark::Mark;

/// No answer may take longer than this.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long a publish with a key is tried.
const TRY_MAX: Duration = Duration::from_secs(10);
/// Pause between two attempts.
const RETRY: Duration = Duration::from_millis(50);
/// Bytes of an event's data.
const DATA_BYTES: usize = 64;
/// The header of the acknowledgement.
const ACK: &str = "handbell-ack";

/// A back end's place among all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backend {
    /// Its number.
    pub number: u32,
    /// The pause between two requests.
    pub every: Duration,
    /// Events of one request.
    pub batch: u32,
    /// How it publishes.
    pub manner: Manner,
}

/// How an event is published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Under a key.
    pub is_keyed: bool,
    /// With the level of acknowledgement that is expected, by name.
    pub is_named: bool,
}

/// Runs a back end until the run is over.
pub(super) fn run(backend: Backend, stage: &Arc<Stage>, out: &SyncSender<Observation>) {
    let plan = &stage.plan;
    let mut draw = Draw::new(u64::from(backend.number) + 1_000_000);
    let mut line =
        Line { stage, callers: HashMap::new(), node: backend.number as usize, asked: None };
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    let mut due = Instant::now();
    while !stage.is_over() {
        let now = Instant::now();
        // What could not be sent in time is not made up for.
        due = (due + backend.every).max(now);
        sleep(due - now);
        if !stage.begin() {
            sleep(RETRY);
            continue;
        }
        let event = |_| {
            let range = if draw.below(2) == 0 { &plan.hot } else { &plan.published };
            let offset = u32::try_from(draw.place(range.len())).unwrap_or(0);
            let channel = range.start + offset;
            let stream = channel * plan.size.publishers + backend.number;
            let number = numbers.entry(stream).or_default();
            let mark = Mark { stream, number: *number };
            *number += 1;
            (mark, plan.name(channel))
        };
        let events: Vec<(Mark, &str)> = (0..backend.batch).map(event).collect();
        let published = line.publish(&events, backend.manner);
        stage.end();
        for published in published {
            if out.send(Observation::Published(published)).is_err() {
                return;
            }
        }
    }
}

/// Connections to all nodes.
struct Line<'a> {
    stage: &'a Stage,
    callers: HashMap<Node, Caller>,
    /// Where the next attempt goes.
    node: Node,
    /// Where the last one went.
    asked: Option<Node>,
}

impl Line<'_> {
    /// Publishes events in one request. Attempts that failed stand with the first of them.
    fn publish(&mut self, events: &[(Mark, &str)], manner: Manner) -> Vec<Published> {
        let request = request(self.stage, events, manner);
        let (sent_at, began) = (self.stage.now(), Instant::now());
        let mut failures = Vec::new();
        let outcome = loop {
            match self.attempt(&request) {
                Ok(answer) => break reached(self.stage, &answer, manner),
                Err(failure) => failures.push(failure),
            }
            if !manner.is_keyed || began.elapsed() > TRY_MAX {
                break Outcome::Failed;
            }
            sleep(RETRY);
        };
        let (done_at, node) = (self.stage.now(), self.asked);
        let is_keyed = manner.is_keyed;
        let published = |&(mark, _): &(Mark, &str)| {
            let failures = std::mem::take(&mut failures);
            Published { mark, sent_at, done_at, outcome, node, is_keyed, failures }
        };
        events.iter().map(published).collect()
    }

    /// Goes on to the next ready node after a failure, and for the next publish.
    fn attempt(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        let stage = self.stage;
        self.node += 1;
        self.asked = stage.route(self.node);
        let node = self.asked.ok_or(Failure::Unreachable)?;
        self.node = node;
        let caller = self.callers.entry(node).or_insert_with(|| Caller::new(plan::clients(node)));
        let answer = caller.call(request, ANSWER_MAX, || stage.is_stopped(node));
        let answer = answer.map_err(|failure| match failure {
            Failure::Hung if stage.is_stopped(node) => Failure::Stopped,
            other => other,
        })?;
        if answer.status() == 200 { Ok(answer) } else { Err(Failure::Status(answer.status())) }
    }
}

/// The request that publishes events, under a key that is the first one's.
pub(super) fn request(stage: &Stage, events: &[(Mark, &str)], manner: Manner) -> Vec<u8> {
    let event = |&(mark, channel): &(Mark, &str)| json!({ "name": "chaos", "channel": channel, "data": mark.data(DATA_BYTES) });
    let mut items: Vec<Value> = events.iter().map(event).collect();
    let key = events.first().map(|(mark, _)| format!("{}-{}", mark.stream, mark.number));
    let (resource, body) = match items.pop() {
        Some(only) if items.is_empty() => ("events", only),
        last => {
            items.extend(last);
            ("batch_events", json!({ "batch": items }))
        }
    };
    let mut headers = Vec::new();
    if let Some(key) = key.as_deref().filter(|_| manner.is_keyed) {
        headers.push(("idempotency-key", key));
    }
    if let Some(ack) = stage.ack.filter(|_| manner.is_named) {
        headers.push((ACK, ack));
    }
    stage.app.request(("POST", resource), &[], &body.to_string(), &headers)
}

/// What a 200 means.
pub(super) fn reached(stage: &Stage, answer: &Answer, manner: Manner) -> Outcome {
    let level = answer.message().header(ACK);
    match stage.ack {
        Some(ack) if level != Some(ack) && manner.is_named => Outcome::Downgraded,
        Some(ack) if level != Some(ack) => Outcome::Lowered,
        _ => Outcome::Acknowledged,
    }
}
