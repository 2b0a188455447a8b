//! The content of a report, independent of the output format: headings, sentences, tables and charts.

use maud::Markup;

/// A report as headings, sentences, tables and charts.
#[derive(Debug, Clone, Default)]
pub struct Document {
    /// Title of the report.
    pub title: String,
    /// Sections in their order.
    pub sections: Vec<Section>,
}

/// A section of a report.
#[derive(Debug, Clone)]
pub struct Section {
    /// Heading of the section.
    pub title: String,
    /// Whether the section is shown in terminals as well as in files.
    pub printed: bool,
    /// Blocks in their order.
    pub blocks: Vec<Block>,
}

impl Block {
    /// A chart with its caption.
    pub fn chart(caption: &str, svg: Markup) -> Self {
        Self::Chart(Chart { caption: caption.to_owned(), svg })
    }
}

impl Section {
    /// Creates a section that terminals and files show.
    pub fn printed(title: &str, blocks: Vec<Block>) -> Self {
        Self { title: title.to_owned(), printed: true, blocks }
    }

    /// Creates a section that only files show.
    pub fn filed(title: &str, blocks: Vec<Block>) -> Self {
        Self { title: title.to_owned(), printed: false, blocks }
    }
}

/// A block of a section.
#[derive(Debug, Clone)]
pub enum Block {
    /// A paragraph of text.
    Text(String),
    /// A table of figures.
    Table(Grid),
    /// A chart. Only HTML pages show it.
    Chart(Chart),
    /// Rows of thumbnails. Only HTML pages show the images.
    Gallery(Vec<Strip>),
    /// Terms with their definitions.
    Terms(Vec<(String, String)>),
}

/// A table of texts with named columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grid {
    /// Names of the columns.
    pub header: Vec<&'static str>,
    /// Rows, each as long as the header.
    pub rows: Vec<Vec<String>>,
}

impl Grid {
    /// Creates an empty table with these columns.
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }
}

/// A chart with its caption.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Caption. It also serves as the description for screen readers.
    pub caption: String,
    /// The `<svg>` element.
    pub svg: Markup,
}

/// A row of thumbnails with a heading.
#[derive(Debug, Clone, PartialEq)]
pub struct Strip {
    /// Heading of the row.
    pub title: String,
    /// The thumbnails from left to right.
    pub pictures: Vec<Thumbnail>,
}

/// A thumbnail of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Thumbnail {
    /// The image's bytes as a data URI.
    pub uri: String,
    /// Name of the image file.
    pub name: String,
    /// Caption below the thumbnail.
    pub caption: String,
}
