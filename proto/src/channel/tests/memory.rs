//! What a channel remembers, and for whom.

use expect_test::expect;

use super::check;

#[test]
fn a_cache_channel_gives_its_last_event_until_it_is_too_old() {
    check(
        "cache-room",
        "join 1 1
         join 1 2
         publish a
         publish b
         join 1 3
         inspect
         wait 1799
         inspect
         wait 1
         inspect
         join 1 4",
        expect![[r#"
            > join 1 1
              webhook ChannelOccupied
              webhook CacheMiss
              n1: welcome 1.0 @0 cache miss
            > join 1 2
              n1: welcome 2.0 @0 cache miss
            > publish a
              n1: @1 a
              = @1 to 2 (0)
            > publish b
              n1: @2 b
              = @2 to 2 (0)
            > join 1 3
              n1: welcome 3.0 @2 cached @2 b
            > inspect
              = 3 subscribers, 0 members @2 b 1800s
            > wait 1799
            > inspect
              = 3 subscribers, 0 members @2 b 1s
            > wait 1
            > inspect
              = 3 subscribers, 0 members
            > join 1 4
              webhook CacheMiss
              n1: welcome 4.0 @2 cache miss
        "#]],
    );
}

#[test]
fn history_is_bounded_in_events_bytes_and_time() {
    let long = "x".repeat(99);
    check(
        "room",
        &format!(
            "join 1 1
             publish a
             publish b
             publish c
             publish d
             history
             publish {long}
             history
             wait 120
             history"
        ),
        expect![[r#"
            > join 1 1
              webhook ChannelOccupied
              n1: welcome 1.0 @0
            > publish a
              n1: @1 a
              = @1 to 1 (0)
            > publish b
              n1: @2 b
              = @2 to 1 (0)
            > publish c
              n1: @3 c
              = @3 to 1 (0)
            > publish d
              n1: @4 d
              = @4 to 1 (0)
            > history
              [@2 b, @3 c, @4 d]
            > publish xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
              n1: @5 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
              = @5 to 1 (0)
            > history
              [@4 d, @5 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx]
            > wait 120
            > history
              []
        "#]],
    );
}

#[test]
fn an_empty_channel_is_kept_for_those_who_come_back() {
    check(
        "room",
        "idle?
         join 1 1
         leave 1 1
         idle?
         publish missed
         history
         wait 119
         told
         idle?
         wait 1
         idle?",
        expect![[r#"
            > idle?
              true
            > join 1 1
              webhook ChannelOccupied
              n1: welcome 1.0 @0
            > leave 1 1
            > idle?
              false
            > publish missed
              = @1 to 0 (0)
            > history
              [@1 missed]
            > wait 119
              webhook ChannelVacated
            > told
            > idle?
              false
            > wait 1
            > idle?
              true
        "#]],
    );
}

#[test]
fn a_watched_channel_that_was_left_waits_for_nothing() {
    check(
        "#server-to-user-ana",
        "watch 1 1
         join 1 2
         leave 1 2
         wait 120
         idle?
         leave 1 1
         idle?",
        expect![[r#"
            > watch 1 1
              n1: welcome 1.0 @0 online false
            > join 1 2
              n1: welcome 2.0 @0
            > leave 1 2
            > wait 120
            > idle?
              false
            > leave 1 1
            > idle?
              true
        "#]],
    );
}

#[test]
fn who_comes_back_gets_what_it_missed_or_hears_of_a_gap() {
    check(
        "room",
        "join 1 1
         publish a
         publish b but 9
         publish c
         rejoin 2 2 1
         rejoin 2 9 1
         rejoin 2 3 3
         publish d
         rejoin 2 4 0
         rejoin 2 5 1
         rejoin 2 6 9",
        expect![[r#"
            > join 1 1
              webhook ChannelOccupied
              n1: welcome 1.0 @0
            > publish a
              n1: @1 a
              = @1 to 1 (0)
            > publish b but 9
              n1: @2 b but 9.0
              = @2 to 1 (0)
            > publish c
              n1: @3 c
              = @3 to 1 (0)
            > rejoin 2 2 1
              n2: welcome 2.0 @3 missed [@2 b but 9.0, @3 c]
            > rejoin 2 9 1
              n2: welcome 9.0 @3 missed [@3 c]
            > rejoin 2 3 3
              n2: welcome 3.0 @3 missed []
            > publish d
              n1: @4 d
              n2: @4 d
              = @4 to 4 (0)
            > rejoin 2 4 0
              n2: welcome 4.0 @4 gap
            > rejoin 2 5 1
              n2: welcome 5.0 @4 missed [@2 b but 9.0, @3 c, @4 d]
            > rejoin 2 6 9
              n2: welcome 6.0 @4 gap
        "#]],
    );
}

#[test]
fn what_has_expired_is_not_given_to_who_comes_back() {
    check(
        "room",
        "join 1 1
         publish short for 10
         publish long for 60
         wait 10
         rejoin 2 2 0",
        expect![[r#"
            > join 1 1
              webhook ChannelOccupied
              n1: welcome 1.0 @0
            > publish short for 10
              n1: @1 short
              = @1 to 1 (0)
            > publish long for 60
              n1: @2 long
              = @2 to 1 (0)
            > wait 10
            > rejoin 2 2 0
              n2: welcome 2.0 @2 missed [@2 long]
        "#]],
    );
}

#[test]
fn a_place_of_an_earlier_owner_is_gone_on_from() {
    check(
        "cache-room",
        "join 1 1
         publish a
         rejoin 2 2 1
         takeover 5
         publish b
         rejoin 2 3 1
         rejoin 2 4 2",
        expect![[r#"
            > join 1 1
              webhook ChannelOccupied
              webhook CacheMiss
              n1: welcome 1.0 @0 cache miss
            > publish a
              n1: @1 a
              = @1 to 1 (0)
            > rejoin 2 2 1
              n2: welcome 2.0 @1 missed []
            > takeover 5
            > publish b
              n1: @2 b
              n2: @2 b
              = @2 to 2 (0)
            > rejoin 2 3 1
              n2: welcome 3.0 @2 missed [@2 b]
            > rejoin 2 4 2
              n2: welcome 4.0 @2 missed []
        "#]],
    );
}
