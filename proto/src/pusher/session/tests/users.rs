//! Who signs in, and who is watched.

use super::*;

#[test]
fn a_signed_in_user_has_a_channel_and_joins_presence_without_channel_data() {
    let mut client = Client::new(app());
    let own = r##"{"event":"pusher:subscribe","data":{"channel":"#server-to-user-ana"}}"##;
    assert!(client.send(own).contains(r#""type":"AuthError""#));
    expect![[r#"
        {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"ana\",\"user_info\":{\"n\":1}}"}}
        (join #server-to-user-ana SignedIn)
    "#]].assert_eq(&client.sign_in(r#"{"id":"ana","user_info":{"n":1}}"#));
    check(
        &mut client,
        own,
        expect![[r#"
        (join #server-to-user-ana Subscriber(None))
    "#]],
    );
    let other = r##"{"event":"pusher:subscribe","data":{"channel":"#server-to-user-ben"}}"##;
    assert!(client.send(other).contains(r#""type":"AuthError""#));
    expect![[r#"
        (join presence-room as ana {"n":1})
    "#]]
    .assert_eq(&client.subscribe("presence-room", None));
    expect![[r#"
        {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"ana\"}"}}
    "#]]
    .assert_eq(&client.sign_in(r#"{"id":"ana"}"#));
    expect![[r#"
        {"event":"pusher:error","data":{"code":4009,"message":"the connection is signed in as another user"}}
    "#]].assert_eq(&client.sign_in(r#"{"id":"ben"}"#));
    expect![[r#"
        {"event":"pusher:error","data":{"code":4009,"message":"You got disconnected by the app."}}
        (close 4009 You got disconnected by the app.)
    "#]]
    .assert_eq(&client.apply(Input::Signal(Signal::Terminated)));
}

#[test]
fn a_signin_with_a_bad_signature_or_id_is_an_error() {
    let mut client = Client::new(app());
    let forged =
        r#"{"event":"pusher:signin","data":{"auth":"key:00","user_data":"{\"id\":\"ana\"}"}}"#;
    check(
        &mut client,
        forged,
        expect![[r#"
        {"event":"pusher:error","data":{"code":4009,"message":"the signature is wrong: it must cover this socket id, this channel and the same data"}}
    "#]],
    );
    for user_data in [r#"{"id":""}"#, r#"{"id":7}"#, "{}", "null", "x"] {
        let answer = client.sign_in(user_data);
        assert!(answer.starts_with(r#"{"event":"pusher:error","data":{"code":4009"#), "{answer}");
    }
    assert!(client.session.user.is_none());
}

#[test]
fn the_watchlist_is_told_in_one_message_and_then_by_change() {
    let limits = Limits { watchlist_users: 2, ..Limits::default() };
    let mut client = Client::new(App { limits, ..app() });
    expect![[r#"
        {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"ana\",\"watchlist\":[\"ben\",\"cem\",\"ben\",\"dan\"]}"}}
        (join #server-to-user-ana SignedIn)
        {"event":"pusher:error","data":{"code":4302,"message":"users on a watchlist: the limit is 2 (limit `watchlist_users`)"}}
        (join #server-to-user-ben Watcher)
        (join #server-to-user-cem Watcher)
    "#]].assert_eq(&client.sign_in(r#"{"id":"ana","watchlist":["ben","cem","ben","dan"]}"#));
    let mut watched = |user: &str, is_online| {
        let user = UserId::parse(user).unwrap();
        client.apply(Input::Signal(Signal::Watched { user, is_online }))
    };
    assert_eq!(watched("ben", true), "");
    expect![[r#"
        {"event":"pusher_internal:watchlist_events","data":{"events":[{"name":"online","user_ids":["ben"]},{"name":"offline","user_ids":["cem"]}]}}
    "#]].assert_eq(&watched("cem", false));
    expect![[r#"
        {"event":"pusher_internal:watchlist_events","data":{"events":[{"name":"online","user_ids":["cem"]}]}}
    "#]].assert_eq(&watched("cem", true));
}
