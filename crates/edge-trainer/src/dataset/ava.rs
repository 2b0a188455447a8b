//! Reader of AVA (Murray, Marchesotti & Perronnin, "AVA: A large-scale database for aesthetic visual analysis", CVPR
//! 2012): `AVA.txt`, `tags.txt` and the photographs.
//!
//! The fields of a line of `AVA.txt` are an index, the image id, ten counts of people (who gave 1, 2, ... 10 points),
//! two tag ids (0 for none) and the challenge id. The score is the mean number of points. Each tag of an image gives
//! one example. Each image is its own split unit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use edge_model::text::normalise_tag;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::lines::numbered_lines;
use super::{AvaSplit, DataError, DataSet, Example, Part, ReadOptions};

const ROWS_FILE: &str = "AVA.txt";
const TAGS_FILE: &str = "tags.txt";
const IMAGE_DIRECTORIES: [&str; 2] = ["images", "image"];
/// Directory of AVA's lists of training and test images. The lists may also lie beside `AVA.txt`.
const LISTS: &str = "aesthetics_image_lists";
const TEST_LIST: &str = "generic_test.jpgl";
const TRAINING_LIST: &str = "generic_ls_train.jpgl";

/// Number of AVA images in Sugiura and Yamauchi's experiment: 135,000 for training and 1,350 for the test.
const PAPER_IMAGES: usize = 135_000 + PAPER_TEST_IMAGES;
const PAPER_TEST_IMAGES: usize = 1_350;

/// Returns whether `dir` contains AVA.
pub fn recognises(dir: &Path) -> bool {
    dir.join(ROWS_FILE).is_file()
}

/// Reads AVA and assigns training and test images as `options` state. The validation images are later drawn from the
/// training part.
pub fn read(dir: &Path, options: &ReadOptions) -> Result<DataSet, DataError> {
    let names = tag_names(&dir.join(TAGS_FILE))?;
    let images = image_directory(dir)?;
    let mut rows = rows(&dir.join(ROWS_FILE), &names)?;
    let mut notes = drop_rare_tags(dir, &mut rows, &names, options.min_images_per_tag)?;
    let (parts, test_share) = match options.ava_split {
        AvaSplit::Paper => {
            notes.extend(draw(&mut rows, PAPER_IMAGES, options.seed));
            (None, Some(PAPER_TEST_IMAGES as f64 / PAPER_IMAGES as f64))
        }
        AvaSplit::Official => (Some(official(dir, &mut rows, &mut notes)?), None),
    };
    let mut examples = Vec::new();
    for row in &rows {
        examples.extend(row.tags.iter().map(|tag| Example {
            path: images.join(format!("{}.jpg", row.image)),
            tag: names[tag].clone(),
            score: row.score,
            alignment: None,
            part: parts.as_ref().and_then(|p| p.get(&row.image).copied()),
            group: row.image.to_string(),
            source: String::new(),
            condition: None,
            content_id: String::new(),
        }));
    }
    Ok(DataSet {
        name: "AVA".to_owned(),
        licence: "not stated; the photographs are their authors', from dpchallenge.com".to_owned(),
        about: "Photographs from dpchallenge.com, each rated with 1 to 10 points by about 200 people.".to_owned(),
        unit: "mean rating of AVA (1 to 10)".to_owned(),
        scale: Some((1.0, 10.0)),
        test_share,
        notes,
        examples,
    })
}

#[derive(Debug)]
struct AvaRow {
    image: u64,
    score: f32,
    tags: Vec<u32>,
}

fn tag_names(path: &Path) -> Result<BTreeMap<u32, String>, DataError> {
    let mut names = BTreeMap::new();
    for line in numbered_lines(path)? {
        let (number, line) = line?;
        let Some((id, name)) = line.trim().split_once(char::is_whitespace) else {
            return Err(DataError::line(path, number, "the line must hold an id and a name"));
        };
        let id = id.parse().map_err(|_| DataError::line(path, number, format!("the id {id:?} is not a number")))?;
        names.insert(id, normalise_tag(name));
    }
    Ok(names)
}

fn image_directory(dir: &Path) -> Result<PathBuf, DataError> {
    let found = IMAGE_DIRECTORIES.into_iter().map(|name| dir.join(name)).find(|d| d.is_dir());
    found.ok_or_else(|| {
        let reason = format!("the photographs are missing: there is no directory {}", IMAGE_DIRECTORIES.join(" or "));
        DataError::Missing { path: dir.to_owned(), reason }
    })
}

fn rows(path: &Path, names: &BTreeMap<u32, String>) -> Result<Vec<AvaRow>, DataError> {
    let parse = |line: Result<(u64, String), DataError>| {
        let (number, line) = line?;
        row(&line, names).map_err(|reason| DataError::line(path, number, reason))
    };
    numbered_lines(path)?.map(parse).collect()
}

