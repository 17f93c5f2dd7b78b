//! What a configuration may say, and what is answered when it is wrong.

use std::collections::BTreeMap;

use super::*;

fn source(text: &str) -> (tempfile::TempDir, Source) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handbell.toml");
    std::fs::write(&path, text).unwrap();
    (directory, Source { path: Some(path), ..Source::default() })
}

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[track_caller]
fn check_error(text: &str, expected: &[&str]) {
    let (_directory, source) = source(text);
    let error = source.load().and_then(|config| config.check()).unwrap_err().to_string();
    for part in expected {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}

const APP: &str = "[[apps]]\nid = \"a\"\nkey = \"k\"\nsecret = \"s\"\n";

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_key() {
    check_error(
        "[server]\nlisten = \"0.0.0.0:1\"\nlissten = 1\n",
        &["handbell.toml:3:", "`lissten`", "did you mean `listen`?"],
    );
    check_error("[histroy]\n", &[":1:", "did you mean `history`?"]);
    check_error(
        &format!("{APP}[apps.limits]\nevent_byte = 1\n"),
        &[":6:", "did you mean `event_bytes`?"],
    );
}

#[test]
fn a_wrong_value_is_named_with_its_line() {
    check_error("[drain]\ndelay = \"5 parsecs\"\n", &[":2:", "write `250ms`, `5s`, `2m` or `1h`"]);
    check_error("[server]\nlisten = \"nowhere\"\n", &[":2:", "socket address"]);
    check_error("[server\n", &[":1:"]);
    check_error("", &["no app is configured", "handbell app create"]);
}

#[test]
fn rules_of_apps_are_checked() {
    check_error(&format!("{APP}{APP}"), &["two apps have the id `a`"]);
    check_error(&format!("{APP}{}", APP.replace("\"a\"", "\"b\"")), &["two apps have the key `k`"]);
    check_error("[[apps]]\nid = \"a\"\nkey = \"k\"\n", &["`secret` is missing"]);
    check_error(&format!("{APP}secrets = [\"x\"]\n"), &["not both"]);
    check_error(&APP.replace("\"s\"", "\"\""), &["a secret is empty"]);
    check_error(&format!("{APP}origins = [\"example.com\"]\n"), &["is not an origin"]);
    check_error(
        &format!("{APP}[apps.limits]\nconnections = 0\n"),
        &["limits.connections must be at least 1"],
    );
    check_error(
        &format!("{APP}[[apps.webhooks]]\nurl = \"http://127.0.0.1/\"\n"),
        &["127.0.0.1 is not globally reachable", "allow_private_address"],
    );
    check_error(
        &format!(
            "{APP}[[apps.webhooks]]\nurl = \"https://x.example/\"\nevents = [\"member_aded\"]\n"
        ),
        &[":7:", "member_added"],
    );
    let hook = "[[apps.webhooks]]\nurl = \"https://x.example/\"\n";
    check_error(&format!("{APP}{hook}{hook}"), &["two webhooks have the url"]);
}

#[test]
fn keys_of_tokens_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let p256 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let public = file("public.pem", &p256.public_key_pem());
    let private = file("private.pem", &p256.serialize_pem());
    let key = |lines: &str| format!("{APP}[[apps.jwt_keys]]\n{lines}\n");
    let from = |algorithm: &str, path: &str| {
        key(&format!("algorithm = \"{algorithm}\"\npublic_key = \"{path}\""))
    };
    check_error(&key("kid = \"1\""), &[":5:", "algorithm"]);
    check_error(&from("none", &public), &["handbell.toml:6:", "`none`", "HS256", "EdDSA"]);
    check_error(&from("es256", &public), &[":6:", "`es256`", "ES256"]);
    check_error(
        &key("algorithm = \"ES256\""),
        &["app `a`: jwt_keys: the ES256 key: `public_key`, `secret`"],
    );
    check_error(
        &from("ES256", "/nowhere.pem"),
        &["app `a`", "ES256", "/nowhere.pem: No such file"],
    );
    check_error(&from("ES256", &private), &["app `a`", &private, "not one public key"]);
    check_error(&from("ES384", &public), &["app `a`", &public, "on the curve P-384"]);
    check_error(&from("RS256", &public), &[&public, "needs an RSA key"]);
    check_error(&from("HS256", &public), &[&public, "take a `secret`, not a public key"]);
    check_error(&key("algorithm = \"HS256\"\nsecret = \"x\""), &["the HS256 key", "1 bytes", "32"]);
    let long = "0123456789abcdef0123456789abcdef";
    check_error(&key(&format!("algorithm = \"RS256\"\nsecret = \"{long}\"")), &["a `public_key`"]);
    check_error(&format!("{}secret = \"{long}\"\n", from("ES256", &public)), &["not several"]);
    check_error(&format!("{}kidd = \"1\"\n", from("ES256", &public)), &[":8:", "mean `kid`?"]);

    let set =
        |algorithm: &str, url: &str| key(&format!("algorithm = \"{algorithm}\"\njwks = \"{url}\""));
    check_error(&set("HS256", "https://id.example/keys"), &["never a `jwks`"]);
    check_error(&set("RS256", "http://id.example/keys"), &["app `a`", "must be https"]);
    check_error(&set("RS256", "https://10.0.0.1/keys"), &["10.0.0.1", "allow_private_address"]);
    check_error(&set("RS256", "ftp://id.example/"), &["not an http or https address"]);
    check_error(
        &format!("{}kid = \"1\"\n", set("RS256", "https://id.example/")),
        &["their own `kid`"],
    );

    let private = format!("{}allow_private_address = true\n", set("RS256", "http://10.0.0.1/keys"));
    let (_private, source_of_set) = source(&private);
    let app = source_of_set.load().unwrap().check().unwrap().remove(0);
    assert_eq!((app.jwt_keys.len(), app.jwks.len()), (0, 1));
    assert!(!app.takes_tokens_by_secret());

    let lines = "kid = \"1\"\nissuer = \"https://id.example\"\naudience = \"handbell\"\n";
    let (_directory, source) = source(&format!("{}{lines}", from("ES256", &public)));
    let config = source.load().unwrap();
    let key = config.check().unwrap()[0].jwt_keys[0].clone();
    assert_eq!(key.algorithm(), proto::token::key::Algorithm::ES256);
    assert_eq!(key.kid.as_deref(), Some("1"));
    assert_eq!(key.issuer.as_deref(), Some("https://id.example"));
    assert_eq!(key.audience.as_deref(), Some("handbell"));
    assert!(config.to_toml().unwrap().contains(&public));
}

