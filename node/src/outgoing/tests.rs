//! Requests against a server that answers by hand.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const BOUNDS: Bounds = Bounds { deadline: Duration::from_secs(30), bytes: 10 };

/// A server that answers every request with these bytes and then says nothing more.
async fn server(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut silent = Vec::new();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 4096]).await.unwrap();
            socket.write_all(answer.as_bytes()).await.unwrap();
            silent.push(socket);
        }
    });
    url
}

async fn ask(url: &str, reach: Reach, bounds: Bounds) -> Result<Bytes, OutgoingError> {
    let empty = |request: Builder| request.body(Full::default());
    let answer = Client::new().ask(Method::GET, (url, reach), bounds, empty).await?;
    answer.expect_success()?;
    answer.body().await
}

#[tokio::test]
async fn an_answer_is_read_to_its_bound() {
    let ten = server("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789").await;
    assert_eq!(ask(&ten, Reach::Any, BOUNDS).await.unwrap(), "0123456789");
    let eleven = server("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n0123456789a").await;
    let refused = ask(&eleven, Reach::Any, BOUNDS).await;
    assert!(matches!(refused, Err(OutgoingError::TooLong(10))), "{refused:?}");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_not_waited_for() {
    let bounds = Bounds { deadline: Duration::from_millis(100), ..BOUNDS };
    let (silent, slow) = ("", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234");
    for answer in [silent, slow] {
        let refused = ask(&server(answer).await, Reach::Any, bounds).await;
        assert!(matches!(refused, Err(OutgoingError::Timeout(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_another() {
    let answer = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n";
    let refused = ask(&server(answer).await, Reach::Any, BOUNDS).await;
    let is_status = matches!(refused, Err(OutgoingError::Status(StatusCode::FOUND)));
    assert!(is_status, "{refused:?}");
}

#[tokio::test]
async fn a_name_that_leads_into_a_private_range_is_not_asked() {
    let refused = ask("http://localhost/", Reach::Global, BOUNDS).await.unwrap_err();
    assert!(refused.to_string().contains("is not globally reachable"), "{refused}");
    assert!(refused.is_worth_retrying(), "names may lead elsewhere later");
    let refused = ask("http://127.0.0.1/", Reach::Global, BOUNDS).await.unwrap_err();
    assert!(!refused.is_worth_retrying());
}
