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
