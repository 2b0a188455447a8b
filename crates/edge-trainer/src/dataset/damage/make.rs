//! Makes a damage data set: writes every photograph and its damaged copies, and lists them under tags.

use std::path::Path;

use edge_model::image_input::{self, Limits};
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

use super::UNDAMAGED;
use super::recipe::{DamageRecipe, RECIPE_FILE, TABLE_FILE};
use super::request::{DamageRequest, MadeDamage};
use super::sources::{self, Photograph};
use crate::assemble::DEFAULT_TAG;
use crate::dataset::MakeError;
use crate::dataset::making::{made_otherwise, read_recipe, refuse_occupied, write};
use crate::file_error::FileError;
use crate::message::{Listener, Message, warn};
use crate::parallel;
use crate::render::damage::{DEGREES, Damage, damaged};

/// JPEG quality of the files, 1 to 100: high enough that it does not show beside the damage.
const QUALITY: u8 = 96;
/// Number of tags that a damaged copy is listed under.
const COPY_TAGS: usize = 2;

/// A row of the table: an image under one tag.
struct DamageRow {
    path: String,
    tag: String,
    score: f32,
    /// How well the tag names what the image shows; `None` for the default tag.
    alignment: Option<f32>,
    group: String,
    condition: String,
}

/// Makes a damage data set. The same request on the same photographs writes the same bytes.
///
/// # Errors
/// [`MakeError`]. An unfinished directory contains no recipe, so it is not recognised as a data set.
pub fn make(request: &DamageRequest, listener: &mut dyn Listener) -> Result<MadeDamage, MakeError> {
    if let Some(problem) = request.problem() {
        return Err(MakeError::Options(problem));
    }
    let photographs = sources::read(request)?;
    refuse_occupied(&request.out)?;
    let images = request.out.join("images");
    std::fs::create_dir_all(&images).map_err(FileError::at(&images))?;
    let recipe = request.recipe();
    let mut made: Vec<Option<Vec<DamageRow>>> = photographs.iter().map(|_| None).collect();
    listener.on(Message::Begin { what: "damaging photographs".to_owned(), steps: photographs.len() as u64 });
    let work = |i: usize| damage_one(&photographs[i], i, request, &recipe);
    let mut unusable = Vec::new();
    let done = parallel::for_each(photographs.len(), work, |i, result| {
        match result? {
            Ok(rows) => made[i] = Some(rows),
            Err(reason) => unusable.push(format!("{}: {reason}", photographs[i].path.display())),
        }
        listener.on(Message::Advance { measure: String::new() });
        Ok::<(), MakeError>(())
    });
    listener.on(Message::End);
    done?;
    unusable.sort();
    unusable.iter().for_each(|text| warn(listener, format!("skipped: {text}")));
    let sources = made.iter().flatten().count();
    let rows: Vec<DamageRow> = made.into_iter().flatten().flatten().collect();
    let table = to_csv(&rows).map_err(|e| MakeError::Internal(e.to_string()))?;
    write(&request.out.join(TABLE_FILE), &table)?;
    let json = serde_json::to_vec_pretty(&recipe).map_err(|e| MakeError::Internal(e.to_string()))?;
    write(&request.out.join(RECIPE_FILE), &json)?;
    let mut paths: Vec<&str> = rows.iter().map(|row| row.path.as_str()).collect();
    paths.dedup();
    Ok(MadeDamage { sources, skipped: unusable.len(), images: paths.len(), rows: rows.len() })
}

/// Makes the damage data set if its directory has no recipe yet. Returns whether it was made.
///
/// # Errors
/// The errors of [`make`]; [`MakeError::File`] if the directory holds a data set of another request.
pub fn ensure(request: &DamageRequest, listener: &mut dyn Listener) -> Result<bool, MakeError> {
    let path = request.out.join(RECIPE_FILE);
    let Some(recipe) = read_recipe::<DamageRecipe>(&path)? else { return make(request, listener).map(|_| true) };
    if recipe == request.recipe() { Ok(false) } else { Err(made_otherwise(path, "damage")) }
}

