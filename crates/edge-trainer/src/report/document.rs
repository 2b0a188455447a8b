//! A report as headings, sentences, tables and charts, whatever it is written in later.

/// A report.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Document {
    /// What it is about.
    pub title: String,
    /// Its sections.
    pub sections: Vec<Section>,
}

/// A part of a report under one heading.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// Whether a terminal shows it too.
    pub printed: bool,
    /// What it holds.
    pub blocks: Vec<Block>,
}

impl Section {
    /// A section that a terminal shows too.
    pub fn printed(title: &str, blocks: Vec<Block>) -> Self {
        Self { title: title.to_owned(), printed: true, blocks }
    }

    /// A section of the files only.
    pub fn filed(title: &str, blocks: Vec<Block>) -> Self {
        Self { title: title.to_owned(), printed: false, blocks }
    }
}

/// A part of a section.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// A table.
    Table(Grid),
    /// A chart; only pages show it.
    Chart(Chart),
    /// Rows of small pictures; only pages show them.
    Gallery(Vec<Strip>),
    /// Words with their meanings.
    Terms(Vec<(String, String)>),
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grid {
    /// Names of the columns.
    pub header: Vec<&'static str>,
    /// Its rows, each as long as the header.
    pub rows: Vec<Vec<String>>,
}

impl Grid {
    /// An empty table with these columns.
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }
}

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What it shows, also for those who do not see it.
    pub caption: String,
    /// The `<svg>` element.
    pub svg: String,
}

/// A row of small pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Strip {
    /// What they have in common.
    pub title: String,
    /// The pictures.
    pub pictures: Vec<Thumbnail>,
}

/// A small picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Thumbnail {
    /// The image's bytes as a data URI.
    pub uri: String,
    /// What it is.
    pub name: String,
    /// The line below.
    pub caption: String,
}
