//! Writes a [`Document`] as Markdown. Charts are left out; thumbnails become the names of their images.

use std::fmt::Write;

use super::document::{Block, Document, Grid};

/// Returns the Markdown text.
pub fn text(document: &Document) -> String {
    let mut out = format!("# {}\n", escape(&document.title));
    for section in &document.sections {
        let shown: Vec<&Block> = section.blocks.iter().filter(|b| !matches!(b, Block::Chart(_))).collect();
        // A section that only has charts is left out.
        if shown.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n## {}", escape(&section.title));
        shown.into_iter().for_each(|b| block(&mut out, b));
    }
    out
}

fn block(out: &mut String, block: &Block) {
    out.push('\n');
    match block {
        Block::Text(text) => drop(writeln!(out, "{}", escape(text))),
        Block::Table(grid) => table(out, grid),
        Block::Chart(_) => {}
        Block::Gallery(strips) => {
            for strip in strips {
                let shown: Vec<String> =
                    strip.pictures.iter().map(|p| escape(&format!("{} ({})", p.name, p.caption))).collect();
                let _ = writeln!(out, "- {}: {}", escape(&strip.title), shown.join(", "));
            }
        }
        Block::Terms(terms) => {
            for (term, meaning) in terms {
                let _ = writeln!(out, "- {}: {}.", escape(term), escape(meaning));
            }
        }
    }
}

fn table(out: &mut String, grid: &Grid) {
    let line = |cells: &mut dyn Iterator<Item = String>| format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
    out.push_str(&line(&mut grid.header.iter().map(|h| escape(h))));
    out.push_str(&line(&mut grid.header.iter().map(|_| "---".to_owned())));
    for row in &grid.rows {
        out.push_str(&line(&mut row.iter().map(|cell| escape(cell))));
    }
}

/// Escapes text for Markdown and HTML. Line breaks become spaces, so that the text stays in its line or table cell.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '|' | '<' | '>' | '[' | ']' | '#' => safe.extend(['\\', c]),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::document::{Chart, Section};

    #[test]
    fn tables_and_terms_keep_their_shape() {
        let mut grid = Grid::new(&["tag", "n"]);
        grid.rows.push(vec!["a|b\n<i>".to_owned(), "3".to_owned()]);
        let terms = vec![("SRCC".to_owned(), "rank correlation".to_owned())];
        let chart = Block::Chart(Chart { caption: "c".to_owned(), svg: maud::html! {} });
        let document = Document {
            title: "T".to_owned(),
            sections: vec![
                Section::printed("S", vec![Block::Table(grid), Block::Terms(terms)]),
                Section::filed("Charts", vec![chart]),
            ],
        };
        let expected =
            "# T\n\n## S\n\n| tag | n |\n| --- | --- |\n| a\\|b \\<i\\> | 3 |\n\n- SRCC: rank correlation.\n";
        assert_eq!(text(&document), expected);
    }
}
