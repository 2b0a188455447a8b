//! Reader of AGIQA-3K: a directory with `data.csv` and `images/`.

use std::fs::File;
use std::path::Path;

use edge_model::text::normalise_tag;
use serde::Deserialize;

use super::{DataError, DataSet, Example};

const TABLE: &str = "data.csv";

#[derive(Deserialize)]
struct AgiqaRow {
    name: String,
    prompt: String,
    mos_quality: f32,
    mos_align: Option<f32>,
}

/// Returns whether `dir` contains AGIQA-3K.
pub fn recognises(dir: &Path) -> bool {
    let headers = || {
        let mut reader = csv::Reader::from_path(dir.join(TABLE)).ok()?;
        reader.headers().ok().map(|h| h.iter().any(|c| c == "mos_quality"))
    };
    headers().unwrap_or(false)
}

/// Reads AGIQA-3K. An image's tag is the prompt that it was generated from, and its split unit is the tag in lower
/// case. Its score is `mos_quality` (0 to 5), its alignment `mos_align`.
pub fn read(dir: &Path) -> Result<DataSet, DataError> {
    let path = dir.join(TABLE);
    let mut reader = csv::Reader::from_reader(File::open(&path).map_err(DataError::missing(&path))?);
    let mut examples = Vec::new();
    for (row, line) in reader.deserialize::<AgiqaRow>().zip(2u64..) {
        let row = row.map_err(|e| DataError::line(&path, line, e))?;
        let tag = normalise_tag(&row.prompt);
        if tag.is_empty() || !row.mos_quality.is_finite() {
            return Err(DataError::line(&path, line, "the prompt is empty or mos_quality is not a number"));
        }
        examples.push(Example {
            path: dir.join("images").join(&row.name),
            group: tag.to_lowercase(),
            source: String::new(),
            tag,
            score: row.mos_quality,
            alignment: row.mos_align.filter(|a| a.is_finite()),
            part: None,
            condition: condition(&row.name),
            content_id: String::new(),
        });
    }
    Ok(DataSet {
        name: "AGIQA-3K".to_owned(),
        licence: "MIT".to_owned(),
        about:
            "Images of AGIQA-3K, which text-to-image models generated from prompts; the prompt is the tag. None is a \
                photograph."
                .to_owned(),
        unit: "mean opinion score of AGIQA-3K (0 to 5)".to_owned(),
        scale: Some((0.0, 5.0)),
        test_share: None,
        notes: Vec::new(),
        examples,
    })
}

/// Returns the generator and its setting: the text before the last `_` of the file name, such as `sd1.5_lowcorr` for
/// `sd1.5_lowcorr_012.jpg`.
fn condition(name: &str) -> Option<String> {
    name.rsplit_once('_').map(|(condition, _)| condition.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_examples() {
        let dir = tempfile::tempdir().unwrap();
        let csv = "name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align\n\
                   a_001.jpg,a  Corgi,,,,1.5,0.6,0.4,0.6\n";
        std::fs::write(dir.path().join(TABLE), csv).unwrap();
        assert!(recognises(dir.path()));
        let data = read(dir.path()).unwrap();
        let e = &data.examples[0];
        assert_eq!((e.tag.as_str(), e.group.as_str(), e.score, e.alignment), ("a Corgi", "a corgi", 1.5, Some(0.4)));
        assert_eq!(e.path, dir.path().join("images/a_001.jpg"));
        assert_eq!(e.condition.as_deref(), Some("a"));
        assert_eq!(condition("sd1.5_lowcorr_012.jpg").as_deref(), Some("sd1.5_lowcorr"));
    }

    #[test]
    fn a_bad_row_is_named_by_its_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(TABLE), "name,prompt,mos_quality\na.jpg,a dog,good\n").unwrap();
        let error = read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("data.csv, line 2"), "{error}");
    }
}
