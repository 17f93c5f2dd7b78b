//! Any body of a publish: it never panics, and what is accepted keeps the limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::app::Secret;
use proto::http::request::PublishRequest;
use proto::{App, AppId};

fuzz_target!(|body: &[u8]| {
    let app = App::new(AppId::parse("a").unwrap(), "k", Secret::new("s"));
    for request in [PublishRequest::event(body, &app), PublishRequest::batch(body, &app)] {
        let Ok(request) = request else { continue };
        assert!((1..=10).contains(&request.items.len()));
        for item in request.items {
            assert!((1..=100).contains(&item.channels.len()));
            assert!(item.event.data.bytes() <= 10_240);
        }
    }
});
