//! What the webhooks said: every id one thing, every channel and member on and off in turn, and at the
//! end what is true.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::observation::Hook;
use super::verdict::{Fault, Verdict};

/// A channel, or a user in it.
type Subject = (String, Option<String>);

/// Everything that was said in a run.
#[derive(Debug, Default)]
pub struct Webhooks {
    /// What each id said.
    ids: HashMap<String, (Subject, bool)>,
    /// Whether each subject is there.
    states: BTreeMap<Subject, bool>,
    /// Events that arrived.
    pub received: u64,
    /// Events that came again under the same id: allowed, in moderation.
    pub repeated: u64,
    /// Events without an id, of which a repetition cannot be told.
    pub without_id: u64,
    /// Events that said what had been said, after a cut in which both sides served: each side had told
    /// its own.
    pub told_by_both_sides: u64,
    /// Whether there has been such a cut.
    has_two_sides: bool,
    faults: Verdict,
}

impl Webhooks {
    /// Takes note of one event.
    pub(super) fn take(&mut self, hook: &Hook) {
        let is_there = match hook.name.as_str() {
            "channel_occupied" | "member_added" => true,
            "channel_vacated" | "member_removed" => false,
            _ => return,
        };
        self.received += 1;
        let subject: Subject = (hook.channel.clone(), hook.user_id.clone());
        let Some(id) = &hook.id else {
            self.without_id += 1;
            return self.follow(&subject, is_there);
        };
        let said = (subject.clone(), is_there);
        match self.ids.insert(id.clone(), said.clone()) {
            None => self.follow(&subject, is_there),
            Some(before) if before == said => self.repeated += 1,
            Some(before) => self.faults.add(Fault::WebhookRepeated, 1, || {
                format!("id {id} said {before:?} and then {said:?}")
            }),
        }
    }

    /// A cut begins in which both sides serve and tell.
    pub fn expect_two_sides(&mut self) {
        self.has_two_sides = true;
    }

    /// The only node ended: nobody remembers what was said, so it may be said again.
    pub fn forget(&mut self) {
        self.states.clear();
    }

    fn follow(&mut self, subject: &Subject, is_there: bool) {
        let was_there = self.states.insert(subject.clone(), is_there).unwrap_or(false);
        if was_there == is_there && self.has_two_sides {
            self.told_by_both_sides += 1;
        } else if was_there == is_there {
            self.faults.add(Fault::WebhookRepeated, 1, || {
                format!("{subject:?} was said to be there={is_there} twice in turn")
            });
        }
    }

    /// Subjects that are there, as the last events say.
    fn present(&self) -> impl Iterator<Item = &Subject> {
        self.states.iter().filter(|&(_, &is_there)| is_there).map(|(subject, _)| subject)
    }

    /// What is said, and what is true, of subjects of which these differ.
    #[must_use]
    pub fn wrong(&self, truth: &BTreeSet<Subject>) -> Vec<String> {
        let missing = truth.iter().map(|subject| (self.states.get(subject), subject));
        let missing = missing.filter(|(said, _)| *said != Some(&true)).map(|(said, subject)| {
            let what = if said.is_some() { "the last says it is not" } else { "none says so" };
            format!("{subject:?} is there, and of the webhooks {what}")
        });
        let ghosts = self.present().filter(|&subject| !truth.contains(subject));
        let ghosts =
            ghosts.map(|subject| format!("{subject:?} is not there, a webhook says it is"));
        missing.chain(ghosts).collect()
    }

    /// What went wrong, with this for the truth at the end.
    #[must_use]
    pub fn verdict(&self, truth: &BTreeSet<Subject>) -> Verdict {
        let mut verdict = self.faults.clone();
        for wrong in self.wrong(truth) {
            verdict.add(Fault::WebhookWrong, 1, || wrong);
        }
        verdict
    }
}
