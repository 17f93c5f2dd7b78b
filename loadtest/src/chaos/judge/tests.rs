//! Every kind of violation is fed to the judge: one that cannot find fault proves nothing.

use super::super::observation::{Member, Status, Subscribed};
use super::*;
use crate::mark::Mark;

mod presence;
mod webhooks;

const A: Connection = 1;
const B: Connection = 2;
const CHANNEL: u32 = 3;
const PLANNED: Terms = Terms { is_planned: true, is_cut: false, may_be_alone: false };
const CUT: Terms = Terms { is_planned: false, is_cut: true, may_be_alone: true };

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Two publishers: the channel's streams are 6 and 7.
fn mark(publisher: u32, number: u32) -> Mark {
    Mark { stream: CHANNEL * 2 + publisher, number }
}

/// A judge with some connections that have been subscribed from the beginning.
fn judge(connections: &[Connection]) -> Judge {
    let mut judge = Judge::new(2);
    for &connection in connections {
        judge.take(Observation::Opened(connection, 0));
        subscribe(&mut judge, connection, 0);
    }
    judge
}

fn subscribe(judge: &mut Judge, connection: Connection, ms: u64) {
    let subscribed = Subscribed { connection, channel: CHANNEL, presence: None, at: at(ms) };
    judge.take(Observation::Subscribed(subscribed));
}

fn receive(judge: &mut Judge, connection: Connection, marks: &[Mark]) {
    for &mark in marks {
        judge.take(Observation::Received(connection, CHANNEL, mark, at(50)));
    }
}

fn close(judge: &mut Judge, connection: Connection, code: Option<u16>, ms: u64) {
    let closed = Closed { connection, code, at: at(ms), is_ours: false };
    judge.take(Observation::Closed(closed));
}

fn published(mark: Mark, outcome: Outcome) -> Published {
    let (sent_at, done_at) = (at(10), at(20));
    let (node, failures) = (Some(0), Vec::new());
    Published { mark, sent_at, done_at, outcome, node, is_keyed: true, failures }
}

fn acknowledge(judge: &mut Judge, marks: &[Mark]) {
    for &mark in marks {
        judge.take(Observation::Published(published(mark, Outcome::Acknowledged)));
    }
}

fn faults(judge: &mut Judge, terms: Terms) -> Vec<(Fault, u64)> {
    judge.verdict(terms).faults.into_iter().collect()
}

#[test]
fn everything_once_and_in_one_order_is_clean() {
    let mut judge = judge(&[A, B]);
    let all = [mark(0, 0), mark(1, 0), mark(0, 1)];
    acknowledge(&mut judge, &all);
    receive(&mut judge, A, &all);
    receive(&mut judge, B, &all);
    let verdict = judge.verdict(Terms::default());
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!((verdict.acknowledged, verdict.delivered), (3, 6));
}

#[test]
fn an_acknowledged_event_that_never_comes_is_lost() {
    let mut judge = judge(&[A, B]);
    acknowledge(&mut judge, &[mark(0, 0)]);
    receive(&mut judge, A, &[mark(0, 0)]);
    assert_eq!(faults(&mut judge, Terms::default()), [(Fault::Lost, 1)]);
    assert_eq!(faults(&mut judge, Terms::default()), [], "it is counted once");
}

#[test]
fn who_came_after_the_publish_began_may_miss_it() {
    let mut judge = judge(&[]);
    subscribe(&mut judge, A, 10);
    acknowledge(&mut judge, &[mark(0, 0)]);
    assert_eq!(faults(&mut judge, Terms::default()), []);
}

#[test]
fn who_was_closed_may_miss_it_unless_nothing_was_broken() {
    for (terms, expected) in [(Terms::default(), vec![]), (PLANNED, vec![(Fault::Lost, 1)])] {
        let mut judge = judge(&[A]);
        acknowledge(&mut judge, &[mark(0, 0)]);
        close(&mut judge, A, Some(4200), 2_000);
        assert_eq!(faults(&mut judge, terms), expected);
    }
}

#[test]
fn what_was_on_its_way_at_a_planned_close_is_not_lost() {
    let mut judge = judge(&[A]);
    acknowledge(&mut judge, &[mark(0, 0)]);
    close(&mut judge, A, Some(4200), 30);
    assert_eq!(faults(&mut judge, PLANNED), []);
}

#[test]
fn a_failed_publish_reaches_everyone_or_nobody_unless_the_network_was_cut() {
    let failed = published(mark(0, 0), Outcome::Failed);
    for (terms, expected) in [(Terms::default(), vec![(Fault::Gap, 1)]), (CUT, vec![])] {
        let mut judge = judge(&[A, B]);
        judge.take(Observation::Published(Published { is_keyed: false, ..failed.clone() }));
        receive(&mut judge, A, &[mark(0, 0)]);
        let verdict = judge.verdict(terms);
        assert_eq!(verdict.allowed_gaps, u64::from(terms.is_cut));
        assert_eq!(verdict.faults.into_iter().collect::<Vec<_>>(), expected);
    }
    let mut judge = judge(&[A, B]);
    judge.take(Observation::Published(Published { is_keyed: false, ..failed }));
    assert_eq!(faults(&mut judge, Terms::default()), []);
}

