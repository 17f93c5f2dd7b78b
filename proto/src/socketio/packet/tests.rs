//! The packets of the protocol, the advisories of `socket.io-parser`, and whatever else may come.

use super::*;
use proptest::prelude::*;

fn packet(namespace: &str, body: Body) -> Packet {
    Packet { namespace: namespace.into(), body }
}

fn event(name: &str, json: &str, ack: Option<u64>) -> Body {
    Body::Event { name: name.into(), arguments: Arguments::of(json), ack }
}

#[track_caller]
fn reads(text: &str, namespace: &str, body: Body, attachments: usize) {
    let typed = Typed { packet: packet(namespace, body), attachments };
    assert_eq!(Typed::parse(text), Ok(typed), "{text}");
}

#[track_caller]
fn malformed(texts: &[&str]) {
    for text in texts {
        assert_eq!(Typed::parse(text), Err(Malformed), "{text}");
    }
}

#[test]
fn the_packets_of_the_protocol_read_and_write() {
    let token = || Some(r#"{"token":"x"}"#.to_owned());
    let ack = |json: &str| Body::Ack { id: 12, arguments: Arguments::of(json) };
    let error = r#"{"message":"Not authorized","data":{}}"#;
    for (text, namespace, body) in [
        ("0", "/", Body::Connect(None)),
        (r#"0{"token":"x"}"#, "/", Body::Connect(token())),
        (r#"0/admin,{"token":"x"}"#, "/admin", Body::Connect(token())),
        ("0/admin,", "/admin", Body::Connect(None)),
        ("1", "/", Body::Disconnect),
        ("1/admin,", "/admin", Body::Disconnect),
        (r#"2["name"]"#, "/", event("name", "[]", None)),
        (r#"2["name",{"a":[1]},2]"#, "/", event("name", r#"[{"a":[1]},2]"#, None)),
        (r#"212["name"]"#, "/", event("name", "[]", Some(12))),
        (r#"2/admin,12["n",null]"#, "/admin", event("n", "[null]", Some(12))),
        (r#"312["ok"]"#, "/", ack(r#"["ok"]"#)),
        ("3/admin,12[]", "/admin", ack("[]")),
        (r#"4{"message":"Not authorized","data":{}}"#, "/", Body::ConnectError(error.into())),
    ] {
        reads(text, namespace, body.clone(), 0);
        assert_eq!(packet(namespace, body).to_text(), text);
    }
}

#[test]
fn attachments_are_counted_and_stand_at_their_placeholders() {
    let json = r#"[{"_placeholder":true,"num":1},[{"_placeholder":true,"num":0}]]"#;
    let text = format!("52-/admin,7[\"f\",{}", &json[1..]);
    reads(&text, "/admin", event("f", json, Some(7)), 2);
    let whole = packet("/admin", event("f", json, Some(7))).with(vec![vec![1], vec![2]]);
    assert_eq!(whole.to_text(), text);
    assert_eq!(whole.attachments(), [vec![1], vec![2]]);

    let one = r#"[{"_placeholder":true,"num":0}]"#;
    let ack = Body::Ack { id: 7, arguments: Arguments::of(one) };
    reads(&format!("61-7{one}"), "/", ack.clone(), 1);
    assert_eq!(packet("/", ack).with(vec![vec![1]]).to_text(), format!("61-7{one}"));
}

#[test]
fn a_namespace_may_end_with_the_text() {
    reads("1/admin", "/admin", Body::Disconnect, 0);
    reads("0/a?b=c", "/a?b=c", Body::Connect(None), 0);
}

#[test]
fn white_space_and_escapes_are_json() {
    reads("2[ \"\\u0061\" , 1 ] ", "/", event("a", "[1 ]", None), 0);
    reads("2[ \"a\" ]", "/", event("a", "[]", None), 0);
}

#[test]
fn what_is_no_packet_is_malformed() {
    malformed(&["", "abc", "7", "é", "-0", "0[]", "0x", r#"0"x""#, "0null", "05", "1{}", "15"]);
    malformed(&["2", "2{}", "2[]", "2[", r#"2["a""#, r#"2["a"]]"#, r#"2["a"]x"#, "2/admin,"]);
    malformed(&[r#"2abc["a"]"#, r#"2-1["a"]"#, r#"2+1["a"]"#, r#"2 1["a"]"#, r#"21.5["a"]"#]);
    malformed(&[r#"299999999999999999999["a"]"#, "3[]", "3", "31", "31{}", "4", "45", "4[]"]);
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| format!("2[\"a\",{}{}]", "[".repeat(depth), "]".repeat(depth));
    assert!(Typed::parse(&nested(63)).is_ok());
    malformed(&[&nested(64), &nested(100_000)]);
}

/// A placeholder's number must be an index, or what it points at is not an attachment.
#[test]
fn cve_2022_2421_placeholders_that_are_no_index_are_malformed() {
    for number in ["1", "10", "-1", "0.5", r#""0""#, r#""splice""#, "null", "{}", "1e0", "true"] {
        let text = format!(r#"51-["f",{{"_placeholder":true,"num":{number}}}]"#);
        malformed(&[&text]);
    }
    malformed(&[r#"51-["f",{"_placeholder":true}]"#, r#"51-["f"]"#, r#"51-["f",{"num":0}]"#]);
    let twice = r#"51-["f",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#;
    malformed(&[twice, r#"52-["f",{"_placeholder":true,"num":0}]"#]);
}

/// A name that is no text was once called as if it were.
#[test]
fn cve_2023_32695_event_names_are_text() {
    malformed(&[r#"2[{"toString":"foo"}]"#, "2[null]", "2[true]", "2[[]]", "2[1]", "2[[\"a\"]]"]);
    malformed(&[r#"51-[{"_placeholder":true,"num":0}]"#]);
}

/// socketio/socket.io commit b25738c: attachments were once counted by the client alone.
#[test]
fn b25738c_attachments_have_a_limit() {
    let packet = |count: usize| {
        let placeholder = |number| format!(r#",{{"_placeholder":true,"num":{number}}}"#);
        let all: String = (0..count).map(placeholder).collect();
        format!(r#"5{count}-["f"{all}]"#)
    };
    assert_eq!(Typed::parse(&packet(10)).unwrap().attachments, 10);
    malformed(&[&packet(11), "5999999999999-[\"f\"]", "599999999999999999999-[\"f\"]"]);
    malformed(&[r#"5+1-["f",{"_placeholder":true,"num":0}]"#]);
    malformed(&["5-[\"f\"]", "5", "51", "5-1-[\"f\"]", "51.5-[\"f\"]", "5Infinity-[\"f\"]"]);
}

/// CVE-2024-38355: a packet without a payload, or for an `error` event, once killed the process.
#[test]
fn cve_2024_38355_events_without_an_array_are_malformed() {
    malformed(&["2", "20", "5", "50-", "2null", "2\"error\"", "2{\"0\":\"error\"}"]);
    reads(r#"2["error"]"#, "/", event("error", "[]", None), 0);
}

#[test]
fn reserved_names_are_malformed() {
    for name in RESERVED {
        malformed(&[&format!("2[\"{name}\"]"), &format!("50-[\"{name}\"]")]);
    }
    malformed(&[r#"2["connec\u0074"]"#]);
}

fn any_body() -> impl Strategy<Value = Body> {
    let json =
        || prop::sample::select(vec!["[]", "[1]", r#"["x",{"a":null}]"#, "[[],[[]]]", r#"["]"]"#]);
    let name = "\\PC{1,8}".prop_filter("reserved", |name| !RESERVED.contains(&name.as_str()));
    prop_oneof![
        prop::option::of(Just(r#"{"a":1}"#.to_owned())).prop_map(Body::Connect),
        Just(Body::Disconnect),
        Just(Body::ConnectError(r#"{"message":"x"}"#.to_owned())),
        (name, json(), any::<Option<u64>>()).prop_map(|(name, json, ack)| event(&name, json, ack)),
        (json(), any::<u64>())
            .prop_map(|(json, id)| Body::Ack { id, arguments: Arguments::of(json) }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(body in any_body(), namespace in "/[a-z0-9/]{0,6}") {
        let packet = packet(&namespace, body);
        let read = Typed::parse(&packet.to_text());
        prop_assert_eq!(read, Ok(Typed { packet, attachments: 0 }));
    }

    #[test]
    fn garbage_never_panics(text in "[0-7][-0-9/a,]{0,6}\\PC*") {
        let _ = Typed::parse(&text);
    }

    #[test]
    fn garbage_in_an_array_never_panics(text in r#"[2356][0-9]?-?\[["a\[\]{},:_placeholdernum0-9\\ ]*\]"#) {
        if let Ok(Typed { packet, attachments: 0 }) = Typed::parse(&text) {
            let again = Typed::parse(&packet.to_text());
            prop_assert_eq!(again, Ok(Typed { packet, attachments: 0 }));
        }
    }
}
