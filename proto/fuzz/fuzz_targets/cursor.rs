//! Any text as a place: it never panics, and a place that is read is written as one that reads the same,
//! in characters that can stand in a URL, a header and a line of an event stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::cursor::{CHANNELS_MAX, Cursor};
use proto::{ChannelName, Position, UserId};

fuzz_target!(|input: (&str, Vec<(&str, u64)>)| {
    let (text, more) = input;
    if let Ok(cursor) = Cursor::parse(text) {
        let written = cursor.to_string();
        assert_eq!(Cursor::parse(&written), Ok(cursor.clone()), "{written}");
        assert!(cursor.channels().count() <= CHANNELS_MAX);
        for channel in cursor.channels() {
            assert!(cursor.get(channel).is_some());
        }
    }
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string().parse(), Ok(position));
    }
    // Places that are made here, of names that are anything.
    let mut cursor = Cursor::default();
    for (name, number) in &more {
        let user = UserId::parse(name).map(|user| ChannelName::of_user(&user));
        let Ok(channel) = ChannelName::parse(name).or(user) else { continue };
        let Ok(position) = format!("{number}-1-{number:x}").parse() else { continue };
        match number % 4 {
            0 => {
                cursor.remove(&channel);
            }
            1 => cursor.begin(&channel, position),
            _ => cursor.set(&channel, position),
        }
    }
    let written = cursor.to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "%_-=@,.;:~".contains(c);
    assert!(written.chars().all(is_plain), "{written}");
    match cursor.channels().count() {
        1..=CHANNELS_MAX => assert_eq!(Cursor::parse(&written), Ok(cursor)),
        _ => assert_eq!(written, ""),
    }
});
