//! A [`Document`] as one self-contained page: no script, no file beside it, nothing from elsewhere. Well-formed XML as
//! well.

use std::fmt::Write;

use super::document::{Block, Document, Grid, Strip};

const STYLE: &str = include_str!("style.css");

/// The page.
pub fn page(document: &Document) -> String {
    let title = escape(&document.title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n\
         <meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    for section in &document.sections {
        let _ = writeln!(out, "<section>\n<h2>{}</h2>", escape(&section.title));
        section.blocks.iter().for_each(|b| block(&mut out, b));
        out.push_str("</section>\n");
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn block(out: &mut String, block: &Block) {
    match block {
        Block::Text(text) => drop(writeln!(out, "<p>{}</p>", escape(text))),
        Block::Table(grid) => table(out, grid),
        Block::Chart(chart) => drop(writeln!(
            out,
            "<figure>\n{}\n<figcaption>{}</figcaption>\n</figure>",
            chart.svg,
            escape(&chart.caption)
        )),
        Block::Gallery(strips) => strips.iter().for_each(|s| strip(out, s)),
        Block::Terms(terms) => {
            out.push_str("<dl>\n");
            for (term, meaning) in terms {
                let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(term), escape(meaning));
            }
            out.push_str("</dl>\n");
        }
    }
}

fn table(out: &mut String, grid: &Grid) {
    out.push_str("<div class=\"wide\"><table>\n<thead><tr>");
    // A column of words is read from the left, one of numbers is compared from the right.
    let words: Vec<bool> =
        (0..grid.header.len()).map(|c| grid.rows.iter().any(|row| row[c].starts_with(char::is_alphabetic))).collect();
    let class = |column: usize| if words[column] { " class=\"words\"" } else { "" };
    for (i, name) in grid.header.iter().enumerate() {
        let _ = write!(out, "<th{}>{}</th>", class(i), escape(name));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &grid.rows {
        out.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            let _ = write!(out, "<td{}>{}</td>", class(i), escape(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
}

fn strip(out: &mut String, strip: &Strip) {
    let _ = writeln!(out, "<h3>{}</h3>\n<div class=\"strip\">", escape(&strip.title));
    for picture in &strip.pictures {
        let (uri, name, caption) = (escape(&picture.uri), escape(&picture.name), escape(&picture.caption));
        let _ = writeln!(
            out,
            "<figure><img src=\"{uri}\" alt=\"{name}\" title=\"{name}\"/><figcaption>{caption}</figcaption></figure>"
        );
    }
    out.push_str("</div>\n");
}

/// Text for HTML and XML, also within quotes. Characters that XML does not allow, such as terminal escapes in a file's
/// name, become visible escapes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') || is_override(c) => {
                safe.extend(c.escape_default());
            }
            c => safe.push(c),
        }
    }
    safe
}

/// The bidirectional overrides let one name look like another.
fn is_override(c: char) -> bool {
    ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::document::Section;

    #[test]
    fn tags_and_paths_cannot_leave_their_place() {
        assert_eq!(escape("<b a=\"1\" c='2'>&"), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;");
        assert_eq!(escape("a\u{1b}[2J\u{202e}b\nc"), "a\\u{1b}[2J\\u{202e}b c");
        let mut grid = Grid::new(&["tag", "n"]);
        grid.rows.push(vec!["</td><script>alert(1)</script>".to_owned(), "1".to_owned()]);
        let document = Document {
            title: "a < b & \"c\"".to_owned(),
            sections: vec![Section::filed("\u{0}x", vec![Block::Table(grid), Block::Text("<i>".to_owned())])],
        };
        let page = page(&document);
        assert!(!page.contains("<script") && !page.contains("<i>"), "{page}");
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
        let parsed = roxmltree::Document::parse_with_options(&page, options).unwrap();
        assert!(parsed.descendants().any(|n| n.text() == Some("</td><script>alert(1)</script>")));
    }
}
