//! Where requests may not go, in every spelling.

use super::*;

#[test]
fn addresses_that_are_not_global_are_refused_in_every_spelling() {
    for url in [
        "http://127.0.0.1/",
        "http://127.0.0.1./",
        "http://127.1/",
        "http://0/",
        "http://0.0.0.0/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://017700000001/",
        "http://10.0.0.1/",
        "http://10.255.255.255/",
        "http://100.64.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://172.16.0.1/",
        "http://172.31.255.255/",
        "http://192.0.0.1/",
        "http://192.0.2.1/",
        "http://192.168.1.1/",
        "http://198.18.0.1/",
        "http://198.51.100.1/",
        "http://203.0.113.1/",
        "http://224.0.0.1/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        "http://[::]/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[::127.0.0.1]/",
        "http://[::ffff:0:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b:1::1]/",
        "http://[2002:7f00:1::]/",
        "http://[2002:a9fe:a9fe::]/",
        "http://[fc00::1]/",
        "http://[fd12:3456::1]/",
        "http://[fe80::1]/",
        "http://[ff02::1]/",
        "http://[2001:db8::1]/",
        "http://[2001::1]/",
        "http://[3fff::1]/",
        "http://[100::1]/",
    ] {
        assert!(check_url(url, Reach::Global).is_err(), "{url}");
    }
}

#[test]
fn what_is_no_plain_http_address_is_refused_whatever_the_reach() {
    for url in [
        "",
        "example.com",
        "/hook",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "http://",
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://example.com@127.0.0.1/",
        "http://example.com/\r\nX-Injected: 1",
        "http://exa mple.com/",
        "http://127.1/",
        "http://0x7f000001/",
        "http://2130706433/",
    ] {
        assert!(check_url(url, Reach::Any).is_err(), "{url}");
    }
}

#[test]
fn ports_are_80_and_443_unless_allowed() {
    assert_eq!(check_url("http://example.com:22/", Reach::Global), Err(UrlError::Port(22)));
    assert!(check_url("http://example.com:8080/", Reach::Any).is_ok());
    assert!(check_url("http://example.com:443/", Reach::Global).is_ok());
}

#[test]
fn global_addresses_and_names_are_allowed() {
    for url in [
        "http://example.com/hook",
        "https://hooks.example.com/a?b=c",
        "http://8.8.8.8/",
        "https://[2606:4700::1111]/",
        "http://172.32.0.1/",
        "http://[64:ff9b::808:808]/",
    ] {
        assert!(check_url(url, Reach::Global).is_ok(), "{url}");
    }
}

#[test]
fn a_name_that_resolves_to_one_bad_address_is_refused() {
    let addresses = |ips: &[&str]| -> Vec<SocketAddr> {
        ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect()
    };
    let rebound = addresses(&["8.8.8.8", "127.0.0.1"]);
    assert!(allowed(rebound.clone().into_iter(), Reach::Global).is_err());
    assert_eq!(allowed(rebound.into_iter(), Reach::Any).unwrap().len(), 2);
    assert!(allowed(addresses(&["8.8.8.8"]).into_iter(), Reach::Global).is_ok());
}