#[test]
fn where_an_application_is_asked_is_checked() {
    let app = format!("{APP}origins = [\"https://a.example\"]\n");
    let url = "url = \"https://a.example/who\"";
    let asked = |lines: &str| format!("{app}[apps.authorization]\n{lines}\n");
    check_error(&asked("timeout = \"1s\""), &[":6:", "url"]);
    check_error(&asked(&format!("{url}\ntimeuot = \"1s\"")), &[":8:", "mean `timeout`?"]);
    check_error(
        &asked("url = \"http://a.example/\""),
        &["app `a`: authorization:", "must be https"],
    );
    check_error(&asked("url = \"https://10.0.0.1/\""), &["10.0.0.1", "allow_private_address"]);
    check_error(&asked("url = \"https://u:p@a.example/\""), &["user name"]);
    let with = |line: &str| asked(&format!("{url}\n{line}"));
    check_error(&with("timeout = \"0s\""), &["`timeout` must be more than 0s"]);
    check_error(&with("timeout = \"11s\""), &["at most 10s"]);
    check_error(&with("cache_seconds = 3601"), &["`cache_seconds` must be at most 3600"]);
    check_error(&with("cache_entries = 0"), &["`cache_entries` must be from 1"]);
    check_error(&with("headers = []"), &["`headers` has 1 to 16 names"]);
    check_error(&with("headers = [\"a b\"]"), &["`a b` is not the name of a header"]);
    for own in ["Host", "content-length", "Transfer-Encoding", "X-Pusher-Key", "upgrade"] {
        check_error(&with(&format!("headers = [\"{own}\"]")), &[own, "cannot be passed on"]);
    }
    let anywhere = format!("{APP}[apps.authorization]\n{url}\n");
    check_error(&anywhere, &["list the pages that may connect in `origins`"]);

    let echo = |lines: &str| format!("{app}[apps.laravel_echo]\n{lines}\n");
    check_error(&echo("url = \"http://a.example/\""), &["app `a`: laravel_echo:", "must be https"]);
    check_error(&format!("{APP}[apps.laravel_echo]\n{url}\n"), &["laravel_echo", "`origins`"]);
    check_error(&format!("{APP}[apps.namespaces]\n\"/a\" = \"rooms\"\n"), &[":6:", "laravel-echo"]);
    check_error(&format!("{APP}[apps.namespaces]\n\"a\" = \"topics\"\n"), &["is no namespace"]);

    let (_directory, source) = source(&with("headers = [\"X-Session\", \"Cookie\", \"cookie\"]"));
    let config = source.load().unwrap();
    let terms = config.check().unwrap().remove(0).authorization.unwrap();
    assert_eq!(terms.backend.headers, ["cookie", "x-session"]);
    assert_eq!((terms.backend.timeout, terms.cache_seconds), (Duration::from_secs(3), 10));
    assert!(config.to_toml().unwrap().contains("cache_entries = 1000"));
}

