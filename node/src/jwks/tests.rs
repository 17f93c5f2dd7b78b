//! Key sets against a server that answers by hand and counts how often it was asked.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proto::AppId;
use proto::app::Secret;
use proto::token::key::Algorithm;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Times that a test can wait for.
const QUICK: Pace = Pace { every: Duration::from_secs(60), floor: Duration::from_millis(300) };
/// No second attempt while a test runs.
const ONCE: Pace = Pace { every: Duration::from_secs(60), floor: Duration::from_secs(60) };

struct Provider {
    url: String,
    answer: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    async fn start(answer: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let (answer, asked) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicUsize::new(0)));
        let provider = Self { url, answer: Arc::clone(&answer), asked: Arc::clone(&asked) };
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let _ = socket.read(&mut [0; 4096]).await.unwrap();
                asked.fetch_add(1, Ordering::SeqCst);
                let answer = answer.lock().unwrap().clone();
                // A client that has read enough may be gone.
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        provider
    }

    fn set(&self, pace: Pace) -> KeySet {
        KeySet::start(Client::new(), source(&self.url, true), pace)
    }

    fn answers(&self, answer: String) {
        *self.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn source(url: &str, allow_private_address: bool) -> JwksSource {
    let (issuer, audience) = (None, None);
    let algorithm = Algorithm::EdDSA;
    JwksSource { url: url.into(), algorithm, issuer, audience, allow_private_address }
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn set_of(keys: &[(&str, &KeyPair)]) -> String {
    let jwk = |(kid, pair): &(&str, &KeyPair)| -> Value {
        let x = URL_SAFE_NO_PAD.encode(pair.der_bytes());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x })
    };
    let keys: Vec<Value> = keys.iter().map(jwk).collect();
    answer("200 OK", &json!({ "keys": keys }).to_string())
}

fn pair() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).unwrap()
}

fn token(kid: &str, pair: &KeyPair) -> String {
    let encode = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let header = encode(json!({ "alg": "EdDSA", "kid": kid }));
    let claims = encode(json!({ "sub": "7", "exp": unix_ms() / 1000 + 60 }));
    let message = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes()).unwrap());
    format!("{message}.{signature}")
}

async fn check(token: &str, set: &KeySet) -> Result<Token, TokenError> {
    let app = App::new(AppId::parse("a").unwrap(), "key", Secret::new("secret"));
    let app = App { jwks: vec![set.source.clone()], ..app };
    verify_fresh(token, &app, std::slice::from_ref(set)).await
}

#[tokio::test]
async fn a_token_waits_for_the_first_fetch_and_no_later_one_does() {
    let one = pair();
    let provider = Provider::start(set_of(&[("1", &one)])).await;
    let set = provider.set(ONCE);
    for _ in 0..3 {
        assert_eq!(check(&token("1", &one), &set).await.unwrap().user.as_str(), "7");
    }
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it() {
    let (one, two) = (pair(), pair());
    let provider = Provider::start(set_of(&[("1", &one)])).await;
    let set = provider.set(QUICK);
    check(&token("1", &one), &set).await.unwrap();
    provider.answers(set_of(&[("1", &one), ("2", &two)]));
    sleep(QUICK.floor * 2).await;
    check(&token("2", &two), &set).await.unwrap();
    check(&token("1", &one), &set).await.unwrap();
    assert_eq!(provider.asked(), 2);
}

#[tokio::test]
async fn made_up_keys_do_not_make_it_ask_more_often() {
    let (one, stranger) = (pair(), pair());
    let provider = Provider::start(set_of(&[("1", &one)])).await;
    let set = provider.set(ONCE);
    check(&token("1", &one), &set).await.unwrap();
    let begin = Instant::now();
    for kid in 0..50 {
        let refused = check(&token(&kid.to_string(), &stranger), &set).await;
        assert!(refused.is_err_and(|error| error.is_about_keys()));
    }
    assert_eq!(provider.asked(), 1);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_set_that_cannot_be_fetched_stays_as_it_was() {
    let one = pair();
    let elsewhere = Provider::start(set_of(&[("9", &one)])).await;
    let provider = Provider::start(set_of(&[("1", &one)])).await;
    let set = provider.set(QUICK);
    check(&token("1", &one), &set).await.unwrap();
    let redirect = format!("302 Found\r\nlocation: {}", elsewhere.url);
    let long = format!("{{\"keys\":[{}]}}", " ".repeat(BOUNDS.bytes));
    for wrong in [
        answer("500 Internal Server Error", ""),
        answer(&redirect, ""),
        answer("200 OK", "<html>"),
        answer("200 OK", "{\"keys\":[]}"),
        answer("200 OK", &long),
        "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"keys\":[".into(),
    ] {
        let before = provider.asked();
        provider.answers(wrong.clone());
        sleep(QUICK.floor * 2).await;
        let refused = check(&token("9", &one), &set).await.unwrap_err();
        assert_eq!(refused, TokenError::UnknownKey, "{}", &wrong[..wrong.len().min(80)]);
        assert!(provider.asked() > before, "{}", &wrong[..wrong.len().min(80)]);
        check(&token("1", &one), &set).await.unwrap();
    }
    assert_eq!(elsewhere.asked(), 0, "a redirect was followed");
}

#[tokio::test]
async fn a_set_in_a_private_range_is_not_fetched_unless_it_may_be() {
    let one = pair();
    let provider = Provider::start(set_of(&[("1", &one)])).await;
    let port = provider.url.rsplit_once(':').unwrap().1;
    for url in
        [provider.url.clone(), format!("http://localhost:{port}"), "http://localhost/".into()]
    {
        let set = KeySet::start(Client::new(), source(&url, false), QUICK);
        assert_eq!(check(&token("1", &one), &set).await, Err(TokenError::Algorithm), "{url}");
    }
    assert_eq!(provider.asked(), 0);
}

#[tokio::test]
async fn a_set_is_given_up_with_its_last_handle() {
    let provider = Provider::start(set_of(&[("1", &pair())])).await;
    let set = provider.set(QUICK);
    let second = set.clone();
    let wanted = Arc::downgrade(&set.wanted);
    drop(set);
    sleep(QUICK.floor).await;
    assert!(wanted.upgrade().is_some());
    drop(second);
    timeout(Duration::from_secs(5), async {
        while wanted.upgrade().is_some() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("its task ends");
}
