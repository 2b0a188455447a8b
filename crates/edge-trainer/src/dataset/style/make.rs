//! Makes a style data set: every source image in several styles, every rendering under several tags.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::recipe::{FAULT, LACKING, NEUTRAL_TAG, Recipe, penalty};
use super::rendering::{Rendering, draw_tags, normal};
use super::sources::{self, Source};
use super::{RECIPE, TABLE, readme};
use crate::TrainError;
use crate::dataset::{DataError, DataSet, Part, check};
use crate::message::{Listener, Message, note, warn};
use crate::parallel;
use crate::render::distortion::Distortion;
use crate::render::style::Style;
use edge_model::image_input::{self, Limits, resized_size};

/// Quality of the JPEG files.
pub const JPEG_QUALITY: u8 = 92;
/// Mean difference of the largest and the smallest channel below which an image counts as one without colour.
const GREY: f64 = 6.0;

/// What to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StyleRequest {
    /// The source images: a data set as [`crate::dataset::read`] takes it, or a directory of images.
    pub images: String,
    /// Where the data set goes: a new or an empty directory.
    pub out: PathBuf,
    /// Seed of every random choice.
    pub seed: u64,
    /// Renderings per source image, the plain one included.
    pub renderings: usize,
    /// Faults that each source image is also rendered with, each in all its degrees.
    pub faults: usize,
    /// Tags that each rendering is listed under.
    pub tags_per_rendering: usize,
    /// Short side that larger images are reduced to, in pixels.
    pub short_px: u32,
    /// Use so many source images at most, chosen by the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Score of the images of a directory; the middle of the scale where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_score: Option<f32>,
    /// Range of the scores, where the source does not fix it or another one is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<(f32, f32)>,
    /// Standard deviation of the raters' noise, as a share of the scale.
    pub rater_noise: f32,
    /// Share of the source images for validation.
    pub validation_share: f64,
    /// Share of the source images for the test.
    pub test_share: f64,
    /// Largest share of missing or unreadable source images.
    pub max_bad_fraction: f64,
}

