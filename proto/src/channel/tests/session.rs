//! Channels that stand for sessions.

use expect_test::expect;

use super::check;

#[test]
fn two_connections_do_not_hold_one_session() {
    check(
        "#session-a",
        "signin 1 1
         signin 2 2
         signin 1 1
         resync 2 waiting 2
         leave 1 1
         signin 2 2",
        expect![[r#"
            > signin 1 1
              n1: welcome 1.0 @0
            > signin 2 2
              = refused: another connection holds the session
            > signin 1 1
              n1: welcome 1.0 @0
            > resync 2 waiting 2
            > leave 1 1
            > signin 2 2
              n2: welcome 2.0 @0
        "#]],
    );
}

#[test]
fn a_user_signs_in_with_many_connections() {
    check(
        "#server-to-user-ana",
        "signin 1 1
         signin 2 2",
        expect![[r#"
            > signin 1 1
              n1: welcome 1.0 @0
            > signin 2 2
              n2: welcome 2.0 @0
        "#]],
    );
}
