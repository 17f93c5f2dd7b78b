//! The program as a person or a script runs it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

fn handbell(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handbell"));
    for name in ["PUSHER_APP_ID", "PUSHER_APP_KEY", "PUSHER_APP_SECRET", "HANDBELL_CONFIG"] {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    handbell(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running `handbell dev` that ends with the test.
struct Dev {
    child: Child,
    url: String,
    admin: String,
    printed: String,
}

impl Dev {
    fn start() -> Self {
        let mut child = handbell(&["dev", "--port", "0", "--admin-port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let first = lines.next().unwrap();
        let address = |after: &str| {
            let rest = first.split_once(after).unwrap().1;
            let end = rest.find([' ', '/', ')']).unwrap_or(rest.len());
            format!("http://{}", &rest[..end])
        };
        let (url, admin) = (address("on http://"), address("metrics: http://"));
        let rest: Vec<String> =
            lines.take_while(|line| !line.contains("handbell publish")).collect();
        Self { child, url, admin, printed: rest.join("\n") }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn dev_prints_snippets_and_what_it_prints_works() {
    let dev = Dev::start();
    for part in [
        "new Pusher(\"app-key\"",
        "PUSHER_APP_SECRET=app-secret",
        "pusher.Pusher(\"1\"",
        "openssl dgst",
    ] {
        assert!(dev.printed.contains(part), "{part}");
    }
    let health = run(&["health", "--url", &dev.admin]);
    assert!(health.status.success() && text(&health.stdout).contains("listening: ok"));

    let mut subscriber =
        handbell(&["subscribe", "presence-room", "--count", "1", "--url", &dev.url])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
    let mut lines = BufReader::new(subscriber.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains("connection_established"));
    assert!(lines.next().unwrap().contains("subscription_succeeded"));
    let published = run(&["publish", "presence-room", "greeting", "{\"a\":1}", "--url", &dev.url]);
    assert!(published.status.success(), "{}", text(&published.stderr));
    assert!(text(&published.stdout).contains("\"user_count\":1"));
    let expected = r#"{"event":"greeting","channel":"presence-room","data":"{\"a\":1}"}"#;
    assert_eq!(lines.next().unwrap(), expected);
    assert!(subscriber.wait().unwrap().success());
}

#[test]
fn the_printed_curl_command_publishes() {
    let dev = Dev::start();
    let begin = dev.printed.find("  body=").unwrap();
    let end = dev.printed.find("See it work").unwrap();
    let script = &dev.printed[begin..end];
    let output = Command::new("bash").args(["-euc", script]).output().unwrap();
    assert_eq!(text(&output.stdout), "{}", "{}", text(&output.stderr));
}

#[test]
fn sigterm_drains_and_exits_with_zero() {
    let mut dev = Dev::start();
    let pid = dev.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(dev.child.wait().unwrap().success());
}

#[test]
fn a_bad_configuration_is_named_and_the_exit_code_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handbell.toml");
    std::fs::write(&path, "[server]\nlissten = \"127.0.0.1:1\"\n").unwrap();
    let path = path.to_str().unwrap();
    let output = run(&["config", "check", "--config", path]);
    assert!(!output.status.success());
    let error = text(&output.stderr);
    assert!(
        error.contains(&format!("{path}:2:")) && error.contains("did you mean `listen`?"),
        "{error}"
    );
    let missing = run(&["serve", "--config", "/nowhere/handbell.toml"]);
    assert!(text(&missing.stderr).contains("/nowhere/handbell.toml: "));
    let taken = Dev::start();
    let port = taken.url.rsplit(':').next().unwrap();
    let second = run(&["dev", "--port", port, "--admin-port", "0"]);
    assert!(text(&second.stderr).contains("try --port"), "{}", text(&second.stderr));
}

#[test]
fn a_created_app_can_be_served() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handbell.toml");
    let path = path.to_str().unwrap();
    for _ in 0..2 {
        let created = run(&["app", "create", "--write", path]);
        assert!(created.status.success(), "{}", text(&created.stderr));
        assert!(text(&created.stdout).contains("PUSHER_APP_KEY="));
    }
    let check = run(&["config", "check", "--config", path]);
    assert_eq!(text(&check.stdout), "the configuration is good: 2 app(s)\n");
    let printed = run(&["config", "print", "--config", path]);
    assert!(text(&printed.stdout).contains("secret = \"***\""));

    std::fs::write(path, "broken = 1\n").unwrap();
    let refused = run(&["app", "create", "--write", path]);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("was not changed"));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "broken = 1\n");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "a draft is left behind");
}

/// What a token says to an app with this key and secret.
fn verify(token: &[u8], key: &str, secret: &str) -> Result<proto::token::Token, String> {
    let id = proto::AppId::parse("any").unwrap();
    let app = proto::App::new(id, key, proto::app::Secret::new(secret));
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = u64::try_from(since.as_millis()).unwrap();
    proto::token::verify(text(token).trim_end(), &app, &[], now).map_err(|error| error.to_string())
}

#[test]
fn a_printed_token_says_what_was_asked_for() {
    let made = run(&[
        "token",
        "--sub",
        "7",
        "--role",
        "guest",
        "--permission",
        "room",
        "--permission",
        "news:ro",
        "--expires",
        "90s",
    ]);
    let token = verify(&made.stdout, "app-key", "app-secret").unwrap();
    assert_eq!((token.user.as_str(), token.role.as_deref()), ("7", Some("guest")));
    let may = |channel: &str| {
        let channel = proto::ChannelName::parse(channel).unwrap();
        (token.permissions.may_read(&channel), token.permissions.may_publish(&channel))
    };
    assert_eq!(may("room"), (true, true));
    assert_eq!(may("news"), (true, false));
    assert_eq!(may("public:general"), (true, true));
    assert_eq!(may("public:chat"), (false, false));
    let again = run(&["token", "--sub", "7"]);
    let longer = verify(&again.stdout, "app-key", "app-secret").unwrap();
    let difference_ms = longer.expires_unix_ms - token.expires_unix_ms;
    assert!((3_500_000..3_520_000).contains(&difference_ms), "{difference_ms}");
    assert!(verify(&made.stdout, "other-key", "app-secret").unwrap_err().contains("another app"));
    assert!(verify(&made.stdout, "app-key", "other").unwrap_err().contains("signature"));
}

#[test]
fn a_token_is_for_an_app_of_the_configuration_and_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handbell.toml");
    let app = |id: &str| {
        format!("[[apps]]\nid = \"{id}\"\nkey = \"key-{id}\"\nsecret = \"secret-{id}\"\n")
    };
    let long = "0123456789abcdef0123456789abcdef";
    let key = format!("[[apps.jwt_keys]]\nalgorithm = \"HS256\"\nsecret = \"{long}\"\n");
    std::fs::write(&path, format!("{}{}{}{key}", app("1"), app("2"), app("3"))).unwrap();
    let of = |rest: &[&str]| {
        run(&[&["token", "--config", path.to_str().unwrap(), "--sub", "7"], rest].concat())
    };
    for name in ["2", "key-2"] {
        verify(&of(&["--app", name]).stdout, "key-2", "secret-2").unwrap();
    }
    for (arguments, part) in [
        (&[][..], "say which with --app (keys: key-1, key-2, key-3)"),
        (&["--app", "4"], "there is no such app"),
        (&["--app", "3"], "by its `[[apps.jwt_keys]]`, not by its secret"),
        (&["--app", "2", "--role", "root"], "`role` is not one of this app's"),
        (&["--app", "2", "--permission", "*a*"], "one `*` at most"),
        (&["--app", "2", "--expires", "soon"], "write `250ms`, `5s`, `2m` or `1h`"),
        (&["--app", "2", "--expires", "99999999999h"], "before the year 10000"),
    ] {
        let refused = of(arguments);
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{arguments:?}");
        assert!(text(&refused.stderr).contains(part), "{arguments:?}: {}", text(&refused.stderr));
    }
    let empty = run(&["token", "--sub", ""]);
    assert!(text(&empty.stderr).contains("user id is empty"));
}

#[test]
fn help_names_every_command() {
    let help = text(&run(&["--help"]).stdout);
    for command in ["dev", "serve", "config", "publish", "subscribe", "token", "app", "health"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
    }
}

#[test]
fn a_refused_publish_says_why() {
    let dev = Dev::start();
    let refused = run(&["publish", "bad channel", "e", "--url", &dev.url]);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("not allowed at byte 3"), "{}", text(&refused.stderr));
    let unsigned = run(&["publish", "c", "e", "--url", &dev.url, "--secret", "wrong"]);
    assert!(text(&unsigned.stderr).contains("401"));
}
