//! Makes a style data set: renders every source image in several styles and lists every rendering under several tags.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use edge_model::image_input::{self, Limits, resized_size};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::readme;
use super::recipe::{JPEG_QUALITY, NEUTRAL_TAG, RECIPE_FILE, Recipe, TABLE_FILE};
use super::rendering::{Rendering, draw_tags, normal};
use super::request::{MadeStyles, StyleRequest};
use super::sources::{self, StyleSource};
use super::table::{StyleRow, to_csv};
use crate::dataset::MakeError;
use crate::dataset::making::{made_otherwise, read_recipe, refuse_occupied, write};
use crate::dataset::{DataError, Part, check};
use crate::file_error::FileError;
use crate::message::{Listener, Message, note, warn};
use crate::parallel;
use crate::render::style::Style;

/// Smallest chroma of an image that counts as coloured. The chroma is the difference between a pixel's largest and
/// smallest colour channel (0 to 255), averaged over the pixels.
const GREY: f64 = 6.0;

/// Makes a style data set. The same request on the same images writes the same bytes.
///
/// # Errors
/// [`MakeError`]. An unfinished directory contains no recipe, so it is not recognised as a data set.
pub fn make(request: &StyleRequest, listener: &mut dyn Listener) -> Result<MadeStyles, MakeError> {
    if let Some(problem) = request.problem() {
        return Err(MakeError::Options(problem));
    }
    let (data, scale) = sources::read(request)?;
    let examples = sources::limit(data.examples.clone(), request);
    let recipe = request.recipe(&data, scale);
    data.notes.iter().for_each(|text| note(listener, text));
    refuse_occupied(&request.out)?;
    let paths: HashSet<&Path> = examples.iter().map(|e| e.path.as_path()).collect();
    listener.on(Message::Begin { what: "checking images".to_owned(), steps: paths.len() as u64 });
    let step = || listener.on(Message::Advance { measure: String::new() });
    let checked = check(examples, request.max_bad_fraction, &Limits::default(), step);
    listener.on(Message::End);
    let (examples, found) = checked?;
    found.warnings().into_iter().for_each(|text| warn(listener, text));
    let sources = sources::choose(examples, request)?;
    let images = request.out.join("images");
    std::fs::create_dir_all(&images).map_err(FileError::at(&images))?;
    let (rendered, unusable) = render_all(&sources, request, &recipe, listener)?;
    let rows: Vec<StyleRow> = rendered.into_iter().flatten().collect();
    refuse_empty_parts(&rows)?;
    let made = MadeStyles {
        sources: sources.len() - unusable,
        skipped: unusable + found.missing.len() + found.unreadable.len(),
        images: rows.iter().map(|r| r.path.as_str()).collect::<HashSet<_>>().len(),
        rows: rows.len(),
    };
    let table = to_csv(&rows).map_err(|e| MakeError::Internal(e.to_string()))?;
    write(&request.out.join(TABLE_FILE), &table)?;
    write(&request.out.join("README.md"), readme::text(&recipe, &data, made).as_bytes())?;
    let json = serde_json::to_vec_pretty(&recipe).map_err(|e| MakeError::Internal(e.to_string()))?;
    write(&request.out.join(RECIPE_FILE), &json)?;
    Ok(made)
}

/// Makes the style data set if its directory has no recipe yet. Returns whether it was made.
///
/// # Errors
/// The errors of [`make`]; [`MakeError::File`] if the directory holds a data set of another request.
pub fn ensure(request: &StyleRequest, listener: &mut dyn Listener) -> Result<bool, MakeError> {
    let path = request.out.join(RECIPE_FILE);
    let Some(recipe) = read_recipe::<Recipe>(&path)? else { return make(request, listener).map(|_| true) };
    if recipe == request.recipe_of(&recipe) { Ok(false) } else { Err(made_otherwise(path, "style")) }
}

fn refuse_empty_parts(rows: &[StyleRow]) -> Result<(), MakeError> {
    for part in [Part::Train, Part::Validation, Part::Test] {
        if rows.iter().all(|r| r.part != part) {
            let advice = "too many of the part's source images could not be used. Add source images".to_owned();
            return Err(DataError::EmptyPart { part, advice }.into());
        }
    }
    Ok(())
}