impl Default for StyleRequest {
    /// Without source and target, which have none.
    fn default() -> Self {
        Self {
            images: String::new(),
            out: PathBuf::new(),
            seed: 1,
            renderings: 6,
            faults: 0,
            tags_per_rendering: 4,
            short_px: 512,
            limit: None,
            source_score: None,
            scale: None,
            rater_noise: 0.02,
            validation_share: 0.1,
            test_share: 0.15,
            max_bad_fraction: 0.01,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MadeStyles {
    /// Source images that were rendered.
    pub sources: usize,
    /// Source images that could not be used, for whatever reason.
    pub skipped: usize,
    /// Files written.
    pub images: usize,
    /// Rows of the table.
    pub rows: usize,
}

impl StyleRequest {
    fn problem(&self) -> Option<String> {
        let most_tags = Style::ALL.len() + 1;
        if !(2..=100).contains(&self.renderings) || !(2..=most_tags).contains(&self.tags_per_rendering) {
            return Some(format!("renderings must be 2 to 100 and tags-per-rendering 2 to {most_tags}"));
        }
        if self.faults > Distortion::ALL.len() {
            return Some(format!("faults must be 0 to {}", Distortion::ALL.len()));
        }
        if !(16..=8192).contains(&self.short_px) || !(0.0..=1.0).contains(&self.rater_noise) {
            return Some("short-px must be 16 to 8192 and rater-noise 0 to 1".to_owned());
        }
        if self.source_score.is_some_and(|s| !s.is_finite()) {
            return Some("source-score must be a number".to_owned());
        }
        let shares = [self.validation_share, self.test_share];
        (!shares.iter().all(|s| (0.0..=0.45).contains(s))).then(|| "the shares must be 0 to 0.45".to_owned())
    }

    /// A recipe as this request would have it, with what only the source says taken over.
    fn recipe_of(&self, made: &Recipe) -> Recipe {
        let data = DataSet {
            name: made.source.clone(),
            licence: made.source_licence.clone(),
            notes: made.source_notes.clone(),
            ..DataSet::default()
        };
        Recipe { unit: made.unit.clone(), ..self.recipe(&data, self.scale.unwrap_or(made.scale)) }
    }

    fn recipe(&self, data: &DataSet, scale: (f32, f32)) -> Recipe {
        Recipe {
            source: data.name.clone(),
            source_licence: data.licence.clone(),
            scale,
            unit: format!("{}, less the penalties for styles", data.unit),
            source_notes: data.notes.clone(),
            limit: self.limit,
            seed: self.seed,
            short_px: self.short_px,
            renderings: self.renderings,
            faults: self.faults,
            tags_per_rendering: self.tags_per_rendering,
            validation_share: self.validation_share,
            test_share: self.test_share,
            rater_noise: self.rater_noise,
            lacking: LACKING,
            fault: FAULT,
            penalties: Style::ALL.into_iter().map(|s| (s.tag().to_owned(), penalty(s))).collect(),
        }
    }
}

/// Makes the data set. The same request on the same images gives the same bytes.
///
/// # Errors
/// [`TrainError::Data`] where the source cannot be used, [`TrainError::Options`], [`TrainError::File`]. A directory that was
/// not finished has no recipe and is not taken for a data set.
pub fn make(request: &StyleRequest, listener: &mut dyn Listener) -> Result<MadeStyles, TrainError> {
    if let Some(problem) = request.problem() {
        return Err(TrainError::Options(problem));
    }
    let (data, scale) = sources::read(request)?;
    let examples = sources::limit(data.examples.clone(), request);
    let recipe = request.recipe(&data, scale);
    data.notes.iter().for_each(|text| note(listener, text));
    refuse_occupied(&request.out)?;
    let paths: HashSet<&Path> = examples.iter().map(|e| e.path.as_path()).collect();
    listener.on(Message::Begin { what: "checking images".to_owned(), steps: paths.len() as u64 });
    let step = || listener.on(Message::Step { measure: String::new() });
    let checked = check(examples, request.max_bad_fraction, &Limits::default(), step);
    listener.on(Message::End);
    let (examples, found) = checked?;
    found.warnings().into_iter().for_each(|text| warn(listener, text));
    let sources = sources::choose(examples, request)?;
    let images = request.out.join("images");
    std::fs::create_dir_all(&images).map_err(TrainError::file(&images))?;
    let (rendered, unusable) = render_all(&sources, request, &recipe, listener)?;
    let rows: Vec<Row> = rendered.into_iter().flatten().collect();
    refuse_empty_parts(&rows)?;
    let made = MadeStyles {
        sources: sources.len() - unusable,
        skipped: unusable + found.missing.len() + found.unreadable.len(),
        images: rows.iter().map(|r| r.path.as_str()).collect::<HashSet<_>>().len(),
        rows: rows.len(),
    };
    write(&request.out.join(TABLE), &table(&rows)?)?;
    write(&request.out.join("README.md"), readme::text(&recipe, &data, made).as_bytes())?;
    let json = serde_json::to_vec_pretty(&recipe).map_err(|e| TrainError::Internal(e.to_string()))?;
    write(&request.out.join(RECIPE), &json)?;
    Ok(made)
}

/// Makes the data set where it is not there yet, and says whether it did. One that was made in another way is refused.
///
/// # Errors
/// Those of [`make`]; [`TrainError::File`].
pub fn ensure(request: &StyleRequest, listener: &mut dyn Listener) -> Result<bool, TrainError> {
    let path = request.out.join(RECIPE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return make(request, listener).map(|_| true),
        Err(e) => return Err(TrainError::file(&path)(e)),
    };
    let recipe: Recipe = serde_json::from_slice(&bytes).map_err(TrainError::file(&path))?;
    let asked = request.recipe_of(&recipe);
    if recipe != asked {
        let reason = "the styles were made in another way than is asked for. Remove the directory, or name another one";
        return Err(TrainError::File { path, reason: reason.to_owned() });
    }
    Ok(false)
}

/// Images of an earlier run would lie among the new ones.
fn refuse_occupied(out: &Path) -> Result<(), TrainError> {
    let occupied = std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if !occupied {
        return Ok(());
    }
    let reason = "the directory is not empty. Give --out a new one, or remove it first".to_owned();
    Err(TrainError::File { path: out.to_owned(), reason })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    std::fs::write(path, bytes).map_err(TrainError::file(path))
}

/// A row of the table.
#[derive(Debug, Clone)]
struct Row {
    path: String,
    tag: &'static str,
    score: f32,
    part: Part,
    group: String,
    condition: String,
}

fn table(rows: &[Row]) -> Result<Vec<u8>, TrainError> {
    let failed = |e: String| TrainError::Internal(e);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["path", "tag", "score", "split", "group", "condition"]).map_err(|e| failed(e.to_string()))?;
    for row in rows {
        let (score, part) = (format!("{:.3}", row.score), row.part.to_string());
        let record = [&row.path, row.tag, &score, &part, &row.group, &row.condition];
        writer.write_record(record).map_err(|e| failed(e.to_string()))?;
    }
    writer.into_inner().map_err(|e| failed(e.to_string()))
}

fn refuse_empty_parts(rows: &[Row]) -> Result<(), TrainError> {
    for part in [Part::Train, Part::Validation, Part::Test] {
        if rows.iter().all(|r| r.part != part) {
            let advice = "too many of its source images could not be used: give more".to_owned();
            return Err(DataError::EmptyPart { part, advice }.into());
        }
    }
    Ok(())
}

/// The rows of every source in their order, and how many sources could not be used.
fn render_all(
    sources: &[Source],
    request: &StyleRequest,
    recipe: &Recipe,
    listener: &mut dyn Listener,
) -> Result<(Vec<Vec<Row>>, usize), TrainError> {
    let mut rendered: Vec<Option<Rendered>> = vec![None; sources.len()];
    listener.on(Message::Begin { what: "rendering styles".to_owned(), steps: sources.len() as u64 });
    let work = |i: usize| render_source(&sources[i], i, request, recipe);
    let done = parallel::for_each(sources.len(), work, |i, result| {
        rendered[i] = Some(result?);
        listener.on(Message::Step { measure: String::new() });
        Ok::<(), TrainError>(())
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
        warn(listener, format!("{} images are skipped, the first: {}: {reason}", paths.len(), paths[0].display()));
    }
    Ok((rows, unusable.values().map(Vec::len).sum()))
}

#[derive(Debug, Clone)]
enum Rendered {
    Rows(Vec<Row>),
    Unusable(String),
}

/// Renders one source and writes the files. All its random choices come from the seed and from its content, so that they do
/// not depend on the other sources.
fn render_source(
    source: &Source,
    number: usize,
    request: &StyleRequest,
    recipe: &Recipe,
) -> Result<Rendered, TrainError> {
    let (example, limits) = (&source.example, Limits::default());
    let decoded = image_input::read_file(&example.path, &limits).and_then(|b| image_input::decode(&b, &limits));
    let image = match decoded {
        Ok(picture) => reduced(&picture.pixels, request.short_px),
        Err(e) => return Ok(Rendered::Unusable(e.to_string())),
    };
    if is_grey(&image) {
        return Ok(Rendered::Unusable("it has no colour, so it would lack black and white by name only".to_owned()));
    }
    let mut key: [u8; 32] = *blake3::hash(example.content_id.as_bytes()).as_bytes();
    key.iter_mut().zip(request.seed.to_le_bytes()).for_each(|(k, s)| *k ^= s);
    let mut rng = StdRng::from_seed(key);
    let mut rows = Vec::new();
    for (j, rendering) in Rendering::draw(request.renderings, request.faults, &mut rng).into_iter().enumerate() {
        let path = format!("images/{number:05}-{j:02}.jpg");
        let file = request.out.join(&path);
        let rendered = rendering.of(&image, rng.random()).map_err(TrainError::file(&file))?;
        let mut bytes = Vec::new();
        let encoded = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode_image(&rendered);
        encoded.map_err(TrainError::file(&file))?;
        write(&file, &bytes)?;
        for tag in draw_tags(rendering.styles(), request.tags_per_rendering, &mut rng) {
            let noise = normal(&mut rng);
            rows.push(Row {
                path: path.clone(),
                tag: tag.map_or(NEUTRAL_TAG, Style::tag),
                score: recipe.score(example.score, (rendering.styles(), rendering.degree()), tag, noise),
                part: source.part,
                group: example.group.clone(),
                condition: rendering.condition(),
            });
        }
    }
    Ok(Rendered::Rows(rows))
}

/// Never enlarges.
fn reduced(image: &RgbImage, short_px: u32) -> RgbImage {
    let (width, height) = image.dimensions();
    if width.min(height) <= short_px {
        return image.clone();
    }
    let (width, height) = resized_size((width, height), short_px);
    resize(image, width, height, FilterType::Lanczos3)
}

fn is_grey(image: &RgbImage) -> bool {
    let chroma = |Rgb([r, g, b]): &Rgb<u8>| u64::from(r.max(g).max(b) - r.min(g).min(b));
    let sum: u64 = image.pixels().map(chroma).sum();
    (sum as f64) < GREY * image.pixels().len() as f64
}
