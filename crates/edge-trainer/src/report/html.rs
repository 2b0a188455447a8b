//! Writes a [`Document`] as one self-contained page: no scripts, no other files, nothing from the network. The page is
//! also well-formed XML.

use maud::{Markup, PreEscaped, html};

use super::document::{Block, Document, Grid, Strip};
use super::markup::{clean, closed};

const STYLE: &str = include_str!("style.css");

/// Returns the page.
pub fn page(document: &Document) -> String {
    let title = clean(&document.title);
    let page = html! {
        (PreEscaped("<!DOCTYPE html>\n"))
        html xmlns="http://www.w3.org/1999/xhtml" lang="en" {
            head {
                (closed(html! { meta charset="utf-8"; }))
                (closed(html! { meta name="viewport" content="width=device-width, initial-scale=1"; }))
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (title) }
                    @for section in &document.sections {
                        section {
                            h2 { (clean(&section.title)) }
                            @for part in &section.blocks { (block(part)) }
                        }
                    }
                }
            }
        }
    };
    page.into_string() + "\n"
}

fn block(block: &Block) -> Markup {
    html! {
        @match block {
            Block::Text(text) => p { (clean(text)) },
            Block::Table(grid) => (table(grid)),
            Block::Chart(chart) => figure {
                (chart.svg)
                figcaption { (clean(&chart.caption)) }
            },
            Block::Gallery(strips) => @for row in strips { (strip(row)) },
            Block::Terms(terms) => dl {
                @for (term, meaning) in terms {
                    dt { (clean(term)) }
                    dd { (clean(meaning)) }
                }
            },
        }
        "\n"
    }
}

fn table(grid: &Grid) -> Markup {
    // Columns of words are aligned left, columns of numbers right.
    let has_words = |column: usize| grid.rows.iter().any(|row| row[column].starts_with(char::is_alphabetic));
    let classes: Vec<Option<&str>> = (0..grid.header.len()).map(|c| has_words(c).then_some("words")).collect();
    html! {
        div.wide {
            table {
                thead {
                    tr {
                        @for (name, class) in grid.header.iter().zip(&classes) { th class=[class] { (clean(name)) } }
                    }
                }
                tbody {
                    @for row in &grid.rows {
                        tr {
                            @for (cell, class) in row.iter().zip(&classes) { td class=[class] { (clean(cell)) } }
                        }
                        "\n"
                    }
                }
            }
        }
    }
}

fn strip(strip: &Strip) -> Markup {
    html! {
        h3 { (clean(&strip.title)) }
        div.strip {
            @for picture in &strip.pictures {
                @let name = clean(&picture.name);
                figure {
                    (closed(html! { img src=(picture.uri) alt=(name) title=(name); }))
                    figcaption { (clean(&picture.caption)) }
                }
                "\n"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::document::Section;

    #[test]
    fn tags_and_paths_cannot_leave_their_place() {
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
