//! Which pattern allows what, and what is no pattern.

use super::*;

fn permissions(user: &str, patterns: &[&str]) -> Permissions {
    let patterns = patterns.iter().map(|text| text.parse().unwrap()).collect();
    Permissions::new(UserId::parse(user).unwrap(), patterns)
}

fn of_role(role: &str) -> Permissions {
    let patterns = Roles::default().patterns(role).unwrap().to_vec();
    Permissions::new(UserId::parse("7").unwrap(), patterns)
}

/// `rw`, `r` or nothing.
#[track_caller]
fn check(permissions: &Permissions, channel: &str, expected: &str) {
    let name = ChannelName::parse(channel).unwrap();
    let found = match (permissions.may_read(&name), permissions.may_publish(&name)) {
        (true, true) => "rw",
        (true, false) => "r",
        (false, false) => "",
        (false, true) => "w",
    };
    assert_eq!(found, expected, "{channel} with {permissions:?}");
}

#[test]
fn a_pattern_names_a_channel_what_begins_or_what_ends_like_it() {
    for (pattern, channel, expected) in [
        ("orders", "orders", "rw"),
        ("orders", "orders2", ""),
        ("orders", "order", ""),
        ("orders", "ORDERS", ""),
        ("orders:ro", "orders", "r"),
        ("orders:ro:ro", "orders:ro", "r"),
        ("public:*", "public:chat", "rw"),
        ("public:*", "public:", "rw"),
        ("public:*", "public", ""),
        ("public:*", "private:chat", ""),
        ("public:*:ro", "public:chat", "r"),
        ("*:news", "public:news", "rw"),
        ("*:news", ":news", "rw"),
        ("*:news", "public:news:old", ""),
        ("*:news:ro", "private:news", "r"),
        ("private-*", "private-encrypted-x", "rw"),
        ("presence-room", "presence-room", "rw"),
        ("*", "anything", "rw"),
        ("*", "private-cache-x", "rw"),
        ("*:ro", "system:notifications", "r"),
        ("user:selfish", "user:selfish", "rw"),
    ] {
        check(&permissions("7", &[pattern]), channel, expected);
    }
}

#[test]
fn what_no_pattern_names_is_not_allowed_even_if_it_is_public() {
    check(&permissions("7", &[]), "chat", "");
    check(&permissions("7", &["a", "b:ro"]), "chat", "");
    check(&permissions("7", &["a:ro", "a"]), "a", "rw");
}

#[test]
fn without_a_list_a_token_reads_what_anyone_may_read() {
    let anyone = Permissions::new(UserId::parse("7").unwrap(), vec![Pattern::public()]);
    for channel in ["chat", "public:chat", "cache-x", "job:123"] {
        check(&anyone, channel, "r");
    }
    for channel in ["private-x", "private:x", "presence-x", "user:7", "system:x"] {
        check(&anyone, channel, "");
    }
}

#[test]
fn own_channels_are_those_of_the_tokens_user_to_the_letter() {
    for (user, channel, expected) in [
        ("456", "user:456", "rw"),
        ("456", "user:456:notifications", "rw"),
        ("456", "user:4567", ""),
        ("456", "user:45", ""),
        ("456", "user:self", ""),
        ("456", "user:", ""),
        ("456", "xuser:456", ""),
        ("self", "user:self", "rw"),
        // A user's id is no pattern.
        ("*", "user:456", ""),
        ("user:*", "user:456", ""),
        // `user:7:8` is of the user `7`; nobody shares it by calling themselves `7:8`.
        ("7", "user:7:8", "rw"),
        ("7:8", "user:7:8", ""),
        ("7:8", "user:7", ""),
    ] {
        check(&permissions(user, &["user:self"]), channel, expected);
    }
    check(&permissions("456", &["user:self:ro"]), "user:456", "r");
}

#[test]
fn events_to_a_user_are_read_by_that_user_alone_and_published_by_no_client() {
    for patterns in [&[][..], &["*"]] {
        check(&permissions("7", patterns), "#server-to-user-7", "r");
        check(&permissions("7", patterns), "#server-to-user-8", "");
        check(&permissions("7", patterns), "#server-to-user-77", "");
    }
}

#[test]
fn the_default_roles_are_those_of_the_guide() {
    for (role, channel, expected) in [
        ("admin", "public:chat", "rw"),
        ("admin", "private:admin-only", "rw"),
        ("admin", "user:9", "rw"),
        ("admin", "system:notifications", "rw"),
        ("user", "public:chat", "rw"),
        ("user", "private:admin-only", ""),
        ("user", "user:7", "rw"),
        ("user", "user:9", ""),
        ("user", "system:notifications", "r"),
        ("user", "system:other", ""),
        ("guest", "public:general", "rw"),
        ("guest", "public:chat", ""),
        ("guest", "user:7", ""),
        ("guest", "system:notifications", "r"),
    ] {
        check(&of_role(role), channel, expected);
    }
    assert_eq!(Roles::default().patterns("Admin"), None);
}

#[test]
fn roles_of_a_configuration_replace_those_of_the_same_name() {
    let roles: Roles = serde_json::from_str(r#"{"user":["a:ro"],"guest":[],"bot":["*"]}"#).unwrap();
    assert_eq!(roles.patterns("user"), Some(&["a:ro".parse().unwrap()][..]));
    assert_eq!(roles.patterns("guest"), Some(&[][..]));
    assert_eq!(roles.patterns("bot"), Some(&["*".parse().unwrap()][..]));
    assert_eq!(roles.patterns("admin"), Roles::default().patterns("admin"));
    let wrong = serde_json::from_str::<Roles>(r#"{"user":["a*b"]}"#).unwrap_err().to_string();
    assert!(wrong.contains("pattern `a*b`: a pattern has one `*` at most"), "{wrong}");
}

#[test]
fn what_is_no_pattern_is_refused_and_not_repeated() {
    for (text, part) in [
        ("", "is empty"),
        (":ro", "is empty"),
        ("a b", "not allowed at byte 1"),
        ("a*b", "one `*` at most"),
        ("**", "one `*` at most"),
        ("*zebra*", "one `*` at most"),
        ("user:self:*", "stands alone"),
        ("user:self*", "stands alone"),
        ("user:self:x", "stands alone"),
        ("#server-to-user-zebra", "that user alone"),
        ("#*", "that user alone"),
        ("*#x", "that user alone"),
        (&"z".repeat(201), "the limit is 200"),
    ] {
        let error = text.parse::<Pattern>().unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
        assert!(!error.contains("zebra") && !error.contains("zz"), "{error}");
    }
}

#[test]
fn a_pattern_is_written_as_it_was_read() {
    for text in
        ["a", "a*", "*a", "*", "a:ro", "a*:ro", "*a:ro", "*:ro", "user:self", "user:self:ro"]
    {
        assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
    }
}
