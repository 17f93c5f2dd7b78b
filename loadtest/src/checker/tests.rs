//! Lost, duplicated, reordered and strayed, with subscribers who stay and who come and go.

use super::*;

/// Subscriber 0 gets streams 0 and 1; what is wrong after these (stream, number) arrived.
fn check(lengths: [u32; 2], arrivals: &[(u32, u32)]) -> Faults {
    let mut checker = Checker::new(vec![0], 2, lengths.into());
    for &(stream, number) in arrivals {
        checker.take(0, Mark { stream, number });
    }
    checker.faults()
}

#[test]
fn everything_once_and_in_order_is_clean() {
    assert!(check([2, 1], &[(0, 0), (1, 0), (0, 1)]).is_clean());
    assert!(check([0, 0], &[]).is_clean());
}

#[test]
fn what_never_comes_is_lost_in_the_middle_and_at_the_end() {
    let faults = check([4, 1], &[(0, 0), (0, 2)]);
    let expected = Faults { lost: 3, ..Faults::default() };
    assert_eq!(faults, expected);
    let mut checker = Checker::new(vec![4], 2, vec![0, 0, 0, 0, 2, 3]);
    checker.take(0, Mark { stream: 5, number: 1 });
    let mut lost = Vec::new();
    checker.each_lost(|Mark { stream, number }| lost.push((stream, number)));
    lost.sort_unstable();
    assert_eq!(lost, [(4, 0), (4, 1), (5, 0), (5, 2)]);
}

#[test]
fn what_comes_again_is_duplicated() {
    let faults = check([2, 0], &[(0, 0), (0, 0), (0, 1), (0, 0)]);
    let expected = Faults { duplicated: 2, ..Faults::default() };
    assert_eq!(faults, expected);
}

#[test]
fn what_comes_late_is_reordered_once_and_duplicated_after() {
    let faults = check([3, 0], &[(0, 2), (0, 0), (0, 1), (0, 1)]);
    let expected = Faults { reordered: 2, duplicated: 1, ..Faults::default() };
    assert_eq!(faults, expected);
}

#[test]
fn streams_do_not_disturb_each_other() {
    assert!(check([2, 2], &[(1, 0), (1, 1), (0, 0), (0, 1)]).is_clean());
}

#[test]
fn what_is_not_for_a_subscriber_strays() {
    let mut checker = Checker::new(vec![0, 1], 1, vec![1, 1]);
    let mark = |stream, number| Mark { stream, number };
    assert_eq!(checker.take(0, mark(0, 0)), Taken::InOrder);
    assert_eq!(checker.take(0, mark(1, 0)), Taken::Never);
    assert_eq!(checker.take(1, mark(1, 1)), Taken::Never);
    assert_eq!(checker.take(1, mark(9, 0)), Taken::Never);
    assert_eq!(checker.take(1, mark(1, 0)), Taken::InOrder);
    let expected = Faults { strayed: 3, ..Faults::default() };
    assert_eq!(checker.faults(), expected);
}

#[test]
fn who_comes_may_get_what_was_published_meanwhile_and_must_get_what_follows() {
    let mark = |number| Mark { stream: 0, number };
    // Three are published, then the subscriber has come, and two more follow.
    let arrivals: [(&[u32], Faults); 5] = [
        (&[3, 4], Faults::default()),
        (&[2, 3, 4], Faults::default()),
        (&[1, 3, 4], Faults { lost: 1, ..Faults::default() }),
        (&[4], Faults { lost: 1, ..Faults::default() }),
        (&[3, 2, 4], Faults { duplicated: 1, ..Faults::default() }),
    ];
    for (numbers, expected) in arrivals {
        let mut checker = Checker::of_absent(vec![0], 1, 1);
        (0..3).for_each(|number| assert_eq!(checker.publish(0), number));
        checker.join(0);
        checker.publish(0);
        checker.publish(0);
        assert_eq!(checker.outstanding(), 2);
        for &number in numbers {
            checker.take(0, mark(number));
        }
        assert_eq!(checker.faults(), expected, "{numbers:?}");
        assert_eq!((checker.outstanding(), checker.owed(0)), (expected.lost, expected.lost));
    }
}

#[test]
fn who_goes_is_judged_up_to_the_last_that_it_got() {
    let mut checker = Checker::of_absent(vec![0, 0], 1, 1);
    checker.join(0);
    (0..5).for_each(|number| assert_eq!(checker.publish(0), number));
    checker.take(0, Mark { stream: 0, number: 0 });
    checker.take(0, Mark { stream: 0, number: 2 });
    checker.leave(0);
    let lost = Faults { lost: 1, ..Faults::default() };
    assert_eq!((checker.faults(), checker.outstanding()), (lost, 0));
    // It comes again, and owes nothing to its former self.
    checker.join(0);
    assert_eq!(checker.take(0, Mark { stream: 0, number: checker.lengths[0] - 1 }), Taken::InOrder);
    assert_eq!((checker.faults(), checker.outstanding()), (lost, 0));
    // Whoever is not there gets nothing.
    assert_eq!(checker.take(1, Mark { stream: 0, number: 0 }), Taken::Never);
    assert_eq!(checker.faults().strayed, 1);
}

#[test]
fn nobody_gets_a_stream_of_their_own() {
    let mut checker = Checker::of_absent(vec![4, 4], 2, 6);
    checker.join(0);
    checker.join(1);
    checker.excuse(0, 5);
    checker.publish(5);
    assert_eq!(checker.outstanding(), 1);
    assert_eq!(checker.take(1, Mark { stream: 5, number: 0 }), Taken::InOrder);
    assert!(checker.faults().is_clean());
    assert_eq!(checker.take(0, Mark { stream: 5, number: 0 }), Taken::Never);
    assert_eq!(checker.faults().strayed, 1);
}
