//! What webhooks said, against what is true.

use std::collections::BTreeSet;

use super::super::super::observation::Hook;
use super::*;

fn hook(id: &str, name: &str, user: Option<&str>) -> Hook {
    let id = Some(id.to_owned()).filter(|id| !id.is_empty());
    let user_id = user.map(str::to_owned);
    Hook { id, name: name.into(), channel: "c".into(), user_id }
}

/// What is wrong with these webhooks if this is the truth.
fn hooks(hooks: &[Hook], truth: &[(&str, Option<&str>)]) -> Vec<(Fault, u64)> {
    let mut judge = Judge::new(2);
    judge.take(Observation::Hooks(hooks.to_vec()));
    let subject =
        |&(channel, user): &(&str, Option<&str>)| (channel.to_owned(), user.map(str::to_owned));
    let truth: BTreeSet<_> = truth.iter().map(subject).collect();
    judge.webhooks.verdict(&truth).faults.into_iter().collect()
}

#[test]
fn webhooks_that_end_with_the_truth_are_clean_also_when_repeated() {
    let said = [
        hook("1", "channel_occupied", None),
        hook("2", "member_added", Some("ann")),
        hook("1", "channel_occupied", None),
        hook("3", "member_removed", Some("ann")),
    ];
    assert_eq!(hooks(&said, &[("c", None)]), []);
}

#[test]
fn what_both_sides_of_a_cut_have_told_is_counted_and_the_end_must_still_be_true() {
    let said = ["1", "2"].map(|id| hook(id, "channel_occupied", None));
    let mut judge = Judge::new(2);
    judge.webhooks.expect_two_sides();
    judge.take(Observation::Hooks(said.to_vec()));
    let truth = BTreeSet::from([("c".to_owned(), None)]);
    assert!(judge.webhooks.verdict(&truth).is_clean());
    assert_eq!(judge.webhooks.told_by_both_sides, 1);
    assert_eq!(judge.webhooks.verdict(&BTreeSet::new()).count(Fault::WebhookWrong), 1);
}

#[test]
fn webhooks_that_are_missing_wrong_or_doubled_are_found() {
    let occupied = hook("1", "channel_occupied", None);
    assert_eq!(hooks(&[], &[("c", None)]), [(Fault::WebhookWrong, 1)]);
    assert_eq!(hooks(std::slice::from_ref(&occupied), &[]), [(Fault::WebhookWrong, 1)]);
    let again = hook("2", "channel_occupied", None);
    assert_eq!(hooks(&[occupied.clone(), again], &[("c", None)]), [(Fault::WebhookRepeated, 1)]);
    let other = hook("1", "channel_vacated", None);
    assert_eq!(hooks(&[occupied, other], &[("c", None)]), [(Fault::WebhookRepeated, 1)]);
}

#[test]
fn webhooks_in_the_wrong_order_are_found() {
    let said = [
        hook("1", "channel_occupied", None),
        hook("3", "channel_occupied", None),
        hook("2", "channel_vacated", None),
    ];
    let found = hooks(&said, &[("c", None)]);
    assert_eq!(found, [(Fault::WebhookRepeated, 1), (Fault::WebhookWrong, 1)]);
}
