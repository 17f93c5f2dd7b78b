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
    Outbox::new(Writer::Held, Wire::SocketIo, &Limits::default())
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
    let outbox = Outbox::new(Writer::Held, Wire::SocketIo, &limits);
    for frame in ["aa", "b", "c"] {
        outbox.send(Bytes::from(frame)).unwrap();
    }
    assert_eq!(outbox.take(2), ["aa", "b"]);
    outbox.send(Bytes::from("ddd")).unwrap();
    assert_eq!(outbox.send(Bytes::from("e")), Err(Full::Lagging));
    let close = Wire::SocketIo.close(&CloseCode::OverCapacity.because(""));
    assert_eq!(outbox.take(9), [close], "nothing that waits has begun to leave");
}

/// What a poll has missed can be more than there is room for: it is answered in parts.
#[test]
fn a_poll_that_is_full_gets_what_there_was_room_for() {
    let limits = Limits { outbox_bytes: 4, ..Limits::default() };
    let outbox = Outbox::new(Writer::Held, Wire::Poll, &limits);
    outbox.send(Bytes::from("aa")).unwrap();
    outbox.send(Bytes::from("b")).unwrap();
    assert_eq!(outbox.send(Bytes::from("cc")), Err(Full::Lagging));
    assert_eq!(outbox.send(Bytes::from("d")), Err(Full::Closed), "it comes after what is missing");
    assert_eq!(outbox.take(usize::MAX), ["aa", "b"]);
}

/// What is low goes first; then normal events find no room and close the connection, where a high one
/// still finds some.
#[test]
fn what_is_low_goes_before_what_is_normal_and_that_before_what_is_high() {
    let limits = Limits { outbox_bytes: 8, ..Limits::default() };
    let outbox = Outbox::new(Writer::Held, Wire::SocketIo, &limits);
    let say = |text: &'static str, priority| {
        outbox.push(Frame { priority, ..Bytes::from_static(text.as_bytes()).into() })
    };
    let pushed = |is_first, shed| Ok(Pushed { is_first, shed });
    assert_eq!(say("low1", Priority::Low), pushed(true, 0));
    assert_eq!(say("low2", Priority::Low), pushed(false, 0));
    assert_eq!(say("low3", Priority::Low), Err(Full::Shed));
    assert_eq!(say("norm1", Priority::Normal), pushed(true, 2));
    assert_eq!(say("low4", Priority::Low), Err(Full::Shed));
    assert_eq!(say("hi", Priority::High), pushed(false, 0));
    assert_eq!(say("hi", Priority::High), pushed(false, 0));
    assert_eq!(outbox.take(9), ["norm1", "hi", "hi"]);

    assert_eq!(say("normal", Priority::Normal), pushed(true, 0));
    assert_eq!(say("no", Priority::Normal), pushed(false, 0));
    assert_eq!(say("h", Priority::High), pushed(false, 0), "an eighth is for these alone");
    assert_eq!(say("n", Priority::Normal), Err(Full::Lagging));
    assert_eq!(say("h", Priority::High), Err(Full::Closed));
}
