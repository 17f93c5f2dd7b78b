//! Any parameters: what a client signs is accepted, and any other query is not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::app::Secret;
use proto::http::signature::{Query, Signed, signed_query, verify};
use proto::{App, AppId};

const NOW: u64 = 1_700_000_000;

fuzz_target!(|input: (&str, Vec<(&str, &str)>, &[u8])| {
    let (raw, parameters, body) = input;
    let app = App::new(AppId::parse("a").unwrap(), "k", Secret::new("s"));
    let check = |query: &str| {
        let query = Query::parse(query)?;
        verify(&app, Signed { method: "POST", path: "/p", query: &query, body }, NOW)
    };
    // Nobody can sign without the secret.
    assert!(check(raw).is_err());
    let reserved = |name: &str| name.starts_with("auth_") || name == "body_md5";
    let mut names: Vec<&str> = parameters.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    let is_plain = |name: &&str| name.bytes().all(|b| b.is_ascii_lowercase()) && !reserved(name);
    let is_unambiguous = parameters.iter().all(|(_, value)| !value.contains(['&', '\n']));
    let is_good = is_unambiguous
        && names.windows(2).all(|pair| pair[0] != pair[1])
        && names.iter().all(is_plain);
    if is_good {
        let query = signed_query(("k", &app.secrets[0]), ("POST", "/p", body), &parameters, NOW);
        assert_eq!(check(&query), Ok(()));
    }
});
