//! The text of an event stream. Fields end at a line break, so none may stand in one: data is spread
//! over several `data` fields, which the client puts together again, and names lose theirs.

use crate::channel::{Cached, Delivery, Recovery, Role};
use crate::event::Publication;
use crate::json::quoted;
use crate::name::ChannelName;
use crate::plain::frame::push_data;

/// A comment, which keeps proxies from closing a quiet stream.
pub const PING: &str = ": ping\n\n";

/// How long the client waits before it connects again, in ms.
#[must_use]
pub fn retry(ms: u64) -> String {
    format!("retry: {ms}\n\n")
}

/// Something was published that this stream does not have.
#[must_use]
pub fn gap(channel: &ChannelName) -> String {
    event("gap", &format!(r#"{{"channel":{}}}"#, quoted(channel.as_str())))
}

/// A notification that is of no channel.
#[must_use]
pub fn notification(text: &str) -> String {
    event("notification", text)
}

/// A subscription that cannot be; the stream goes on with the others.
#[must_use]
pub fn refused(channel: &ChannelName, why: &str) -> String {
    let data = format!(r#"{{"channel":{},"error":{}}}"#, quoted(channel.as_str()), quoted(why));
    event("refused", &data)
}

/// What a stream shows of a delivery: the events, its place when it is let in, and where the stream does not have all of them.
#[must_use]
pub fn deliver(channel: &ChannelName, delivery: &Delivery) -> Option<String> {
    match delivery {
        Delivery::Published(publication) => Some(published(publication)),
        Delivery::Welcome { joined, welcome } if matches!(joined.role, Role::Subscriber(_)) => {
            let gap = (welcome.recovery == Some(Recovery::Gap)).then(|| gap(channel));
            let cached = match &welcome.cached {
                Some(Cached::Hit(publication)) => Some(published(publication)),
                Some(Cached::Miss) | None => None,
            };
            // Without either it is nothing but a place, which the client keeps and does not show.
            Some(
                gap.into_iter()
                    .chain(cached)
                    .reduce(|gap, cached| gap + &cached)
                    .unwrap_or("\n".into()),
            )
        }
        _ => None,
    }
}

/// The data is always JSON: what an application published as plain text is a JSON string.
fn published(publication: &Publication) -> String {
    let published = &publication.draft.event;
    let mut data = String::with_capacity(published.data.bytes() + 2);
    push_data(&mut data, &published.data);
    event(published.name.as_str(), &data)
}

fn event(name: &str, data: &str) -> String {
    let mut out = String::with_capacity(name.len() + data.len() + 24);
    out.push_str("event: ");
    out.extend(name.chars().map(|c| if is_break(c) { ' ' } else { c }));
    for line in lines(data) {
        out.push_str("\ndata: ");
        out.push_str(line);
    }
    out.push_str("\n\n");
    out
}

const fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\0')
}

/// A line ends with CR LF, CR or LF.
fn lines(data: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let (line, after) = text.split_at(end);
        rest = Some(after.strip_prefix("\r\n").unwrap_or(&after[1..]));
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_break_of_a_publisher_ends_a_field() {
        assert_eq!(
            event("a\nid: 9", "{\"x\":\n1}\r\n\rz"),
            "event: a id: 9\ndata: {\"x\":\ndata: 1}\ndata: \ndata: z\n\n"
        );
        assert_eq!(event("e", ""), "event: e\ndata: \n\n");
    }
}
