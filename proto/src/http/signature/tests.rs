//! Signatures: the worked examples of the documents, and everything that must not pass.

use super::*;
use crate::name::AppId;
use proptest::prelude::*;

const NOW: u64 = 1_700_000_000;
const BODY: &[u8] = br#"{"name":"price","channels":["cache-btc"],"data":"{\"usd\":1}"}"#;
const QUERY: &str = "auth_key=0a1b2c3d4e5f&auth_timestamp=1700000000&auth_version=1.0&body_md5=c834704dbcd014ecdc6e2fcee3568a89&auth_signature=dfc1a68bf2b4b861cd4be8b50d1d0cac950feb532197879f71808543a7abdca3";

fn app() -> App {
    App::new(AppId::parse("42").unwrap(), "0a1b2c3d4e5f", Secret::new("s3cr3t-for-the-spec"))
}

fn check(method: &str, path: &str, query: &str, body: &[u8]) -> Result<(), SignatureError> {
    let query = Query::parse(query)?;
    verify(&app(), Signed { method, path, query: &query, body }, NOW)
}

#[test]
fn the_worked_examples_of_the_documents_pass() {
    assert_eq!(check("POST", "/apps/42/events", QUERY, BODY), Ok(()));
    let get = "filter_by_prefix=presence-a%40b&info=user_count&auth_key=0a1b2c3d4e5f&auth_timestamp=1700000000&auth_version=1.0&auth_signature=3a750874a6a6ab3d920172169e0e67cdaf3bdfee071a4fa09d2bbd4d4c11054e";
    assert_eq!(check("GET", "/apps/42/channels", get, b""), Ok(()));
}

#[test]
fn another_method_path_query_or_body_does_not_pass() {
    let wrong = [
        ("PUT", "/apps/42/events", QUERY.to_owned(), BODY),
        ("POST", "/apps/42/batch_events", QUERY.to_owned(), BODY),
        ("POST", "/apps/42/events/", QUERY.to_owned(), BODY),
        ("POST", "/apps/42/events", format!("{QUERY}&info=x"), BODY),
        ("POST", "/apps/42/events", QUERY.to_owned(), &BODY[1..]),
        ("POST", "/apps/42/events", QUERY.to_owned(), b""),
        ("POST", "/apps/42/events", QUERY.replace("1.0", "1.1"), BODY),
        ("POST", "/apps/42/events", QUERY.replace("0a1b", "0a1c"), BODY),
    ];
    for (method, path, query, body) in wrong {
        assert!(check(method, path, &query, body).is_err(), "{method} {path} {query}");
    }
}

#[test]
fn every_parameter_must_be_there_once() {
    for name in ["auth_key", "auth_timestamp", "auth_version", "body_md5", "auth_signature"] {
        let parts: Vec<&str> = QUERY.split('&').filter(|p| !p.starts_with(name)).collect();
        assert_eq!(
            check("POST", "/apps/42/events", &parts.join("&"), BODY),
            Err(SignatureError::Missing(name))
        );
        let pair = QUERY.split('&').find(|p| p.starts_with(name)).unwrap();
        for twice in [pair.to_owned(), pair.to_uppercase()] {
            let query = format!("{QUERY}&{twice}");
            assert!(matches!(
                check("POST", "/apps/42/events", &query, BODY),
                Err(SignatureError::Duplicate(_))
            ));
        }
    }
}

#[test]
fn only_plain_seconds_within_ten_minutes_pass() {
    let signed_at = |timestamp: &str| {
        let pairs =
            [("auth_key", "0a1b2c3d4e5f"), ("auth_timestamp", timestamp), ("auth_version", "1.0")];
        let canonical: Vec<String> = pairs.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let text = format!("GET\n/apps/42/channels\n{}", canonical.join("&"));
        let signature = sign("s3cr3t-for-the-spec", text.as_bytes());
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs).append_pair("auth_signature", &signature);
        check("GET", "/apps/42/channels", &query.finish(), b"")
    };
    for good in [NOW - 600, NOW, NOW + 600] {
        assert_eq!(signed_at(&good.to_string()), Ok(()));
    }
    for bad in [
        (NOW - 601).to_string(),
        (NOW + 601).to_string(),
        i64::MIN.to_string(),
        i64::MAX.to_string(),
        u64::MAX.to_string(),
        (i128::from(NOW) + i128::from(i64::MIN)).to_string(),
        format!("{NOW}0000000000000000000000"),
        "1.7e9".into(),
        format!(" {NOW}"),
        format!("+{NOW}"),
        format!("{NOW}.0"),
        "１７００００００００".into(),
        String::new(),
    ] {
        assert_eq!(signed_at(&bad), Err(SignatureError::WrongTime(NOW)), "{bad:?}");
    }
}