#[test]
fn what_comes_again_is_duplicated_also_after_the_verdict() {
    let mut judge = judge(&[A]);
    acknowledge(&mut judge, &[mark(0, 0)]);
    receive(&mut judge, A, &[mark(0, 0), mark(0, 0)]);
    assert_eq!(faults(&mut judge, Terms::default()), [(Fault::Duplicated, 1)]);
    receive(&mut judge, A, &[mark(0, 0)]);
    assert_eq!(faults(&mut judge, Terms::default()), [(Fault::Reordered, 1)]);
}

#[test]
fn a_new_connection_may_get_what_the_old_one_had() {
    let mut judge = judge(&[A]);
    acknowledge(&mut judge, &[mark(0, 0)]);
    receive(&mut judge, A, &[mark(0, 0)]);
    close(&mut judge, A, None, 60);
    subscribe(&mut judge, B, 70);
    receive(&mut judge, B, &[mark(0, 0)]);
    assert_eq!(faults(&mut judge, Terms::default()), []);
}

#[test]
fn who_is_let_in_again_without_having_left_is_there_from_the_last_time() {
    let mut judge = judge(&[A]);
    subscribe(&mut judge, A, 5);
    acknowledge(&mut judge, &[mark(0, 0)]);
    receive(&mut judge, A, &[mark(0, 0)]);
    assert_eq!(faults(&mut judge, Terms::default()), []);
    acknowledge(&mut judge, &[mark(0, 1)]);
    assert_eq!(faults(&mut judge, Terms::default()), [(Fault::Lost, 1)], "once");
}

#[test]
fn who_has_left_misses_nothing() {
    let mut judge = judge(&[A]);
    subscribe(&mut judge, A, 2);
    judge.take(Observation::Left(A, CHANNEL, at(5)));
    acknowledge(&mut judge, &[mark(0, 0)]);
    assert_eq!(faults(&mut judge, Terms::default()), []);
}

#[test]
fn a_publishers_order_is_kept() {
    let mut judge = judge(&[A]);
    acknowledge(&mut judge, &[mark(0, 0), mark(0, 1)]);
    receive(&mut judge, A, &[mark(0, 1), mark(0, 0)]);
    assert_eq!(faults(&mut judge, Terms::default()), [(Fault::Reordered, 1)]);
}

#[test]
fn a_publish_that_was_given_up_may_come_late() {
    let mut judge = judge(&[A]);
    acknowledge(&mut judge, &[mark(0, 1)]);
    let failed = published(mark(0, 0), Outcome::Failed);
    judge.take(Observation::Published(Published { is_keyed: false, ..failed }));
    receive(&mut judge, A, &[mark(0, 1), mark(0, 0)]);
    assert_eq!(faults(&mut judge, Terms::default()), []);
}

#[test]
fn two_connections_see_one_order_of_two_publishers() {
    let mut judge = judge(&[A, B]);
    acknowledge(&mut judge, &[mark(0, 0), mark(1, 0)]);
    receive(&mut judge, A, &[mark(0, 0), mark(1, 0)]);
    receive(&mut judge, B, &[mark(1, 0), mark(0, 0)]);
    assert_eq!(faults(&mut judge, Terms::default()), [(Fault::Reordered, 1)]);
}

#[test]
fn an_event_of_another_channel_strays() {
    let mut judge = judge(&[A]);
    receive(&mut judge, A, &[Mark { stream: 0, number: 0 }]);
    assert_eq!(faults(&mut judge, Terms::default()), [(Fault::Strayed, 1)]);
}

