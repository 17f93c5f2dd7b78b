//! Any text as a name, against the rule written another way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::{ChannelName, SocketId};

fuzz_target!(|text: &str| {
    let allowed = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-=@,.;:";
    let is_plain = (1..=200).contains(&text.len()) && text.bytes().all(|b| allowed.contains(&b));
    let user = text.strip_prefix("#server-to-user-");
    let is_user = user.is_some_and(|id| (1..=128).contains(&id.len()));
    assert_eq!(ChannelName::parse(text).is_ok(), is_plain || is_user);
    if let Ok(name) = ChannelName::parse(text) {
        let kind = name.kind();
        assert_eq!(kind.is_presence(), text.starts_with("presence-"));
        assert_eq!(kind.encrypted, text.starts_with("private-encrypted-"));
    }
    if let Ok(socket) = SocketId::parse(text) {
        assert_eq!(SocketId::parse(&socket.to_string()), Ok(socket));
    }
});
