//! Channels of users: who is signed in, who watches, and notifications.

use expect_test::expect;

use super::check;

#[test]
fn a_notification_reaches_every_connection_of_its_user_once() {
    check(
        "#server-to-user-7",
        "signin 1 1
         signin 2 2
         join 2 2
         notify note
         publish event",
        expect![[r#"
            > signin 1 1
              n1: welcome 1.0 @0
            > signin 2 2
              n2: welcome 2.0 @0
            > join 2 2
              n2: welcome 2.0 @0
            > notify note
              n2: @1 note
              n1: notified note
              n2: notified note
              = @1 to 2 (0)
            > publish event
              n2: @2 event
              = @2 to 1 (0)
        "#]],
    );
    check(
        "room",
        "signin 1 1
         join 2 2
         notify note",
        expect![[r#"
            > signin 1 1
              n1: welcome 1.0 @0
            > join 2 2
              webhook ChannelOccupied
              n2: welcome 2.0 @0
            > notify note
              n2: @1 note
              = @1 to 1 (0)
        "#]],
    );
}

#[test]
fn watchers_see_the_first_signin_and_the_last_signout() {
    check(
        "#server-to-user-ana",
        "watch 1 1
         signin 1 2
         signin 2 3
         watch 2 4
         terminate
         leave 1 2
         leave 2 3",
        expect![[r#"
            > watch 1 1
              n1: welcome 1.0 @0 online false
            > signin 1 2
              n1: online true
              n1: welcome 2.0 @0
            > signin 2 3
              n2: welcome 3.0 @0
            > watch 2 4
              n2: welcome 4.0 @0 online true
            > terminate
              n1: terminate
              n2: terminate
            > leave 1 2
            > leave 2 3
              n1: online false
              n2: online false
        "#]],
    );
}
