//! Names: kinds by prefix, and what is no name.

use super::*;

#[track_caller]
fn kind(name: &str) -> (Access, bool, bool) {
    let kind = ChannelName::parse(name).unwrap().kind();
    (kind.access, kind.encrypted, kind.cache)
}

#[test]
fn the_longest_prefix_decides_the_kind() {
    use Access::{Presence, Private, Public};
    assert_eq!(kind("room"), (Public, false, false));
    assert_eq!(kind("public-room"), (Public, false, false));
    assert_eq!(kind("cache-room"), (Public, false, true));
    assert_eq!(kind("private-room"), (Private, false, false));
    assert_eq!(kind("private-cache-room"), (Private, false, true));
    assert_eq!(kind("private-encrypted-room"), (Private, true, false));
    assert_eq!(kind("private-encrypted-cache-room"), (Private, true, true));
    assert_eq!(kind("presence-room"), (Presence, false, false));
    assert_eq!(kind("presence-cache-room"), (Presence, false, true));
    assert_eq!(kind("user:456:notifications"), (Private, false, false));
    assert_eq!(kind("job:123"), (Public, false, false));
}

#[test]
fn prefixes_are_anchored_and_need_their_dash() {
    assert_eq!(kind("my-cache-room"), (Access::Public, false, false));
    assert_eq!(kind("privateroom"), (Access::Public, false, false));
    assert_eq!(kind("presence"), (Access::Public, false, false));
}

#[test]
fn channel_names_are_counted_in_bytes_and_limited_to_the_character_set() {
    assert!(ChannelName::parse(&"a".repeat(200)).is_ok());
    assert!(ChannelName::parse(&"a".repeat(201)).is_err());
    for bad in ["", "#x", "a b", "a/b", "é", "a\0", "\u{202e}x", "a*"] {
        assert!(ChannelName::parse(bad).is_err(), "{bad:?}");
    }
    assert!(ChannelName::parse("a-Z_0=@,.;:").is_ok());
}

#[test]
fn a_users_channel_may_carry_any_id() {
    let name = ChannelName::parse("#server-to-user-ana müller").unwrap();
    assert_eq!(name.user().unwrap().as_str(), "ana müller");
    assert!(name.kind().reserved);
    assert!(ChannelName::parse("#server-to-user-").is_err());
}

#[test]
fn socket_ids_are_digits_dot_digits() {
    for good in ["1.2", "3141.59265", "0.0", "18446744073709551615.1"] {
        assert_eq!(SocketId::parse(good).unwrap().to_string(), good);
    }
    for bad in ["", "1", "1.", ".1", "1.2.3", "+1.2", "a.b", "1.2\n", "18446744073709551616.1"] {
        assert!(SocketId::parse(bad).is_err(), "{bad:?}");
    }
}