#[test]
fn roles_go_over_the_defaults() {
    check_error(
        &format!("{APP}[apps.roles]\nuser = [\"public:*\", \"a*b\"]\n"),
        &["handbell.toml:6:", "pattern `a*b`: a pattern has one `*` at most"],
    );
    let (_directory, source) = source(&format!("{APP}[apps.roles]\nuser = [\"orders-*:ro\"]\n"));
    let config = source.load().unwrap();
    let roles = &config.check().unwrap()[0].roles;
    assert_eq!(roles.patterns("user"), Some(&["orders-*:ro".parse().unwrap()][..]));
    assert!(roles.patterns("guest").is_some());
    let printed = config.to_toml().unwrap();
    assert!(printed.contains("user = [\"orders-*:ro\"]"), "{printed}");
    assert!(printed.contains("guest = [\"public:general\", \"system:notifications:ro\"]"));
}

#[test]
fn rules_of_the_cluster_are_checked() {
    let secret = "secret = \"0123456789abcdef\"\n";
    let cluster = |lines: &str| format!("{APP}[cluster]\n{secret}{lines}\n");
    let tls = "tls = { certificate = \"a\", key = \"b\", ca = \"c\" }\n";
    check_error(&format!("{APP}[cluster]\n"), &["cluster.secret is missing", "openssl rand"]);
    check_error(
        &format!("{APP}[cluster]\nsecret = \"short\"\n{tls}"),
        &["shorter than 16 bytes", "gossip is sealed with it even where `tls`"],
    );
    check_error(&cluster("node_id = \"a b\""), &["cluster.node_id = \"a b\"", "A-Z a-z 0-9 _ - ."]);
    for seed in ["10.0.0.1", "name", "name:0", ":6002", "a:b:1"] {
        check_error(&cluster(&format!("seeds = [\"{seed}\"]")), &["cluster.seeds", seed]);
    }
    check_error(&cluster("listen = \"0.0.0.0:6002\""), &["cluster.advertise is missing"]);
    for open in [
        "listen = \"8.8.8.8:6002\"",
        "listen = \"0.0.0.0:6002\"\nadvertise = \"10.0.0.1:6002\"",
        "listen = \"10.0.0.1:6002\"\nadvertise = \"[2001:db8::1]:6002\"",
    ] {
        check_error(&cluster(open), &["cluster.tls is missing", "not be encrypted"]);
    }
    check_error(&cluster("partition_mode = \"majority\""), &["needs cluster.size", "at least 3"]);
    check_error(&cluster("partition_mode = \"majority\"\nsize = 2"), &["at least 3"]);
    check_error(&cluster("size = 3"), &["only with cluster.partition_mode"]);
    check_error(&cluster("ack = \"replicatd\""), &[":7:", "replicated"]);
    check_error(&cluster("tls = { certificate = \"a\", key = \"b\" }"), &[":7:", "ca"]);
}

