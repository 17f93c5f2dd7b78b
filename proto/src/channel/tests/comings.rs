//! Who comes and goes, and who is told of it.

use expect_test::expect;

use super::check;

#[test]
fn a_second_join_is_welcomed_and_not_announced() {
    check(
        "presence-room",
        "join 1 1 ana
         join 1 1 ana
         join 1 2 ana
         join 2 3 ben
         join 2 4 cem
         unsubscribe 1 1
         leave 1 2
         inspect",
        expect![[r#"
            > join 1 1 ana
              webhook ChannelOccupied
              webhook MemberAdded { user_id: "ana" }
              n1: welcome 1.0 @0 members ana
            > join 1 1 ana
              n1: welcome 1.0 @0 members ana
            > join 1 2 ana
              n1: welcome 2.0 @0 members ana
            > join 2 3 ben
              n1: +ben but 3.0
              n2: +ben but 3.0
              webhook MemberAdded { user_id: "ben" }
              n2: welcome 3.0 @0 members ana,ben
            > join 2 4 cem
              = refused: the channel has 2 members, which is its limit (limit `presence_members`)
            > unsubscribe 1 1
            > leave 1 2
              n2: -ana
            > inspect
              = 1 subscribers, 1 members
        "#]],
    );
}

#[test]
fn a_return_within_three_seconds_is_no_event_for_the_application() {
    check(
        "presence-room",
        "join 1 1 ana
         leave 1 1
         wait 2
         join 1 2 ana
         wait 3
         leave 1 2
         wait 3",
        expect![[r#"
            > join 1 1 ana
              webhook ChannelOccupied
              webhook MemberAdded { user_id: "ana" }
              n1: welcome 1.0 @0 members ana
            > leave 1 1
            > wait 2
            > join 1 2 ana
              n1: welcome 2.0 @0 members ana
            > wait 3
            > leave 1 2
            > wait 3
              webhook MemberRemoved { user_id: "ana" }
              webhook ChannelVacated
        "#]],
    );
}

#[test]
fn a_lost_relay_takes_its_connections_and_members_with_it() {
    check(
        "presence-room",
        "join 1 1 ana
         join 2 2 ana
         join 2 3 ben
         lost 2
         inspect",
        expect![[r#"
            > join 1 1 ana
              webhook ChannelOccupied
              webhook MemberAdded { user_id: "ana" }
              n1: welcome 1.0 @0 members ana
            > join 2 2 ana
              n2: welcome 2.0 @0 members ana
            > join 2 3 ben
              n1: +ben but 3.0
              n2: +ben but 3.0
              webhook MemberAdded { user_id: "ben" }
              n2: welcome 3.0 @0 members ana,ben
            > lost 2
              n1: -ben
            > inspect
              = 1 subscribers, 1 members
        "#]],
    );
}