#[test]
fn publishes_that_fail_are_told_apart() {
    let mut judge = judge(&[]);
    for (number, outcome, is_keyed, failures) in [
        (0, Outcome::Acknowledged, true, vec![Failure::Status(503)]),
        (1, Outcome::Failed, true, vec![Failure::Hung]),
        (2, Outcome::Failed, false, vec![Failure::Unreachable]),
        (3, Outcome::Downgraded, true, vec![]),
    ] {
        let mark = mark(0, number);
        judge.take(Observation::Published(Published {
            is_keyed,
            failures,
            ..published(mark, outcome)
        }));
    }
    let verdict = judge.verdict(PLANNED);
    assert_eq!((verdict.acknowledged, verdict.unkeyed_failed), (1, 1));
    let expected =
        [(Fault::Hung, 1), (Fault::Downgraded, 1), (Fault::Unacknowledged, 1), (Fault::Failed, 3)];
    assert_eq!(verdict.faults.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_level_that_nobody_named_may_be_lower_where_a_node_may_be_alone() {
    let lowered = published(mark(0, 0), Outcome::Lowered);
    for (terms, expected) in [(PLANNED, vec![(Fault::Downgraded, 1)]), (CUT, vec![])] {
        let mut judge = judge(&[]);
        judge.take(Observation::Published(lowered.clone()));
        let verdict = judge.verdict(terms);
        assert_eq!(verdict.allowed_downgrades, u64::from(terms.may_be_alone));
        assert_eq!(verdict.acknowledged, 0, "it is not what a cluster promises");
        assert_eq!(verdict.faults.into_iter().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_level_that_was_named_is_met_everywhere() {
    let mut judge = judge(&[]);
    judge.take(Observation::Published(published(mark(0, 0), Outcome::Downgraded)));
    assert_eq!(faults(&mut judge, CUT), [(Fault::Downgraded, 1)]);
}

/// Node 0 is cut off from 1 s to 5 s: what is wrong with a publish that was over then?
fn cut_off(done_at: u64, node: Node, outcome: Outcome) -> Vec<(Fault, u64)> {
    let mut judge = judge(&[]);
    judge.cut(Cut { minority: vec![0], from: at(1_000), until: at(5_000) });
    let (done_at, node) = (at(done_at), Some(node));
    let answered = Published { done_at, node, ..published(mark(0, 0), outcome) };
    judge.take(Observation::Published(answered));
    faults(&mut judge, Terms { is_cut: true, ..Terms::default() })
}

#[test]
fn two_seconds_after_a_cut_the_minority_acknowledges_nothing() {
    for outcome in [Outcome::Acknowledged, Outcome::Downgraded, Outcome::Lowered] {
        assert!(cut_off(3_001, 0, outcome).contains(&(Fault::Minority, 1)), "{outcome:?}");
    }
    assert_eq!(cut_off(2_999, 0, Outcome::Acknowledged), [], "it may not know yet");
    assert_eq!(cut_off(3_001, 1, Outcome::Acknowledged), [], "the majority");
    assert_eq!(cut_off(5_001, 0, Outcome::Acknowledged), [], "it is whole again");
    assert!(!cut_off(3_001, 0, Outcome::Failed).contains(&(Fault::Minority, 1)), "refused");
}

#[test]
fn messages_that_a_node_cannot_read_are_counted_in_each_of_its_lives() {
    let mut judge = judge(&[]);
    for (incarnation, unreadable_messages) in [(1, 0), (1, 2), (1, 2), (2, 1)] {
        let node = Member { id: "node-1".into(), incarnation: incarnation.into() };
        let status = Some(Status { node, unreadable_messages, ..Status::default() }.into());
        judge.take(Observation::Looked(0, at(0), Look { is_ready: Some(true), status }));
    }
    assert_eq!(faults(&mut judge, PLANNED), [(Fault::Unreadable, 3)]);
}

#[test]
fn the_first_event_after_a_crash_is_one_that_was_published_after_it() {
    let mut judge = judge(&[A]);
    acknowledge(&mut judge, &[mark(0, 0), mark(0, 1)]);
    let late = Published { sent_at: at(100), ..published(mark(0, 2), Outcome::Acknowledged) };
    judge.take(Observation::Published(late));
    judge.take(Observation::Received(A, CHANNEL, mark(0, 1), at(120)));
    judge.take(Observation::Received(A, CHANNEL, mark(0, 2), at(350)));
    let first = judge.deliveries.first_after(&[CHANNEL, 9], at(90));
    assert_eq!(first, [Some(at(260)), None]);
}

#[test]
fn closes_are_counted_by_code_and_found_by_node() {
    let mut judge = judge(&[A, B]);
    assert_eq!(judge.connections(0), [A, B]);
    close(&mut judge, A, Some(4200), 5);
    let ours = Closed { connection: B, code: None, at: at(6), is_ours: true };
    judge.take(Observation::Closed(ours));
    assert_eq!(judge.closed().count(), 1);
    assert_eq!(judge.verdict(Terms::default()).codes, [("4200".to_owned(), 1)].into());
    assert_eq!(judge.open().count(), 0);
}

#[test]
fn the_largest_wave_is_found() {
    let ends = [at(0), at(10), at(249), at(300), at(1_000)];
    assert_eq!(largest_wave(ends.into(), at(250)), 3);
    assert_eq!(largest_wave(Vec::new(), at(250)), 0);
}

/// Both sides of a cut serve: what is sequenced on each of them can stand in two orders. When it is over
/// one of the ways ends, and those who came it are closed.
#[test]
fn two_sides_of_a_cut_may_have_two_orders_until_it_is_over() {
    let reordered = vec![(Fault::Reordered, 1)];
    let cases = [
        (1, true, 0, vec![]),
        (1, false, 0, reordered.clone()),
        (1, true, 200, reordered.clone()),
        (0, true, 0, reordered),
    ];
    for (node, is_closed, since, expected) in cases {
        let mut judge = judge(&[A]);
        judge.take(Observation::Opened(B, node));
        subscribe(&mut judge, B, since);
        judge.heal(Heal { at: at(100), sides: vec![vec![1], vec![0, 2]] });
        let (one, other) = (mark(0, 0), mark(1, 0));
        acknowledge(&mut judge, &[one, other]);
        receive(&mut judge, A, &[one, other]);
        receive(&mut judge, B, &[other, one]);
        if is_closed {
            close(&mut judge, B, Some(4200), 300);
        }
        let found = faults(&mut judge, CUT);
        assert_eq!(found, expected, "B at node {node} since {since}, closed: {is_closed}");
    }
}