#[test]
fn a_cluster_needs_a_secret_and_little_else() {
    let loads = |lines: &str| {
        let (_directory, source) =
            source(&format!("{APP}[cluster]\nsecret = \"0123456789abcdef\"\n{lines}"));
        let config = source.load().unwrap();
        config.check().unwrap();
        config.cluster.unwrap()
    };
    let default = loads("");
    assert_eq!(default.advertised(), default.listen);
    assert_eq!(default.bootstrap_after.to_string(), "10s");
    assert_eq!(default.partition_mode, PartitionMode::Availability);
    loads(
        "listen = \"172.16.0.1:6002\"\nseeds = [\"10.0.0.1:6002\", \"[fd00::1]:1\", \"nodes.svc:2\"]",
    );
    loads("partition_mode = \"majority\"\nsize = 3\nack = \"sequenced\"");
    let tls = "tls = { certificate = \"a\", key = \"b\", ca = \"c\" }";
    loads(&format!("listen = \"0.0.0.0:6002\"\nadvertise = \"192.0.2.1:6002\"\n{tls}"));
    assert!(Config::dev(1, 2).cluster.is_none());
}

#[test]
fn the_environment_goes_over_the_file_and_flags_over_both() {
    let (_directory, mut source) =
        source("[drain]\ndelay = \"1s\"\nwindow = \"2s\"\n[log]\nlevel = \"warn\"\n");
    source.variables = variables(&[
        ("HANDBELL__DRAIN__WINDOW", "3s"),
        ("HANDBELL__LOG__LEVEL", "debug"),
        ("HANDBELL__HISTORY__EVENTS", "7"),
        ("HANDBELL_PORT", "tcp://10.0.0.1:80"),
    ]);
    source.flags = vec![("log.level".into(), "error".into())];
    let config = source.load().unwrap();
    assert_eq!(config.drain.delay.to_string(), "1s");
    assert_eq!(config.drain.window.to_string(), "3s");
    assert_eq!(config.history.events, 7);
    assert_eq!(config.log.level, "error");
}

#[test]
fn a_wrong_variable_is_named() {
    let error = |name: &str, value: &str| {
        let variables = variables(&[(name, value)]);
        Source { variables, ..Source::default() }.load().unwrap_err().to_string()
    };
    assert!(
        error("HANDBELL__SERVER__LISTN", "x")
            .contains("HANDBELL__SERVER__LISTN: there is no key `listn`")
    );
    assert!(error("HANDBELL__HISTORY__EVENTS", "many").contains("HANDBELL__HISTORY__EVENTS"));
    let link = error("HANDBELL__SERVER__LISTEN", "tcp://10.0.0.1:80");
    assert!(link.contains("Kubernetes service link") && link.contains("enableServiceLinks"));
    assert!(error("PUSHER_APP_ID", "1").contains("PUSHER_APP_KEY: it is not set"));
}

#[test]
fn an_app_is_read_from_the_variables_of_pusher_soketi_and_reverb() {
    for prefix in ["PUSHER_APP", "SOKETI_DEFAULT_APP", "REVERB_APP"] {
        let names = ["ID", "KEY", "SECRET"].map(|part| format!("{prefix}_{part}"));
        let pairs: BTreeMap<String, String> =
            names.into_iter().zip(["9", "key9", "secret9"].map(String::from)).collect();
        // The cluster means nothing here and is no error.
        let mut variables = variables(&[("PUSHER_APP_CLUSTER", "us3")]);
        variables.extend(pairs);
        let apps = Source { variables, ..Source::default() }.load().unwrap().check().unwrap();
        assert_eq!((apps[0].id.as_str(), apps[0].key.as_str()), ("9", "key9"));
        assert_eq!(apps[0].secrets[0].expose(), "secret9");
    }
}

#[test]
fn the_printed_configuration_reads_back_and_hides_secrets() {
    let printed = Config::dev(1, 2).to_toml().unwrap();
    assert!(!printed.contains("app-secret"));
    let again: Config = toml::from_str(&printed).unwrap();
    assert_eq!(again.server.listen.port(), 1);
    assert_eq!(again.check().unwrap().len(), 1);
}
