//! Event streams as a client sees them: events end with an empty line.

/// The event that `bytes` begin with, its end included. None if its end is not there yet.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(2).position(|end| end == b"\n\n")?;
    Some(&bytes[..end + 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_with_an_empty_line() {
        let bytes = b"id: 1\ndata: a\n\n: ping\n\ndata";
        let event = parse(bytes).unwrap();
        assert_eq!(event, b"id: 1\ndata: a\n\n");
        assert_eq!(parse(&bytes[event.len()..]).unwrap(), b": ping\n\n");
        assert_eq!(parse(b"data"), None);
    }
}
