//! As much of HTTP/1.1 as two programs on one machine need: whole messages with a length.

/// A message that has arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The request line or status line, and the headers.
    pub head: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// Its size on the wire.
    pub bytes: usize,
}

impl<'a> Message<'a> {
    /// Reads the message that `bytes` begin with. None if its end is not there yet, or if its head
    /// is not text.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let start = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&bytes[..start]).ok()?;
        let length = header(head, "content-length").and_then(|value| value.parse().ok());
        let end = start + length.unwrap_or(0usize);
        bytes.get(start..end).map(|body| Self { head, body, bytes: end })
    }

    /// The second word of the first line: a request's path, an answer's status.
    #[must_use]
    pub fn second_word(&self) -> &'a str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        header(self.head, name)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.split("\r\n").skip(1).filter_map(|l| l.split_once(':'));
    let found = lines.find(|(header, _)| header.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_its_length_says() {
        let bytes = b"POST /c001 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhiPOST";
        let message = Message::parse(bytes).unwrap();
        assert_eq!((message.second_word(), message.body), ("/c001", &b"hi"[..]));
        assert_eq!(message.header("host"), Some("x"));
        assert_eq!(message.bytes, bytes.len() - 4);
        assert_eq!(Message::parse(&bytes[..message.bytes - 1]), None);
    }

    #[test]
    fn no_length_is_no_body() {
        let bytes = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n\x81\x00";
        let message = Message::parse(bytes).unwrap();
        assert_eq!((message.second_word(), message.body), ("101", &b""[..]));
        assert_eq!(message.bytes, bytes.len() - 2);
    }
}
