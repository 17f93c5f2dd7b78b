//! What an app is asked, what it may answer, and what is remembered of that.

use std::time::Duration;

use crate::name::{AppId, ChannelName};
use crate::time::{Moment, Now};

use super::*;

const NOW_MS: u64 = 1_800_000_000_000;

fn app() -> App {
    App::new(AppId::parse("a").unwrap(), "key", Secret::new("secret"))
}

fn now(seconds: u64) -> Now {
    let moment = Moment::from_micros(0) + Duration::from_secs(seconds);
    Now { moment, unix_ms: NOW_MS + seconds * 1000 }
}

fn shown(cookie: &str) -> Shown {
    let headers = vec![("cookie".to_owned(), Secret::new(cookie))];
    Shown { headers, origin: Some("https://example.com".into()) }
}

fn key(shown: &Shown, door: &str, channels: &[&str]) -> Key {
    Question::new((&app(), &backend()), shown, door, channels).key()
}

fn answers(cache_seconds: u32, cache_entries: usize) -> Answers {
    Answers::new(&Authorization { backend: backend(), cache_seconds, cache_entries })
}

fn backend() -> Backend {
    Backend {
        url: String::new(),
        allow_private_address: false,
        timeout: Duration::from_secs(3),
        headers: vec!["cookie".into()],
    }
}

fn says(json: &str) -> Result<Verdict, AnswerError> {
    read((200, json.as_bytes()), &app(), NOW_MS)
}

#[test]
fn a_question_says_what_is_asked() {
    let (app, mut shown) = (app(), shown("session=1"));
    shown.headers.push(("authorization".into(), Secret::new("for another back end")));
    let backend = backend();
    let question = Question::new((&app, &backend), &shown, "sse", &["job:7", "news"]);
    assert_eq!(question.headers().len(), 1);
    assert_eq!(
        question.body(),
        r#"{"app":"key","channels":["job:7","news"],"door":"sse","origin":"https://example.com"}"#
    );
    assert_eq!(question.headers()[0].1.expose(), "session=1");
    assert!(!format!("{question:?}").contains("session=1"), "it shows no secret");
}

#[test]
fn whatever_differs_is_another_question() {
    let mut shown_twice = shown("a");
    shown_twice.headers.push(("cookie".into(), Secret::new("b")));
    let elsewhere = Shown { origin: None, ..shown("a") };
    let keys = [
        key(&shown("a"), "sse", &["x"]),
        key(&shown("b"), "sse", &["x"]),
        key(&shown("a"), "poll", &["x"]),
        key(&shown("a"), "sse", &["x", "y"]),
        key(&shown("a"), "sse", &[]),
        key(&shown_twice, "sse", &["x"]),
        key(&shown("acookieb"), "sse", &["x"]),
        key(&elsewhere, "sse", &["x"]),
        key(&Shown::default(), "sse", &["x"]),
    ];
    for (index, one) in keys.iter().enumerate() {
        assert!(!keys[..index].contains(one), "{index}");
    }
    assert_eq!(key(&shown("a"), "sse", &["x"]), keys[0]);
}