fn row(line: &str, names: &BTreeMap<u32, String>) -> Result<AvaRow, String> {
    let values: Result<Vec<u64>, _> = line.split_whitespace().map(str::parse).collect();
    let values = values.map_err(|_| "all fields must be whole numbers".to_owned())?;
    // Ignore further fields, which later editions of AVA may add at the end.
    let [_, image, counts @ .., first_tag, second_tag, _] = values.get(..15).unwrap_or_default() else {
        let found = values.len();
        return Err(format!("the line has {found} fields instead of 15: index, image, 10 counts, 2 tags, challenge"));
    };
    let people: u64 = counts.iter().sum();
    if people == 0 {
        return Err(format!("image {image} has no ratings"));
    }
    let points: u64 = counts.iter().zip(1..).map(|(count, points)| count * points).sum();
    let mut tags = Vec::new();
    for &tag in [first_tag, second_tag].into_iter().filter(|t| **t != 0) {
        let known = u32::try_from(tag).ok().filter(|t| names.contains_key(t));
        let tag = known.ok_or_else(|| format!("the tag id {tag} is not in {TAGS_FILE}"))?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(AvaRow { image: *image, score: (points as f64 / people as f64) as f32, tags })
}

/// Drops tags with fewer than `least` images, then images without a tag. Returns one note about the dropped tags and
/// one about the dropped images, if there are any.
fn drop_rare_tags(
    dir: &Path,
    rows: &mut Vec<AvaRow>,
    names: &BTreeMap<u32, String>,
    least: usize,
) -> Result<Vec<String>, DataError> {
    let all = rows.len();
    let mut images: BTreeMap<u32, usize> = BTreeMap::new();
    rows.iter().flat_map(|r| &r.tags).for_each(|tag| *images.entry(*tag).or_default() += 1);
    let kept: BTreeSet<u32> = images.iter().filter(|(_, n)| **n >= least).map(|(&tag, _)| tag).collect();
    if kept.is_empty() {
        let most = images.values().max().copied().unwrap_or(0);
        let reason =
            format!("no tag has at least {least} images; the most frequent tag has {most}. Lower --min-images-per-tag");
        return Err(DataError::Table { path: dir.join(ROWS_FILE), reason });
    }
    rows.iter_mut().for_each(|r| r.tags.retain(|tag| kept.contains(tag)));
    rows.retain(|r| !r.tags.is_empty());
    let mut notes = Vec::new();
    if kept.len() < images.len() {
        let rare: Vec<&str> = images.keys().filter(|t| !kept.contains(t)).map(|t| names[t].as_str()).collect();
        let (count, names) = (rare.len(), rare.join("; "));
        notes.push(format!("{count} tags with fewer than {least} images (--min-images-per-tag) are dropped: {names}"));
    }
    if rows.len() < all {
        notes.push(format!(
            "{} of {all} images have none of the {} remaining tags and are left out",
            all - rows.len(),
            kept.len()
        ));
    }
    Ok(notes)
}

/// Keeps at most `count` images, drawn by the seed. Returns a note if images were left out.
fn draw(rows: &mut Vec<AvaRow>, count: usize, seed: u64) -> Option<String> {
    let all = rows.len();
    if all <= count {
        return None;
    }
    rows.shuffle(&mut StdRng::seed_from_u64(seed));
    rows.truncate(count);
    Some(format!("{count} of {all} images are used, as many as in the paper's experiment; seed {seed} drew them"))
}

/// Returns the part of each image by AVA's lists. If both lists exist, images in neither are dropped from `rows`. If
/// only the test list exists, all other images are for training.
fn official(dir: &Path, rows: &mut Vec<AvaRow>, notes: &mut Vec<String>) -> Result<BTreeMap<u64, Part>, DataError> {
    let test = list(dir, TEST_LIST)?.ok_or_else(|| {
        let reason = format!(
            "the official split needs AVA's list {TEST_LIST} in this directory or in its subdirectory {LISTS}. Add it, \
             or use --ava-split paper"
        );
        DataError::Missing { path: dir.to_owned(), reason }
    })?;
    if let Some(training) = list(dir, TRAINING_LIST)? {
        if let Some(both) = test.intersection(&training).next() {
            let item = format!("the image {both} (see {TEST_LIST} and {TRAINING_LIST})");
            return Err(DataError::Leak { item, first: Part::Train, second: Part::Test });
        }
        let all = rows.len();
        rows.retain(|r| test.contains(&r.image) || training.contains(&r.image));
        if rows.len() < all {
            notes.push(format!("{} images are in neither official list and are left out", all - rows.len()));
        }
    }
    let part = |image: u64| if test.contains(&image) { Part::Test } else { Part::Train };
    Ok(rows.iter().map(|r| (r.image, part(r.image))).collect())
}

/// Returns the image ids of a list with one id per line; `None` if the file does not exist.
fn list(dir: &Path, name: &str) -> Result<Option<BTreeSet<u64>>, DataError> {
    let Some(path) = [dir.join(name), dir.join(LISTS).join(name)].into_iter().find(|p| p.exists()) else {
        return Ok(None);
    };
    let mut ids = BTreeSet::new();
    for line in numbered_lines(&path)? {
        let (number, line) = line?;
        let id = line.trim().trim_end_matches(".jpg");
        ids.insert(id.parse().map_err(|_| DataError::line(&path, number, format!("{id:?} is not an image id")))?);
    }
    Ok(Some(ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "1 Abstract\n14 Landscape\n65 Insects, etc\n";

    fn ava(rows: &str, lists: &[(&str, &str)], split: AvaSplit, least: usize) -> Result<DataSet, DataError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(ROWS_FILE), rows).unwrap();
        std::fs::write(dir.path().join(TAGS_FILE), NAMES).unwrap();
        std::fs::create_dir_all(dir.path().join("image")).unwrap();
        std::fs::create_dir_all(dir.path().join(LISTS)).unwrap();
        lists.iter().for_each(|(name, text)| std::fs::write(dir.path().join(name), text).unwrap());
        assert!(recognises(dir.path()));
        read(
            dir.path(),
            &ReadOptions { min_images_per_tag: least, ava_split: split, seed: 1, ..ReadOptions::default() },
        )
    }

    const THREE: &str = "1 953619 0 0 0 0 1 0 0 0 0 1 1 65 1396\n2 953958 1 0 0 0 0 0 0 0 0 0 14 0 1396\n\
                         3 954184 0 0 0 0 0 0 0 0 0 3 0 0 1396\n";

    #[test]
    fn a_row_makes_an_example_per_tag_with_the_mean_of_its_points() {
        let data = ava(THREE, &[], AvaSplit::Paper, 1).unwrap();
        let seen: Vec<_> = data.examples.iter().map(|e| (e.group.as_str(), e.tag.as_str(), e.score)).collect();
        assert_eq!(seen, [("953619", "Abstract", 7.5), ("953619", "Insects, etc", 7.5), ("953958", "Landscape", 1.0)]);
        assert!(data.examples[0].path.ends_with("image/953619.jpg"));
        assert_eq!((data.scale, data.test_share), (Some((1.0, 10.0)), Some(1.0 / 101.0)));
        assert_eq!(data.notes, ["1 of 3 images have none of the 3 remaining tags and are left out"]);
    }

    #[test]
    fn rare_tags_are_dropped_by_name_and_broken_lines_are_named() {
        let twice = format!("{THREE}4 7 0 0 0 0 2 0 0 0 0 0 14 0 1\n");
        let data = ava(&twice, &[], AvaSplit::Paper, 2).unwrap();
        assert_eq!(data.examples.len(), 2);
        assert!(data.notes[0].contains("dropped: Abstract; Insects, etc"), "{:?}", data.notes);
        let message = |rows: &str, least| ava(rows, &[], AvaSplit::Paper, least).unwrap_err().to_string();
        assert!(message(THREE, 1000).contains("the most frequent tag has 1. Lower --min-images-per-tag"));
        assert!(message("1 2 3\n", 1).contains("AVA.txt, line 1: the line has 3 fields instead of 15"));
        assert!(
            message(&THREE.replace("14 0 1396", "99 0 1396"), 1).contains("line 2: the tag id 99 is not in tags.txt")
        );
        assert!(
            message(&THREE.replace("0 3 0 0 1396", "0 0 0 0 1396"), 1).contains("line 3: image 954184 has no ratings")
        );
    }

    #[test]
    fn the_official_lists_decide_and_must_not_overlap() {
        let test = ("aesthetics_image_lists/generic_test.jpgl", "953958\n");
        let training = |ids| ("generic_ls_train.jpgl", ids);
        let data = ava(THREE, &[test], AvaSplit::Official, 1).unwrap();
        let parts: Vec<_> = data.examples.iter().map(|e| e.part).collect();
        assert_eq!(parts, [Some(Part::Train), Some(Part::Train), Some(Part::Test)]);
        let data = ava(THREE, &[test, training("5\n")], AvaSplit::Official, 1).unwrap();
        assert_eq!(data.examples.len(), 1);
        assert!(data.notes.last().unwrap().contains("1 images are in neither official list"));
        let overlap = ava(THREE, &[test, training("953619\n953958\n")], AvaSplit::Official, 1).unwrap_err().to_string();
        assert!(overlap.contains("the image 953958") && overlap.contains("is in train and in test"), "{overlap}");
        let none = ava(THREE, &[], AvaSplit::Official, 1).unwrap_err().to_string();
        assert!(none.contains("generic_test.jpgl"), "{none}");
    }

    #[test]
    fn as_many_images_as_the_paper_used_are_drawn_by_the_seed() {
        let rows = || (0..50).map(|image| AvaRow { image, score: 1.0, tags: vec![1] }).collect::<Vec<_>>();
        let drawn = |seed| {
            let mut rows = rows();
            assert!(draw(&mut rows, 10, seed).unwrap().contains("10 of 50 images"));
            rows.iter().map(|r| r.image).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        assert_eq!(draw(&mut rows(), 50, 1), None);
    }
}
