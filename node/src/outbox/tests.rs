//! Outboxes without a socket, and how they get one.

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// An outbox with a socket, and the other end of that.
async fn connected() -> (Outbox, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (_, writer) = listener.accept().await.unwrap().0.into_split();
    (Outbox::new(Writer::Plain(writer), Wire::Pusher, &Limits::default()), client)
}

fn held() -> Outbox {
    Outbox::new(Writer::Held, Wire::Pusher, &Limits::default())
}

#[tokio::test]
async fn what_waits_for_the_new_socket_leaves_before_what_waited_without_one() {
    let ((old, mut client), heir) = (connected().await, held());
    heir.send(Bytes::from_static(b"c")).unwrap();
    old.push(Bytes::from_static(b"a")).unwrap();
    old.push(Bytes::from_static(b"b")).unwrap();
    old.hand_over(&heir);
    heir.send(Bytes::from_static(b"d")).unwrap();
    assert_eq!(old.send(Bytes::from_static(b"late")), Err(Full::Closed));
    let mut read = [0; 4];
    client.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"abcd");
}

#[test]
fn what_is_taken_makes_room() {
    let limits = Limits { outbox_bytes: 4, ..Limits::default() };
    let outbox = Outbox::new(Writer::Held, Wire::Pusher, &limits);
    for frame in ["aa", "b", "c"] {
        outbox.send(frame.into()).unwrap();
    }
    assert_eq!(outbox.take(2), ["aa", "b"]);
    outbox.send("ddd".into()).unwrap();
    assert_eq!(outbox.send("e".into()), Err(Full::Lagging));
    // The first may have begun, for all that the outbox knows.
    assert_eq!(outbox.take(9)[0], "c");
}
