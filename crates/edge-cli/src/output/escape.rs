//! How texts from strangers, such as names of files and tags, are written in each format. A name may hold anything: commands to a terminal,
//! marks that turn the direction of writing around, a spreadsheet's formula.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// Whether a character changes how the text around it is shown, or is not shown at all.
///
/// These are control characters, line and paragraph separators, and the characters that Unicode calls default ignorable
/// (`Default_Ignorable_Code_Point`, version 16), to which the marks of direction belong.
fn is_risky(c: char) -> bool {
    let ignorable = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}');
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || ignorable
}

/// Whether a character joins or varies the one before it, as in emoji and in Persian and Indic scripts.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe0e}' | '\u{fe0f}')
}

/// Returns text that is safe on a terminal and stays on one line: characters that are not shown become escapes such as `\n` and `\u{1b}`. A
/// joiner stays behind a character that is not ASCII, where it belongs.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_risky) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    let mut before = ' ';
    for c in text.chars() {
        let belongs = is_joiner(c) && !before.is_ascii() && !is_risky(before);
        if is_risky(c) && !belongs {
            safe.extend(c.escape_default())
        } else {
            safe.push(c)
        }
        before = c;
    }
    Cow::Owned(safe)
}

/// Returns the text of a cell of a CSV file. It is [`printable`], and a spreadsheet does not take it for a formula: one that begins like a
/// formula gets an apostrophe in front. Do not use it for numbers.
pub fn csv_text(text: &str) -> Cow<'_, str> {
    let text = printable(text);
    if text.starts_with(['=', '+', '-', '@']) { Cow::Owned(format!("'{text}")) } else { text }
}

/// Writes a value as JSON on one line, and a line break. Characters that are not shown become escapes, which stand for the same characters.
///
/// # Errors
/// Returns the error of `out`.
pub fn write_json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    write_with(out, value, CompactFormatter)
}

/// As [`write_json`], on several indented lines.
///
/// # Errors
/// Returns the error of `out`.
pub fn write_pretty_json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    write_with(out, value, PrettyFormatter::new())
}

fn write_with(out: &mut impl Write, value: &impl Serialize, formatter: impl Formatter) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut *out, Escaping(formatter)))?;
    out.write_all(b"\n")
}

/// Writes as another formatter, and escapes in strings what is not shown.
struct Escaping<F>(F);

macro_rules! as_inner {
    ($($method:ident($($name:ident: $kind:ty),*);)*) => {$(
        fn $method<W: ?Sized + Write>(&mut self, writer: &mut W $(, $name: $kind)*) -> io::Result<()> {
            self.0.$method(writer $(, $name)*)
        }
    )*};
}

impl<F: Formatter> Formatter for Escaping<F> {
    as_inner! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_risky(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that show something else than they are, or do something.
    const HOSTILE: [&str; 9] = [
        "a\nb\u{1b}[2Jc",
        "photo\u{202e}gpj.exe",
        "\u{9b}31mred",
        "two\u{2028}lines\u{85}here",
        "in\u{200b}vis\u{2060}ib\u{ad}le\u{feff}",
        "\u{e0041}\u{e0042}tags",
        "\u{61c}right\u{200f}to left",
        "a\u{200d}b\u{fe0f}",
        "hangul\u{3164}filler",
    ];

    #[test]
    fn what_is_not_shown_cannot_reach_the_terminal() {
        assert_eq!(printable("photo 1.jpg"), "photo 1.jpg");
        assert_eq!(printable(HOSTILE[0]), "a\\nb\\u{1b}[2Jc");
        assert_eq!(printable(HOSTILE[1]), "photo\\u{202e}gpj.exe");
        assert_eq!(printable(HOSTILE[7]), "a\\u{200d}b\\u{fe0f}");
        for text in HOSTILE {
            assert!(printable(text).chars().all(|c| !is_risky(c)), "{text:?}");
        }
        // A name with umlauts, an emoji of several people, one with a variation, and a Persian word with a non-joiner.
        for text in ["Zürich ☀.jpg", "👨\u{200d}👩\u{200d}👧.jpg", "❤\u{fe0f}.jpg", "می\u{200c}خواهم.jpg", "夜景"]
        {
            assert_eq!(printable(text), text);
        }
    }

    #[test]
    fn a_cell_is_not_a_formula() {
        for text in ["=HYPERLINK(\"http://x\")", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)"] {
            assert_eq!(csv_text(text), format!("'{text}"));
        }
        // Spreadsheets skip tabs and line breaks in front of a formula.
        assert_eq!(csv_text("\t=1"), "\\t=1");
        assert_eq!(csv_text("\r\n=1"), "\\r\\n=1");
        assert_eq!(csv_text("birds = nice, a-b"), "birds = nice, a-b");
    }

    #[test]
    fn json_is_ascii_where_it_must_be_and_says_the_same() {
        for text in HOSTILE.into_iter().chain(["👨\u{200d}👩.jpg", "\"quoted\\\"", "Zürich"]) {
            let value = serde_json::json!({ text: [text, 1.5, null, true], "n": -1 });
            let (mut line, mut pretty) = (Vec::new(), Vec::new());
            write_json(&mut line, &value).unwrap();
            write_pretty_json(&mut pretty, &value).unwrap();
            for bytes in [&line, &pretty] {
                let written = std::str::from_utf8(bytes).unwrap();
                assert!(written.chars().all(|c| !is_risky(c) || c == '\n'), "{written:?}");
                assert_eq!(serde_json::from_str::<serde_json::Value>(written).unwrap(), value);
            }
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        }
    }
}
