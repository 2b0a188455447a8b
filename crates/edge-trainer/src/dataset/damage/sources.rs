//! The photographs of a damage data set and what they show.

use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::request::DamageRequest;
use crate::dataset::making::image_files;
use crate::dataset::{DataError, inside};
use crate::words::TOO_GENERAL;

/// Name of the list of photographs in their directory.
const LIST: &str = "photos.csv";
/// Most names of a photograph, and most of its kinds.
const MOST: [usize; 2] = [2, 6];
/// How much less each kind says than the name or the kind before it.
const DECAY: f32 = 0.6;

/// A photograph.
#[derive(Debug, Clone, PartialEq)]
pub struct Photograph {
    /// Path of the file.
    pub path: PathBuf,
    /// Path in its directory, without the extension: the split unit.
    pub name: String,
    /// Names of the things that the photograph shows. Each has a number from 0 to 1 that says how exact the name is. The most exact name
    /// comes first.
    pub tags: Vec<(String, f32)>,
}

/// Returns the photographs of the request, in the order of their names.
pub fn read(request: &DamageRequest) -> Result<Vec<Photograph>, DataError> {
    let list = request.images.join(LIST);
    let mut photographs = if list.is_file() { listed(&request.images, &list)? } else { found(&request.images)? };
    if let Some(limit) = request.limit.filter(|limit| *limit < photographs.len()) {
        photographs.shuffle(&mut StdRng::seed_from_u64(request.seed));
        photographs.truncate(limit);
    }
    if !request.allow_outside {
        inside::require(&request.images, &list, photographs.iter().map(|photograph| photograph.path.as_path()))?;
    }
    photographs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(photographs)
}

fn listed(dir: &Path, list: &Path) -> Result<Vec<Photograph>, DataError> {
    let broken = |e: csv::Error| DataError::Table { path: list.to_owned(), reason: e.to_string() };
    let mut reader = csv::Reader::from_path(list).map_err(broken)?;
    let headers = reader.headers().map_err(broken)?.clone();
    let column = |name: &str| {
        let missing = || DataError::Table { path: list.to_owned(), reason: format!("there is no column {name:?}") };
        headers.iter().position(|header| header == name).ok_or_else(missing)
    };
    let [path, names, kinds] = [column("path")?, column("names")?, column("kinds")?];
    let mut photographs = Vec::new();
    for record in reader.records() {
        let record = record.map_err(broken)?;
        let cell = |column: usize| record.get(column).unwrap_or_default();
        photographs.push(Photograph {
            path: dir.join(cell(path)),
            name: name_of(Path::new(cell(path))),
            tags: tags(cell(names), cell(kinds)),
        });
    }
    Ok(photographs)
}

/// Names count fully; each kind counts less than the one before.
fn tags(names: &str, kinds: &str) -> Vec<(String, f32)> {
    let words = |list: &str| -> Vec<String> {
        let words = list.split('|').map(str::trim).filter(|word| !word.is_empty() && !TOO_GENERAL.contains(word));
        words.map(str::to_owned).collect()
    };
    let mut tags: Vec<(String, f32)> = words(names).into_iter().take(MOST[0]).map(|name| (name, 1.0)).collect();
    let mut fit = 1.0;
    for kind in words(kinds).into_iter().take(MOST[1]) {
        fit *= DECAY;
        if tags.iter().all(|(tag, _)| *tag != kind) {
            tags.push((kind, fit));
        }
    }
    tags
}

fn found(dir: &Path) -> Result<Vec<Photograph>, DataError> {
    let photograph = |path: PathBuf| {
        let name = name_of(path.strip_prefix(dir).unwrap_or(&path));
        Photograph { path, name, tags: Vec::new() }
    };
    Ok(image_files(dir)?.into_iter().map(photograph).collect())
}

fn name_of(path: &Path) -> String {
    path.with_extension("").to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_photograph_shows_is_listed_from_exact_to_general() {
        let dir = tempfile::tempdir().unwrap();
        let list = "path,wnid,names,kinds\nimages/b.jpg,n1,tench|Tinca tinca|x,cyprinid|fish|animal|organism\nimages/a.jpg,n2,cat,\n";
        std::fs::write(dir.path().join(LIST), list).unwrap();
        let request = DamageRequest { images: dir.path().to_owned(), ..DamageRequest::default() };
        let photographs = read(&request).unwrap();
        assert_eq!(photographs[0].tags, [("cat".to_owned(), 1.0)]);
        let tags: Vec<&str> = photographs[1].tags.iter().map(|(tag, _)| tag.as_str()).collect();
        assert_eq!(
            (photographs[1].name.as_str(), tags),
            ("images/b", vec!["tench", "Tinca tinca", "cyprinid", "fish", "animal"])
        );
        assert!((photographs[1].tags[3].1 - 0.36).abs() < 1e-6);
        std::fs::write(dir.path().join(LIST), "path,names\na,b\n").unwrap();
        assert!(read(&request).unwrap_err().to_string().contains("there is no column \"kinds\""));
        let request = DamageRequest { images: dir.path().join("none"), ..DamageRequest::default() };
        assert!(read(&request).is_err());
    }

    #[test]
    fn a_photograph_outside_needs_permission() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(LIST), "path,names,kinds\na.jpg,cat,\n../b.jpg,dog,\n").unwrap();
        let request = DamageRequest { images: dir.path().to_owned(), ..DamageRequest::default() };
        assert!(matches!(read(&request), Err(DataError::Outside { .. })));
        assert_eq!(read(&DamageRequest { allow_outside: true, ..request }).unwrap().len(), 2);
    }
}