#[test]
fn an_answer_says_what_a_token_would() {
    let who = says(r#"{"sub":"7","permissions":["job:*:ro"],"role":"guest"}"#).unwrap().unwrap();
    assert_eq!(who.user().unwrap().as_str(), "7");
    assert!(who.subscribe(&app(), "job:1").is_ok());
    assert!(who.subscribe(&app(), "public:general").is_ok());
    assert!(who.publish(&app(), "job:1").is_err());
    assert!(who.subscribe(&app(), "news").is_err());
    assert_eq!(who.expires_unix_ms(), Some(NOW_MS + 86_400_000), "it counts for a day");
    let until = says(r#"{"sub":"7","exp":1800000060}"#).unwrap().unwrap();
    assert_eq!(until.expires_unix_ms(), Some(NOW_MS + 60_000));
    let nobody = says(r#"{}"#).unwrap().unwrap();
    assert_eq!((nobody.user(), nobody.expires_unix_ms()), (None, None));
    assert!(nobody.subscribe(&app(), "news").is_ok());
    assert!(nobody.subscribe(&app(), "private:news").is_err());
    let own = ChannelName::parse("#server-to-user-7").unwrap();
    assert!(who.subscribe(&app(), own.as_str()).is_ok());
}

#[test]
fn no_answer_but_these_is_one() {
    for bad in [
        "",
        "null",
        "[]",
        "true",
        r#"{"sub":7}"#,
        r#"{"sub":null}"#,
        r#"{"sub":""}"#,
        r#"{"sub":"7","sub":"8"}"#,
        r#"{"sub":"7","exp":"1800000060"}"#,
        r#"{"sub":"7","exp":1000}"#,
        r#"{"sub":"7","exp":1800000060000}"#,
        r#"{"sub":"7","role":"emperor"}"#,
        r#"{"sub":"7","permissions":"*"}"#,
        r#"{"sub":"7","permissions":["a*b"]}"#,
        r#"{"sub":"7","app":"other"}"#,
        r#"{"permissions":["*"]}"#,
        r#"{"role":"user"}"#,
    ] {
        assert!(matches!(says(bad), Err(AnswerError::Claims(_))), "{bad}");
    }
    for status in [401, 403] {
        assert_eq!(read((status, b"whatever"), &app(), NOW_MS), Ok(Err(Forbidden)));
    }
    for status in [201, 204, 302, 400, 404, 429, 500, 503] {
        assert_eq!(read((status, b"{}"), &app(), NOW_MS), Err(AnswerError::Status(status)));
    }
}

#[test]
fn an_answer_is_remembered_for_its_time_and_given_to_nobody_else() {
    let mut answers = answers(10, 100);
    let (ann, bob) = (key(&shown("ann"), "sse", &["x"]), key(&shown("bob"), "sse", &["x"]));
    answers.put(ann, says(r#"{"sub":"ann"}"#).unwrap(), now(0));
    answers.put(bob, Err(Forbidden), now(1));
    assert_eq!(answers.get(ann, now(9)).unwrap().unwrap().user().unwrap().as_str(), "ann");
    assert_eq!(answers.get(bob, now(9)), Some(Err(Forbidden)));
    assert_eq!(answers.get(ann, now(10)), None);
    assert_eq!(answers.get(key(&shown("eve"), "sse", &["x"]), now(0)), None);
    answers.put(ann, says(r#"{"sub":"ann","exp":1800000012}"#).unwrap(), now(10));
    assert!(answers.get(ann, now(11)).is_some());
    assert_eq!(answers.get(ann, now(12)), None, "it has ended");
}

#[test]
fn who_shows_nothing_is_given_no_name_of_somebody_else() {
    let (app, nothing, something) = (app(), Shown::default(), shown("a"));
    let backend = backend();
    let question = |shown| Question::new((&app, &backend), shown, "sse", &["x"]);
    let named = says(r#"{"sub":"guest-1"}"#).unwrap();
    assert!(!question(&nothing).is_answered_by(&named));
    assert!(question(&nothing).is_answered_by(&Err(Forbidden)));
    assert!(question(&something).is_answered_by(&named));
}

#[test]
fn only_so_many_answers_are_remembered() {
    let mut answers = answers(10, 3);
    let keys: Vec<Key> = (0..6).map(|n| key(&shown(&n.to_string()), "sse", &[])).collect();
    for (second, key) in (0..).zip(&keys) {
        answers.put(*key, Err(Forbidden), now(second));
        // The same again is one answer.
        answers.put(*key, Err(Forbidden), now(second));
        assert!(answers.verdicts.len() <= 3 && answers.given.len() == answers.verdicts.len());
    }
    let is_there = |key: &Key| answers.get(*key, now(5)).is_some();
    assert_eq!(
        keys.iter().map(is_there).collect::<Vec<_>>(),
        [false, false, false, true, true, true]
    );
    answers.put(keys[0], Err(Forbidden), now(60));
    assert_eq!(answers.verdicts.len(), 1, "what is too old goes");
    let mut none = self::answers(0, 3);
    none.put(keys[0], Err(Forbidden), now(0));
    assert_eq!((none.get(keys[0], now(0)), none.verdicts.len()), (None, 0));
}