/// Renders all source images. Returns the table rows of each usable source image in order, and the number of unusable
/// source images.
fn render_all(
    sources: &[StyleSource],
    request: &StyleRequest,
    recipe: &Recipe,
    listener: &mut dyn Listener,
) -> Result<(Vec<Vec<StyleRow>>, usize), MakeError> {
    let mut rendered: Vec<Option<Rendered>> = vec![None; sources.len()];
    listener.on(Message::Begin { what: "rendering styles".to_owned(), steps: sources.len() as u64 });
    let work = |i: usize| render_source(&sources[i], i, request, recipe);
    let done = parallel::for_each(sources.len(), work, |i, result| {
        rendered[i] = Some(result?);
        listener.on(Message::Advance { measure: String::new() });
        Ok::<(), MakeError>(())
    });
    listener.on(Message::End);
    done?;
    let mut rows = Vec::new();
    let mut unusable: BTreeMap<String, Vec<&Path>> = BTreeMap::new();
    for (result, source) in rendered.into_iter().flatten().zip(sources) {
        match result {
            Rendered::Rows(of_source) => rows.push(of_source),
            Rendered::Unusable(reason) => unusable.entry(reason).or_default().push(&source.example.path),
        }
    }
    for (reason, paths) in &unusable {
        let (count, first) = (paths.len(), paths[0].display());
        warn(listener, format!("{count} source images are skipped: {reason}; the first is {first}"));
    }
    Ok((rows, unusable.values().map(Vec::len).sum()))
}

/// Result of rendering one source image.
#[derive(Debug, Clone)]
enum Rendered {
    Rows(Vec<StyleRow>),
    /// The source image cannot be rendered; contains the reason.
    Unusable(String),
}

/// Renders one source image and writes the files. The random choices depend on the seed and on the content of this
/// source image, not on other source images.
fn render_source(
    source: &StyleSource,
    number: usize,
    request: &StyleRequest,
    recipe: &Recipe,
) -> Result<Rendered, MakeError> {
    let (example, limits) = (&source.example, Limits::default());
    let decoded = image_input::read_file(&example.path, &limits).and_then(|b| image_input::decode(&b, &limits));
    let image = match decoded {
        Ok(picture) => reduced(&picture.pixels, request.short_px),
        Err(e) => return Ok(Rendered::Unusable(format!("the image {e}"))),
    };
    if is_grey(&image) {
        return Ok(Rendered::Unusable(
            "the image has no colour, so the style \"black and white\" would not change it".to_owned(),
        ));
    }
    let mut key: [u8; 32] = *blake3::hash(example.content_id.as_bytes()).as_bytes();
    key.iter_mut().zip(request.seed.to_le_bytes()).for_each(|(k, s)| *k ^= s);
    let mut rng = StdRng::from_seed(key);
    let mut rows = Vec::new();
    for (j, rendering) in Rendering::draw(request.renderings, request.faults, &mut rng).into_iter().enumerate() {
        let path = format!("images/{number:05}-{j:02}.jpg");
        let file = request.out.join(&path);
        let rendered = rendering.of(&image, rng.random()).map_err(FileError::at(&file))?;
        let mut bytes = Vec::new();
        let encoded = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode_image(&rendered);
        encoded.map_err(FileError::at(&file))?;
        write(&file, &bytes)?;
        for tag in draw_tags(rendering.styles(), request.tags_per_rendering, &mut rng) {
            let noise = normal(&mut rng);
            rows.push(StyleRow {
                path: path.clone(),
                tag: tag.map_or(NEUTRAL_TAG, Style::tag),
                score: recipe.score(example.score, rendering.styles(), rendering.degree(), tag, noise),
                part: source.part,
                group: example.group.clone(),
                condition: rendering.condition(),
            });
        }
    }
    Ok(Rendered::Rows(rows))
}

/// Returns the image reduced to a short side of `short_px`. Smaller images are not enlarged.
fn reduced(image: &RgbImage, short_px: u32) -> RgbImage {
    let (width, height) = image.dimensions();
    if width.min(height) <= short_px {
        return image.clone();
    }
    let (width, height) = resized_size((width, height), short_px);
    resize(image, width, height, FilterType::Lanczos3)
}

/// Returns whether the image has almost no colour.
fn is_grey(image: &RgbImage) -> bool {
    let chroma = |Rgb([r, g, b]): &Rgb<u8>| u64::from(r.max(g).max(b) - r.min(g).min(b));
    let sum: u64 = image.pixels().map(chroma).sum();
    (sum as f64) < GREY * image.pixels().len() as f64
}
