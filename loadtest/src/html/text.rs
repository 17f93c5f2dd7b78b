//! Text that goes into a page: what came from a command line or a file must not become a part of it.

/// The text, so that it is nothing but text between tags and in quoted attributes.
#[must_use]
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Neither is allowed in a page, and the first would end the text for some readers.
            '\0'..='\x08' | '\x0B' | '\x0C' | '\x0E'..='\x1F' | '\x7F' => out.push('\u{FFFD}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_tag_or_an_attribute() {
        let text = "<script>alert(\"1\" + '2')</script> & \0";
        let safe = "&lt;script&gt;alert(&quot;1&quot; + &#39;2&#39;)&lt;/script&gt; &amp; \u{FFFD}";
        assert_eq!(escape(text), safe);
        assert_eq!(escape("µs / delivery — 99 %"), "µs / delivery — 99 %");
    }
}
