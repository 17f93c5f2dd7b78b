//! An echo server on Handbell's WebSocket stack, for the Autobahn test suite: the same upgrade,
//! reader and outbox as the server's, and nothing else. `cargo run --example echo -- 127.0.0.1:9002`

use std::future::poll_fn;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::routing::get;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use handbell::http::error::HttpError;
use handbell::websocket::{accept, upgraded};
use handbell::{listen, outbox::Outbox};
use hyper::upgrade::OnUpgrade;
use proto::Limits;
use proto::door::Close;
use proto::wire::Wire;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Autobahn's largest message has 16 MiB.
const LARGEST: usize = 64 << 20;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9002".into());
    let listener = listen::bind(address.parse()?)?;
    let stop = watch::Sender::new(false);
    println!("echoing on ws://{}", listener.local_addr()?);
    listen::serve(listener, None, Router::new().route("/", get(connect)), stop.subscribe()).await;
    Ok(())
}

async fn connect(mut request: Request<Body>) -> Result<Response<Body>, HttpError> {
    let (answer, upgrade) = accept(&mut request)?;
    tokio::spawn(echo(upgrade));
    Ok(answer)
}

async fn echo(upgrade: OnUpgrade) {
    let limits = Limits { message_bytes: LARGEST, outbox_bytes: LARGEST * 2, ..Limits::default() };
    let Some((mut stream, outbox)) = upgraded(upgrade, Wire::Pusher, &limits).await else { return };
    loop {
        let message = tokio::select! {
            message = stream.next() => message,
            _ = poll_fn(|context| outbox.poll_signal(context)) => return,
        };
        match message {
            Some(Ok(Message::Text(text))) => send(&outbox, 0x81, text.as_bytes()),
            Some(Ok(Message::Binary(bytes))) => send(&outbox, 0x82, &bytes),
            Some(Ok(_)) => {}
            Some(Err(error)) => return finish(&outbox, &error).await,
            None => return,
        }
    }
}

fn send(outbox: &Outbox, first: u8, payload: &[u8]) {
    let mut header = BytesMut::with_capacity(10);
    header.put_u8(first);
    match payload.len() {
        short @ ..=125 => header.put_u8(u8::try_from(short).unwrap_or(0)),
        medium @ ..=0xffff => {
            header.put_u8(126);
            header.put_u16(u16::try_from(medium).unwrap_or(0));
        }
        long => {
            header.put_u8(127);
            header.put_u64(long as u64);
        }
    }
    // One frame in two parts: nothing else writes in between on this connection.
    let _ = outbox.push(header.freeze());
    let _ = outbox.push(Bytes::copy_from_slice(payload));
    outbox.flush();
}

async fn finish(outbox: &Outbox, error: &Error) {
    let code = match error {
        Error::Capacity(_) => 1009,
        Error::Utf8(_) => 1007,
        Error::Protocol(_) => 1002,
        _ => return,
    };
    outbox.close(&Close { code, reason: "".into() });
    let _ = poll_fn(|context| outbox.poll_empty(context)).await;
}
