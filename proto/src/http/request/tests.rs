//! Bodies of publishes: what is read from good ones and what is said of bad ones.

use super::*;
use crate::app::Secret;
use crate::name::AppId;

fn app() -> App {
    App::new(AppId::parse("app").unwrap(), "key", Secret::new("secret"))
}

fn event(body: &str) -> Result<Item, Refusal> {
    PublishRequest::event(body.as_bytes(), &app()).map(|request| request.items[0].clone())
}

#[test]
fn data_arrives_byte_equal() {
    let text = |item: Item| match item.event.data {
        Data::Text(text) => text.to_string(),
        Data::Json(json) => panic!("published as JSON: {json}"),
    };
    let body = r#"{"name":"e","channel":"c","data":"{\"a\": [1,  2], \"ü\":\"\\u00e9\"}"}"#;
    assert_eq!(text(event(body).unwrap()), r#"{"a": [1,  2], "ü":"\u00e9"}"#);
    let body = r#"{"name":"e","channel":"c","data":{"a": [1,  2.50]}}"#;
    assert_eq!(text(event(body).unwrap()), r#"{"a": [1,  2.50]}"#);
}

#[test]
fn channels_are_a_list_or_one_and_each_counts_once() {
    let names = |body: &str| -> Vec<String> {
        event(body).unwrap().channels.iter().map(ToString::to_string).collect()
    };
    assert_eq!(names(r#"{"name":"e","data":"","channels":["a","b","a"]}"#), ["a", "b"]);
    assert_eq!(
        names(r##"{"name":"e","data":"","channel":"#server-to-user-7"}"##),
        ["#server-to-user-7"]
    );
}

#[test]
fn a_bad_body_says_what_is_wrong_and_publishes_nothing() {
    let many: Vec<String> = (0..101).map(|n| format!("\"c{n}\"")).collect();
    let cases = [
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "missing field `name`"),
        (r#"{"name":"e","channel":"c"}"#, "missing field `data`"),
        (r#"{"name":"e","data":""}"#, "`channels` is needed"),
        (r#"{"name":"e","data":"","channels":[]}"#, "`channels` is needed"),
        (r#"{"name":"","data":"","channel":"c"}"#, "the event name is empty"),
        (r#"{"name":"e","data":"","channel":"a b"}"#, "not allowed at byte 1"),
        (r##"{"name":"e","data":"","channels":["a","#x"]}"##, "not allowed at byte 0"),
        (r#"{"name":"e","data":"","channel":"c","socket_id":"1"}"#, "two numbers"),
        (r#"{"name":"pusher:x","data":"","channel":"c"}"#, "cannot begin"),
        (r#"{"name":"pusher_internal:x","data":"","channel":"c"}"#, "cannot begin"),
        (r#"{"name":"e","data":"","channels":["private-encrypted-a","b"]}"#, "own key"),
        (&format!(r#"{{"name":"e","data":"","channels":[{}]}}"#, many.join(",")), "limit is 100"),
        (&format!(r#"{{"name":"e","data":{}}}"#, "[".repeat(70)), "64 levels"),
        (&format!(r#"{{"name":"{}","data":"","channel":"c"}}"#, "e".repeat(201)), "201 bytes"),
        (&format!(r#"{{"name":"e","data":"","channel":"{}"}}"#, "c".repeat(201)), "201 bytes"),
        (
            &format!(r#"{{"name":"e","data":"{}","channel":"c"}}"#, "d".repeat(10_241)),
            "10241 bytes",
        ),
        (r#"{"name":"e","data":"","channel":"c","idempotency_key":""}"#, "1 to 256 bytes"),
    ];
    for (body, expected) in cases {
        let refusal = event(body).unwrap_err().to_string();
        let short = &body[..body.len().min(80)];
        assert!(refusal.contains(expected), "{short}: {refusal}");
    }
    let limit = format!(r#"{{"name":"e","data":"{}","channel":"c"}}"#, "d".repeat(10_240));
    assert!(event(&limit).is_ok());
    assert!(PublishRequest::event(b"\xff", &app()).is_err());
}

#[test]
fn a_batch_has_one_to_ten_events_of_one_channel_each() {
    let batch = |count: usize| {
        let events = vec![r#"{"name":"e","channel":"c","data":"x"}"#; count].join(",");
        PublishRequest::batch(format!(r#"{{"batch":[{events}]}}"#).as_bytes(), &app())
    };
    assert!(batch(0).is_err());
    assert_eq!(batch(10).unwrap().publishes(), 10);
    assert!(batch(11).is_err());
    let one_bad = br#"{"batch":[{"name":"e","channel":"c","data":"x"},{"name":"e","channel":"!","data":"x"}]}"#;
    assert!(PublishRequest::batch(one_bad, &app()).is_err());
    let two = br#"{"batch":[{"name":"e","channels":["c","d"],"data":"x"}]}"#;
    assert!(PublishRequest::batch(two, &app()).is_err());
}

#[test]
fn user_counts_are_for_presence_channels() {
    let query = |text: &str| ChannelsQuery::parse(&Query::parse(text).unwrap());
    assert!(query("info=user_count").is_err());
    assert!(query("info=user_count&filter_by_prefix=private-").is_err());
    assert!(query("info=user_count,subscription_count&filter_by_prefix=presence-x").is_ok());
}

#[test]
fn a_page_has_1_to_1000_channels_and_begins_after_a_name() {
    let page = |text: &str| {
        ChannelsQuery::parse(&Query::parse(text).unwrap())
            .map(|query| (query.page.limit, query.page.after.map(|name| name.to_string())))
            .map_err(|refusal| refusal.to_string())
    };
    assert_eq!(page(""), Ok((None, None)));
    assert_eq!(page("limit=1"), Ok((Some(1), None)));
    assert_eq!(page("limit=1000&after=room-9"), Ok((Some(1000), Some("room-9".into()))));
    for limit in ["0", "1001", "-1", "ten", ""] {
        let refusal = page(&format!("limit={limit}")).unwrap_err();
        assert_eq!(refusal, format!("`limit` is a number from 1 to 1000, not `{limit}`"));
    }
    for after in ["", "a%20b"] {
        let refusal = page(&format!("after={after}")).unwrap_err();
        assert!(refusal.starts_with("`after` is the name of a channel: "), "{refusal}");
    }
}