#[test]
fn the_empty_body_of_a_get_may_be_signed_too() {
    let app = app();
    let query = signed_query((&app.key, &app.secrets[0]), ("GET", "/p", b""), &[], NOW);
    assert_eq!(check("GET", "/p", &query, b""), Ok(()));
    let empty_md5 = [("body_md5", "d41d8cd98f00b204e9800998ecf8427e")];
    let query = signed_query((&app.key, &app.secrets[0]), ("GET", "/p", b""), &empty_md5, NOW);
    assert_eq!(check("GET", "/p", &query, b""), Ok(()));
    assert_eq!(check("GET", "/p", &query, b"x"), Err(SignatureError::WrongBody));
}

#[test]
fn a_query_that_could_be_signed_as_another_one_is_refused() {
    for raw in ["name=a%26socket_id%3D1.2", "a%3Db=c", "a%26b=c", "a=b%0Ac"] {
        assert!(matches!(Query::parse(raw), Err(SignatureError::Separator(_))), "{raw}");
    }
    assert!(Query::parse("name=a=b&info=user_count,cache").is_ok());
}

#[test]
fn a_path_is_signed_as_it_is_or_as_it_is_sent_but_never_as_another_path() {
    let app = app();
    let signed_for = |signed: &str, sent: &str| {
        let query = signed_query((&app.key, &app.secrets[0]), ("POST", signed, b""), &[], NOW);
        check("POST", sent, &query, b"").is_ok()
    };
    assert!(signed_for("/apps/42/users/Ann Other/x", "/apps/42/users/Ann%20Other/x"));
    assert!(signed_for("/apps/42/users/ü/x", "/apps/42/users/%C3%BC/x"));
    assert!(signed_for("/apps/42/users/a%20b/x", "/apps/42/users/a%20b/x"));
    assert!(!signed_for("/apps/42/users/a/x", "/apps/42/users%2Fa/x"));
    assert!(!signed_for("/apps/42/users/a/x", "/apps/42/users%2fa/x"));
    assert!(!signed_for("/apps/42/users/a", "/apps/42/users/%ff"));
}

proptest! {
    #[test]
    fn no_mutation_of_a_signature_passes(at in 0_usize..64, to in proptest::char::range(' ', '~')) {
        let (head, signature) = QUERY.rsplit_once('=').unwrap();
        let mut mutated: Vec<char> = signature.chars().collect();
        prop_assume!(mutated[at] != to);
        mutated[at] = to;
        let mutated: String = mutated.into_iter().collect();
        let encoded: String = form_urlencoded::byte_serialize(mutated.as_bytes()).collect();
        let query = format!("{head}={encoded}");
        prop_assert!(check("POST", "/apps/42/events", &query, BODY).is_err());
    }

    #[test]
    fn no_mutation_of_a_body_passes(at in 0_usize..62, bit in 0_u8..8) {
        let mut body = BODY.to_vec();
        body[at] ^= 1 << bit;
        prop_assert!(check("POST", "/apps/42/events", QUERY, &body).is_err());
    }

    #[test]
    fn what_a_client_signs_the_server_accepts(
        parameters in proptest::collection::btree_map("[a-z_]{1,12}", "[^&\n]{0,20}", 0..6),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        prop_assume!(!parameters.keys().any(|name| name.starts_with("auth_") || name == "body_md5"));
        let app = app();
        let pairs: Vec<(&str, &str)> =
            parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let query = signed_query((&app.key, &app.secrets[0]), ("POST", "/p", &body), &pairs, NOW);
        prop_assert_eq!(check("POST", "/p", &query, &body), Ok(()));
    }
}
