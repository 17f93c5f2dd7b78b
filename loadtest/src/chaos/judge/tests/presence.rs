//! Members as clients and answers show them, against those who are there.

use super::super::presence::Difference;
use super::*;

fn join(judge: &mut Judge, connection: Connection, user: &str, members: &[&str]) {
    let members = members.iter().map(|&m| m.into()).collect();
    let presence = Some((user.into(), members));
    let subscribed = Subscribed { connection, channel: CHANNEL, presence, at: at(0) };
    judge.take(Observation::Opened(connection, 0));
    judge.take(Observation::Subscribed(subscribed));
}

fn hear(judge: &mut Judge, connection: Connection, user: &str, is_added: bool) {
    judge.take(Observation::Member(connection, CHANNEL, user.into(), is_added));
}

#[test]
fn lists_that_are_kept_up_are_the_truth() {
    let mut judge = Judge::new(2);
    join(&mut judge, A, "ann", &["ann"]);
    join(&mut judge, B, "bob", &["ann", "bob"]);
    hear(&mut judge, A, "bob", true);
    assert!(judge.presence.audit().is_none());
    close(&mut judge, B, None, 5);
    hear(&mut judge, A, "bob", false);
    assert!(judge.presence.audit().is_none());
    assert_eq!(faults(&mut judge, Terms::default()), []);
}

#[test]
fn ghosts_and_missing_members_are_found_in_lists() {
    let mut judge = Judge::new(2);
    join(&mut judge, A, "ann", &["ann", "eve"]);
    join(&mut judge, B, "bob", &["ann", "bob"]);
    let difference = judge.presence.audit();
    assert_eq!(difference.ghosts, ["eve in channel 3 on 0x1"]);
    assert_eq!(difference.missing, ["bob in channel 3 on 0x1"]);
    let mut verdict = Verdict::default();
    difference.note(&mut verdict);
    assert_eq!((verdict.count(Fault::Ghost), verdict.count(Fault::Missing)), (1, 1));
}

#[test]
fn ghosts_and_missing_members_are_found_in_answers() {
    let mut judge = Judge::new(2);
    join(&mut judge, A, "ann", &["ann"]);
    let check = |users: &[&str], count| {
        let users = users.iter().map(|&user| user.into()).collect();
        let mut difference = Difference::default();
        judge.presence.audit_answer("there", CHANNEL, (Some(&users), count), &mut difference);
        (difference.ghosts.len(), difference.missing.len())
    };
    assert_eq!(check(&["ann"], 1), (0, 0));
    assert_eq!(check(&["ann", "eve"], 2), (2, 0));
    assert_eq!(check(&[], 0), (0, 2));
}

#[test]
fn nobody_comes_twice_or_leaves_twice() {
    let mut judge = Judge::new(2);
    join(&mut judge, A, "ann", &["ann"]);
    hear(&mut judge, A, "ann", true);
    hear(&mut judge, A, "bob", false);
    assert_eq!(faults(&mut judge, Terms::default()), [(Fault::Flicker, 2)]);
}

#[test]
fn a_user_with_two_tabs_stays_with_one() {
    let mut judge = Judge::new(2);
    join(&mut judge, A, "ann", &["ann"]);
    join(&mut judge, B, "ann", &["ann"]);
    assert_eq!((judge.presence.count(CHANNEL), judge.presence.users(CHANNEL).len()), (2, 1));
    close(&mut judge, B, None, 5);
    assert_eq!((judge.presence.count(CHANNEL), judge.presence.users(CHANNEL).len()), (1, 1));
}
