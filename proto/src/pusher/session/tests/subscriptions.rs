//! Who is let into which channel.

use super::*;

#[test]
fn public_channels_need_no_auth_and_data_may_be_a_string() {
    let mut client = Client::new(app());
    check(
        &mut client,
        r#"{"event":"pusher:subscribe","data":{"channel":"room","auth":""}}"#,
        expect![[r#"
            (join room Subscriber(None))
        "#]],
    );
    check(
        &mut client,
        r#"{"event":"pusher:subscribe","data":"{\"channel\":\"other\"}"}"#,
        expect![[r#"
            (join other Subscriber(None))
        "#]],
    );
    check(
        &mut client,
        r#"{"event":"pusher:unsubscribe","data":{"channel":"room"}}"#,
        expect![[r#"
        (unsubscribe room)
    "#]],
    );
    check(&mut client, r#"{"event":"pusher:unsubscribe","data":{"channel":"room"}}"#, expect![]);
}

#[test]
fn guarded_channels_are_joined_with_their_signature_only() {
    let mut client = Client::new(app());
    expect![[r#"
        (join private-room Subscriber(None))
    "#]]
    .assert_eq(&client.subscribe("private-room", None));
    expect![[r#"
        (join private-encrypted-room Subscriber(None))
    "#]]
    .assert_eq(&client.subscribe("private-encrypted-room", None));
    expect![[r#"
        (join user:42 Subscriber(None))
    "#]]
    .assert_eq(&client.subscribe("user:42", None));
    expect![[r#"
        (join presence-room as 10 no info)
    "#]]
    .assert_eq(&client.subscribe("presence-room", Some(r#"{"user_id":10}"#)));
    for channel in ["private-x", "presence-x", "private-cache-x", "presence-cache-x", "system:x"] {
        for auth in ["", "key:", "key:00", "other:00", "key", "key:\u{e9}"] {
            let request = serde_json::json!({
                "event": "pusher:subscribe",
                "data": { "channel": channel, "auth": auth, "channel_data": "{\"user_id\":\"u\"}" },
            });
            let answer = client.send(&request.to_string());
            assert!(answer.starts_with(r#"{"event":"pusher:subscription_error""#), "{answer}");
            assert!(answer.contains(r#""type":"AuthError""#) && answer.contains(r#""status":401"#));
        }
    }
}

#[test]
fn a_signature_covers_the_socket_the_channel_and_the_exact_data() {
    let secret = Secret::new(SECRET);
    let data = r#"{"user_id":"u1","user_info":{"a":1}}"#;
    let cases = [
        ("1.2", "presence-b", data),
        ("9.9", "presence-a", data),
        ("1.2", "presence-a", r#"{"user_info":{"a":1},"user_id":"u1"}"#),
        ("1.2", "presence-a", r#"{"user_id":"u1","user_info":{"a":1}} "#),
        ("1.2", "presence-a", r#"{"user_id":"u2","user_info":{"a":1}}"#),
    ];
    for (socket, channel, signed) in cases {
        let auth = auth::subscription(("key", &secret), socket, channel, Some(signed));
        let mut client = Client::new(app());
        let request = serde_json::json!({
            "event": "pusher:subscribe",
            "data": { "channel": "presence-a", "auth": auth, "channel_data": data },
        });
        let answer = client.send(&request.to_string());
        assert!(
            answer.contains("pusher:subscription_error"),
            "{socket} {channel} {signed}: {answer}"
        );
    }
}

#[test]
fn both_secrets_are_good_during_a_rotation_and_only_they() {
    let rotating = |secrets: &[&str]| {
        let secrets = secrets.iter().map(|&secret| Secret::new(secret)).collect();
        let mut client = Client::new(App { secrets, ..app() });
        client.subscribe("private-room", None)
    };
    assert!(rotating(&["new", SECRET]).starts_with("(join"));
    assert!(rotating(&[SECRET, "old"]).starts_with("(join"));
    assert!(rotating(&["new", "old"]).contains("subscription_error"));
}

#[test]
fn names_and_limits_are_refused_with_the_channel_and_the_reason() {
    let mut client = Client::new(App {
        channels: vec!["room*".into()],
        limits: Limits { channels_per_connection: 1, channel_name_bytes: 10, ..Limits::default() },
        ..app()
    });
    let subscribe = |channel: &str| {
        format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{channel}"}}}}"#)
    };
    check(
        &mut client,
        &subscribe("room"),
        expect![[r#"
        (join room Subscriber(None))
    "#]],
    );
    check(
        &mut client,
        &subscribe("room2"),
        expect![[r#"
        {"event":"pusher:subscription_error","channel":"room2","data":{"type":"LimitReached","error":"channels of a connection: the limit is 1 (limit `channels_per_connection`)","status":4100}}
    "#]],
    );
    check(
        &mut client,
        &subscribe("room-too-long"),
        expect![[r#"
        {"event":"pusher:subscription_error","channel":"room-too-long","data":{"type":"LimitReached","error":"the channel name has 13 bytes, the limit is 10 (limit `channel_name_bytes`)","status":4009}}
    "#]],
    );
    check(
        &mut client,
        &subscribe("ro om"),
        expect![[r#"
        {"event":"pusher:subscription_error","channel":"ro om","data":{"type":"InvalidRequest","error":"the channel name has a character that is not allowed at byte 2; allowed: A-Z a-z 0-9 _ - = @ , . ; :","status":400}}
    "#]],
    );
    check(
        &mut client,
        &subscribe("hall"),
        expect![[r#"
        {"event":"pusher:subscription_error","channel":"hall","data":{"type":"InvalidRequest","error":"this app has no channels of that name","status":400}}
    "#]],
    );
    check(
        &mut client,
        &subscribe("room"),
        expect![[r#"
        (join room Subscriber(None))
    "#]],
    );
}

#[test]
fn a_refusal_by_the_channel_reaches_the_client_and_makes_room() {
    let mut client = Client::new(app());
    client.subscribe("presence-room", Some(r#"{"user_id":"u"}"#));
    let refused = |request, refusal| Input::Refused {
        channel: ChannelName::parse("presence-room").unwrap(),
        request,
        refusal,
    };
    let join = Request::Join { role: Role::Subscriber(None), since: None };
    expect![[r#"
        {"event":"pusher:subscription_error","channel":"presence-room","data":{"type":"LimitReached","error":"the channel has 100 members, which is its limit (limit `presence_members`)","status":4100}}
    "#]].assert_eq(&client.apply(refused(join, Refusal::PresenceFull { limit: 100 })));
    assert!(client.session.channels.is_empty());
    let name = crate::name::EventName::parse("client-x").unwrap();
    let publish = Request::Publish(Event { name, data: Data::Json("1".into()) });
    expect![[r#"
        {"event":"pusher:error","data":{"code":4303,"message":"the channel's owner did not answer in time; try again"}}
    "#]].assert_eq(&client.apply(refused(publish, Refusal::Unavailable)));
}

#[test]
fn user_info_has_a_limit() {
    let mut client = Client::new(app());
    let data =
        |bytes: usize| format!(r#"{{"user_id":"u","user_info":"{}"}}"#, "x".repeat(bytes - 2));
    assert!(client.subscribe("presence-a", Some(&data(1_024))).starts_with("(join"));
    expect![[r#"
        {"event":"pusher:subscription_error","channel":"presence-b","data":{"type":"LimitReached","error":"user_info has 1025 bytes, the limit is 1024 (limit `presence_member_bytes`)","status":4301}}
    "#]].assert_eq(&client.subscribe("presence-b", Some(&data(1_025))));
}
