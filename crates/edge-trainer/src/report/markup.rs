//! Text and elements that are valid in both HTML and XML.

use std::borrow::Cow;

use maud::{Markup, PreEscaped};

/// Returns text without characters that XML forbids or that could disguise other text. Line breaks and tabs become
/// spaces. Control characters, such as terminal escapes in a file name, and bidirectional overrides become visible
/// escapes. The result must still be escaped for markup.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| is_forbidden(c) || matches!(c, '\n' | '\t')) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' | '\t' => cleaned.push(' '),
            c if is_forbidden(c) => cleaned.extend(c.escape_default()),
            c => cleaned.push(c),
        }
    }
    Cow::Owned(cleaned)
}

fn is_forbidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') || is_override(c)
}

/// Returns whether the character overrides the text direction, which can make one name look like another.
fn is_override(c: char) -> bool {
    ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c)
}

/// Closes a single void element as XML requires: `<img/>` instead of `<img>`.
pub fn closed(element: Markup) -> Markup {
    let mut text = element.into_string();
    text.truncate(text.trim_end_matches('>').len());
    PreEscaped(text + "/>")
}

#[cfg(test)]
mod tests {
    use maud::html;

    use super::*;

    #[test]
    fn control_characters_become_visible_and_the_rest_is_escaped() {
        let shown = |text: &str| html! { (clean(text)) }.into_string();
        assert_eq!(shown("<b a=\"1\" c='2'>&"), "&lt;b a=&quot;1&quot; c='2'&gt;&amp;");
        assert_eq!(shown("a\u{1b}[2J\u{202e}b\nc"), "a\\u{1b}[2J\\u{202e}b c");
        assert_eq!(html! { p title=(clean("\"x\"")) {} }.into_string(), "<p title=\"&quot;x&quot;\"></p>");
    }

    #[test]
    fn void_elements_are_closed() {
        let image = closed(html! { img alt="a > b"; });
        assert_eq!(image.into_string(), "<img alt=\"a &gt; b\"/>");
    }
}