/// Writes a photograph and its damaged copies and returns their rows, or the reason why the photograph cannot be used. The random choices
/// depend on the seed and on this photograph's name, not on other photographs.
fn damage_one(
    photograph: &Photograph,
    number: usize,
    request: &DamageRequest,
    recipe: &DamageRecipe,
) -> Result<Result<Vec<DamageRow>, String>, MakeError> {
    let limits = Limits::default();
    let decoded = image_input::read_file(&photograph.path, &limits).and_then(|b| image_input::decode(&b, &limits));
    let image = match decoded {
        Ok(picture) => picture.pixels,
        Err(e) => return Ok(Err(e.to_string())),
    };
    let mut key: [u8; 32] = *blake3::hash(photograph.name.as_bytes()).as_bytes();
    key.iter_mut().zip(request.seed.to_le_bytes()).for_each(|(k, s)| *k ^= s);
    let mut rng = StdRng::from_seed(key);
    let mut rows = Vec::new();
    let path = format!("images/{number:05}.jpg");
    save(&request.out.join(&path), &image)?;
    rows.extend(rows_of(photograph, path, recipe.score(0), UNDAMAGED, &photograph.tags));
    let mut kinds = Damage::ALL.to_vec();
    kinds.shuffle(&mut rng);
    for kind in kinds.into_iter().take(request.kinds) {
        let mut degrees: Vec<usize> = (1..=DEGREES).collect();
        degrees.remove(rng.random_range(0..DEGREES));
        let seed = rng.random();
        for degree in degrees {
            let path = format!("images/{number:05}-{}-{degree}.jpg", kind.name().replace(' ', "-"));
            let file = request.out.join(&path);
            let copy = damaged(&image, kind, degree, seed).map_err(FileError::at(&file))?;
            save(&file, &copy)?;
            let tags: Vec<(String, f32)> = photograph.tags.sample(&mut rng, COPY_TAGS).cloned().collect();
            let condition = format!("{} {degree}", kind.name());
            rows.extend(rows_of(photograph, path, recipe.score(degree), &condition, &tags));
        }
    }
    Ok(Ok(rows))
}

fn rows_of(
    photograph: &Photograph,
    path: String,
    score: f32,
    condition: &str,
    tags: &[(String, f32)],
) -> Vec<DamageRow> {
    let row = |tag: &str, alignment| DamageRow {
        path: path.clone(),
        tag: tag.to_owned(),
        score,
        alignment,
        group: photograph.name.clone(),
        condition: condition.to_owned(),
    };
    if tags.is_empty() {
        return vec![row(DEFAULT_TAG, None)];
    }
    tags.iter().map(|(tag, fit)| row(tag, Some(*fit))).collect()
}

fn save(path: &Path, image: &RgbImage) -> Result<(), MakeError> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(image).map_err(FileError::at(path))?;
    write(path, &bytes)
}

fn to_csv(rows: &[DamageRow]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["path", "tag", "score", "alignment", "group", "condition"])?;
    for row in rows {
        let alignment = row.alignment.map_or_else(String::new, |fit| format!("{fit:.3}"));
        let score = format!("{:.3}", row.score);
        writer.write_record([&row.path, &row.tag, &score, &alignment, &row.group, &row.condition])?;
    }
    writer.into_inner().map_err(|e| e.into_error().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::damage::read;
    use crate::render::{Scene, Treatment, picture};

    #[test]
    fn a_photograph_stands_above_its_damaged_copies_and_is_made_again_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path().join("photos");
        std::fs::create_dir_all(&images).unwrap();
        for (name, scene) in [("a", Scene::Flower), ("b", Scene::Forest)] {
            picture(scene, Treatment::Clean, 96, 80, 1).save(images.join(format!("{name}.png"))).unwrap();
        }
        std::fs::write(
            images.join("photos.csv"),
            "path,names,kinds\na.png,rose,flower|plant\nb.png,oak,tree\nc.png,x,y\n",
        )
        .unwrap();
        let made_in = |out: &str| {
            let request = DamageRequest {
                images: images.clone(),
                out: dir.path().join(out),
                kinds: 3,
                ..DamageRequest::default()
            };
            (make(&request, &mut |_| {}).unwrap(), request)
        };
        let (made, request) = made_in("one");
        assert_eq!((made.sources, made.skipped, made.images), (2, 1, 2 * (1 + 3 * 2)));
        assert!(!ensure(&request, &mut |_| {}).unwrap());
        let other = DamageRequest { seed: 2, ..request.clone() };
        assert!(ensure(&other, &mut |_| {}).unwrap_err().to_string().contains("made with other options"));
        assert!(make(&request, &mut |_| {}).unwrap_err().to_string().contains("not empty"));
        let data = read(&request.out).unwrap();
        assert_eq!((data.scale, data.examples.len()), (Some((0.0, 5.0)), made.rows));
        let (undamaged, copies): (Vec<_>, Vec<_>) =
            data.examples.iter().partition(|e| e.condition.as_deref() == Some(UNDAMAGED));
        assert!(undamaged.iter().all(|e| e.score == 4.0) && copies.iter().all(|e| e.score < 3.2));
        assert_eq!(undamaged.iter().filter(|e| e.group == "a").count(), 3);
        made_in("two");
        let bytes = |out: &str, name: &str| std::fs::read(dir.path().join(out).join(name)).unwrap();
        assert!(bytes("one", TABLE_FILE) == bytes("two", TABLE_FILE));
        assert!(bytes("one", "images/00001.jpg") == bytes("two", "images/00001.jpg"));
    }
}
