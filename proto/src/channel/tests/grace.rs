//! Members whose connections may be lost for a while.

use expect_test::expect;

use super::check;

#[test]
fn a_user_with_a_grace_stays_until_it_is_over() {
    check(
        "presence-room",
        "join 1 1 ana with 3
         join 1 2 ben
         leave 1 1
         inspect
         idle?
         wait 2
         wait 1
         wait 3",
        expect![[r#"
            > join 1 1 ana with 3
              webhook ChannelOccupied
              webhook MemberAdded { user_id: "ana" }
              n1: welcome 1.0 @0 members ana
            > join 1 2 ben
              n1: +ben but 2.0
              webhook MemberAdded { user_id: "ben" }
              n1: welcome 2.0 @0 members ana,ben
            > leave 1 1
            > inspect
              = 1 subscribers, 2 members
            > idle?
              false
            > wait 2
            > wait 1
              n1: -ana
            > wait 3
              webhook MemberRemoved { user_id: "ana" }
        "#]],
    );
}

#[test]
fn who_comes_back_in_time_has_never_been_gone() {
    check(
        "presence-room",
        "join 1 1 ana with 3
         join 1 2 ben
         lost 1
         join 2 3 ana with 3
         wait 4
         leave 2 3
         join 2 4 ana
         leave 2 4
         wait 3",
        expect![[r#"
            > join 1 1 ana with 3
              webhook ChannelOccupied
              webhook MemberAdded { user_id: "ana" }
              n1: welcome 1.0 @0 members ana
            > join 1 2 ben
              n1: +ben but 2.0
              webhook MemberAdded { user_id: "ben" }
              n1: welcome 2.0 @0 members ana,ben
            > lost 1
            > join 2 3 ana with 3
              n2: welcome 3.0 @0 members ana
            > wait 4
              webhook MemberRemoved { user_id: "ben" }
            > leave 2 3
            > join 2 4 ana
              n2: welcome 4.0 @0 members ana
            > leave 2 4
            > wait 3
              webhook MemberRemoved { user_id: "ana" }
              webhook ChannelVacated
        "#]],
    );
}

#[test]
fn who_leaves_by_itself_has_no_grace() {
    check(
        "presence-room",
        "join 1 1 ana with 3
         join 1 2 ben
         unsubscribe 1 1
         wait 3",
        expect![[r#"
            > join 1 1 ana with 3
              webhook ChannelOccupied
              webhook MemberAdded { user_id: "ana" }
              n1: welcome 1.0 @0 members ana
            > join 1 2 ben
              n1: +ben but 2.0
              webhook MemberAdded { user_id: "ben" }
              n1: welcome 2.0 @0 members ana,ben
            > unsubscribe 1 1
              n1: -ana
            > wait 3
              webhook MemberRemoved { user_id: "ana" }
        "#]],
    );
}

#[test]
fn the_same_connection_that_is_heard_of_again_stays() {
    check(
        "presence-room",
        "join 1 1 ana with 3
         join 2 2 ben
         leave 1 1
         join 1 1 ana with 3
         wait 4
         leave 1 1
         wait 3
         idle?",
        expect![[r#"
            > join 1 1 ana with 3
              webhook ChannelOccupied
              webhook MemberAdded { user_id: "ana" }
              n1: welcome 1.0 @0 members ana
            > join 2 2 ben
              n1: +ben but 2.0
              n2: +ben but 2.0
              webhook MemberAdded { user_id: "ben" }
              n2: welcome 2.0 @0 members ana,ben
            > leave 1 1
            > join 1 1 ana with 3
              n1: welcome 1.0 @0 members ana,ben
            > wait 4
            > leave 1 1
            > wait 3
              n2: -ana
            > idle?
              false
        "#]],
    );
}

#[test]
fn an_empty_channel_is_not_forgotten_while_a_user_may_come_back() {
    check(
        "presence-room",
        "join 1 1 ana with 200
         leave 1 1
         wait 150
         told
         idle?
         wait 50
         wait 3
         told
         idle?",
        expect![[r#"
            > join 1 1 ana with 200
              webhook ChannelOccupied
              webhook MemberAdded { user_id: "ana" }
              n1: welcome 1.0 @0 members ana
            > leave 1 1
            > wait 150
            > told
            > idle?
              false
            > wait 50
            > wait 3
              webhook MemberRemoved { user_id: "ana" }
              webhook ChannelVacated
            > told
            > idle?
              true
        "#]],
    );
}

#[test]
fn a_channel_of_one_who_comes_and_goes_is_occupied_all_the_time() {
    check(
        "presence-room",
        "join 1 1 ana with 10
         leave 1 1
         wait 9
         join 1 2 ana with 10
         leave 1 2
         wait 9
         join 2 3 ana with 10
         unsubscribe 2 3
         wait 3",
        expect![[r#"
            > join 1 1 ana with 10
              webhook ChannelOccupied
              webhook MemberAdded { user_id: "ana" }
              n1: welcome 1.0 @0 members ana
            > leave 1 1
            > wait 9
            > join 1 2 ana with 10
              n1: welcome 2.0 @0 members ana
            > leave 1 2
            > wait 9
            > join 2 3 ana with 10
              n2: welcome 3.0 @0 members ana
            > unsubscribe 2 3
            > wait 3
              webhook MemberRemoved { user_id: "ana" }
              webhook ChannelVacated
        "#]],
    );
}

#[test]
fn a_channel_is_vacated_when_the_last_who_may_come_back_does_not() {
    check(
        "presence-room",
        "join 1 1 ana with 10
         join 1 2 ben
         leave 1 1
         leave 1 2
         wait 9
         wait 1
         wait 3",
        expect![[r#"
            > join 1 1 ana with 10
              webhook ChannelOccupied
              webhook MemberAdded { user_id: "ana" }
              n1: welcome 1.0 @0 members ana
            > join 1 2 ben
              n1: +ben but 2.0
              webhook MemberAdded { user_id: "ben" }
              n1: welcome 2.0 @0 members ana,ben
            > leave 1 1
            > leave 1 2
            > wait 9
              webhook MemberRemoved { user_id: "ben" }
            > wait 1
            > wait 3
              webhook MemberRemoved { user_id: "ana" }
              webhook ChannelVacated
        "#]],
    );
}
