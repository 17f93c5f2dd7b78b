//! Where the webhooks go: an HTTP server that takes everything and answers at once.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::SyncSender;
use std::thread;

use anyhow::Context as _;
use serde::Deserialize;

use super::observation::{Hook, Observation};
use crate::http::Message;

/// Its address in the namespace.
pub(super) const ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 10)), 9000);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Serves on a thread of its own.
///
/// # Errors
/// If the address is taken.
pub(super) fn spawn(
    address: SocketAddr,
    out: SyncSender<Observation>,
) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(address).context("the webhook sink cannot listen")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let out = out.clone();
            // A broken connection ends here; the server tries again on another one.
            thread::spawn(move || serve(stream, &out));
        }
    });
    Ok(address)
}

fn serve(mut stream: TcpStream, out: &SyncSender<Observation>) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Body {
        events: Vec<Hook>,
    }
    let (mut bytes, mut buffer) = (Vec::new(), [0; 8192]);
    loop {
        while let Some(message) = Message::parse(&bytes) {
            let body: Body = serde_json::from_slice(message.body)?;
            out.send(Observation::Hooks(body.events))?;
            let size = message.bytes;
            bytes.drain(..size);
            stream.write_all(ANSWER)?;
        }
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    use super::super::call::Caller;
    use super::*;
    use crate::dialect::request;

    #[test]
    fn posted_events_are_reported_and_answered() {
        let (out, seen) = sync_channel(8);
        let address = spawn((Ipv4Addr::LOCALHOST, 0).into(), out).unwrap();
        let mut caller = Caller::new(address);
        for name in ["channel_occupied", "channel_vacated"] {
            let body = format!(r#"{{"time_ms":1,"events":[{{"name":"{name}","channel":"c"}}]}}"#);
            let post = request(("POST", "/"), &[], body.as_bytes());
            let answer = caller.call(&post, Duration::from_secs(5), || false).unwrap();
            assert_eq!(answer.status(), 200);
            let Ok(Observation::Hooks(hooks)) = seen.recv() else { panic!("no hooks") };
            assert_eq!(hooks[0].name, name);
        }
    }
}
