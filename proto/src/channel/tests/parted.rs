//! Two nodes have served a channel, and it is one again.

use expect_test::expect;

use super::check;

#[test]
fn who_comes_from_before_is_told_that_the_other_way_is_lost() {
    check(
        "room",
        "join 1 1
         publish both
         reunite other
         rejoin 1 2 1 of 1
         rejoin 1 3 1
         publish on
         rejoin 1 4 1
         rejoin 1 5 1 of 1",
        expect![[r#"
            > join 1 1
              webhook ChannelOccupied
              n1: welcome 1.0 @0
            > publish both
              n1: @1 both
              = @1 to 1 (0)
            > reunite other
              n1: resumed at 1
            > rejoin 1 2 1 of 1
              n1: welcome 2.0 @1 gap
            > rejoin 1 3 1
              n1: welcome 3.0 @1 missed []
            > publish on
              n1: @2 on
              = @2 to 3 (0)
            > rejoin 1 4 1
              n1: welcome 4.0 @2 missed [@2 on]
            > rejoin 1 5 1 of 1
              n1: welcome 5.0 @2 gap
        "#]],
    );
}

/// A node that is cut off for a moment has the only subscribers of a channel that was begun from what it
/// said.
#[test]
fn who_is_back_before_the_going_was_told_has_not_gone() {
    check(
        "presence-room",
        "forgotten
         resync 1 1 ana
         lost 1
         wait 2
         resync 1 1 ana
         wait 5",
        expect![[r#"
            > forgotten
            > resync 1 1 ana
              n1: resumed at 7
            > lost 1
            > wait 2
            > resync 1 1 ana
              n1: resumed at 7
            > wait 5
        "#]],
    );
}

#[test]
fn who_is_back_after_the_going_was_told_is_told_again() {
    check(
        "presence-room",
        "forgotten
         resync 1 1 ana
         lost 1
         wait 3
         resync 1 1 ana",
        expect![[r#"
            > forgotten
            > resync 1 1 ana
              n1: resumed at 7
            > lost 1
            > wait 3
              webhook MemberRemoved { user_id: "ana" }
              webhook ChannelVacated
            > resync 1 1 ana
              webhook ChannelOccupied
              webhook MemberAdded { user_id: "ana" }
              n1: resumed at 7
        "#]],
    );
}
