//! `edge-scorer top`: the best images of a tag. If no image is scored under the tag yet, all images are scored now from their stored
//! embeddings.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io::{Write, stdout};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum, ValueHint};
use jiff::{Span, Timestamp, civil, tz::TimeZone};
use log::LevelFilter;
use serde::Serialize;

use super::options::Common;
use crate::clock::iso;
use crate::identity::ContentId;
use crate::store::{ImageId, Store};
use edge_cli::output::{Table, csv_error, csv_text, number, write_pretty_json};
use edge_cli::progress::ProgressMeter;
use edge_cli::{CommandError, Outcome, exit_code, logging};
use edge_model::scorer::{EncodedTag, ImageEmbedding, ImageFeatures, Scored, Scorer, ScorerError};
use edge_model::text::normalise_tag;

/// Number of stored embeddings scored at a time.
const PAGE_EMBEDDINGS: usize = 1024;

const EXAMPLES: &str = "Examples:
  edge-scorer top --tag birds -n 5
  edge-scorer top --tag \"a red car\" --since 7d --format json
  edge-scorer top --tag portrait -n 100 --format paths0 | xargs -0 cp -t best/
Any text can be a tag. If no image is scored under it yet, all images are scored now from their stored embeddings.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TopFormat {
    /// For people
    Table,
    /// An array of objects
    Json,
    /// Comma-separated values with a header
    Csv,
    /// One path per line, as raw bytes; paths that contain a line break are left out
    Paths,
    /// Paths as raw bytes, each ended by a zero byte, for xargs -0
    Paths0,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// The tag to rank images under
    #[arg(long, value_name = "TEXT", value_hint = ValueHint::Other)]
    tag: String,
    /// Maximum number of images
    #[arg(short = 'n', long = "number", value_name = "N", default_value_t = 10, value_hint = ValueHint::Other)]
    number: usize,
    /// Only images captured since a date, a time such as 2026-05-01T12:00:00Z, or within an age such as 36h or 7d
    #[arg(long, value_name = "TIME", value_parser = parse_since, value_hint = ValueHint::Other)]
    since: Option<Timestamp>,
    /// Output format
    #[arg(long, value_enum, default_value_t = TopFormat::Table)]
    format: TopFormat,
}

/// One image of the ranking, as it is printed.
#[derive(Debug, Clone, Serialize)]
struct RankingRow {
    rank: usize,
    tag: String,
    score: f32,
    percentile: Option<f32>,
    similarity: Option<f32>,
    #[serde(serialize_with = "as_text")]
    path: PathBuf,
    content_id: ContentId,
    captured_at: Option<String>,
    model: String,
}

fn as_text<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    logging::start(LevelFilter::Warn);
    let tag = normalise_tag(&arguments.tag);
    if tag.is_empty() {
        return Err(CommandError::new(exit_code::USAGE, "the tag is empty: give a short text such as \"birds\""));
    }
    let store = Store::open_read_only(&arguments.common.database()?)?;
    let mut rows = stored_ranking(&store, &tag, arguments)?;
    if rows.is_empty() && !is_scored(&store, &tag)? {
        rows = new_ranking(&store, &tag, arguments)?;
    }
    write(&rows, arguments.format)?;
    Ok(())
}

/// Ranks the images by their stored scores.
fn stored_ranking(store: &Store, tag: &str, arguments: &Arguments) -> Result<Vec<RankingRow>, CommandError> {
    let rows = store.top(tag, arguments.number, arguments.since)?;
    let row = |r: crate::store::TopRow| RankingRow {
        rank: r.rank,
        tag: tag.to_owned(),
        score: r.score,
        percentile: r.percentile,
        similarity: r.similarity,
        path: r.path,
        content_id: r.content_id,
        captured_at: r.captured_at.map(iso),
        model: r.model_digest,
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Returns whether the current model has scored any image under the tag. `--since` is ignored.
fn is_scored(store: &Store, tag: &str) -> Result<bool, CommandError> {
    Ok(!store.top(tag, 1, None)?.is_empty())
}

/// Ranks the images by new scores, which are computed from the stored embeddings.
fn new_ranking(store: &Store, tag: &str, arguments: &Arguments) -> Result<Vec<RankingRow>, CommandError> {
    let (_, scorer) = arguments.common.scorer()?;
    if scorer.needs_images() {
        return Err(ScorerError::NeedsImage.into());
    }
    let encoded = scorer.encode_tag(tag)?;
    scorer.warn_if_unknown(&encoded);
    let StoredRanking { best, compared, usable } = best_of_stored(store, &scorer, &encoded, arguments)?;
    eprintln!(
        "no image has a score under the tag {tag:?} yet. {compared} images are scored now, from their stored embeddings"
    );
    if usable == 0 && store.counts()?.images > 0 {
        let message = "the stored embeddings were made by another image encoder. Scan again with this model";
        return Err(CommandError::new(exit_code::CONFIG, message));
    }
    let mut rows = Vec::with_capacity(best.len());
    for (index, Ranked { image_id, scored }) in best.into_iter().enumerate() {
        let Some(image) = store.image(image_id)? else { continue };
        let Some(path) = image.path else { continue };
        rows.push(RankingRow {
            rank: index + 1,
            tag: tag.to_owned(),
            score: scored.score,
            percentile: scored.percentile,
            similarity: Some(scored.similarity),
            path,
            content_id: image.content_id,
            captured_at: image.captured_at.map(iso),
            model: scorer.digest().to_owned(),
        });
    }
    Ok(rows)
}

/// An image with its score. A better image is less than a worse one, so that a [`BinaryHeap`] returns the worst image first.
#[derive(Debug, Clone, PartialEq)]
struct Ranked {
    image_id: ImageId,
    scored: Scored,
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        other.scored.score.total_cmp(&self.scored.score).then(self.image_id.cmp(&other.image_id))
    }
}

/// The result of scoring the stored embeddings under a tag.
struct StoredRanking {
    /// The best images, the best one first.
    best: Vec<Ranked>,
    /// Number of images that were scored: those since `--since`.
    compared: u64,
    /// Number of stored embeddings that this model's image encoder made, whatever their time.
    usable: u64,
}

/// Scores the stored embeddings under the tag.
fn best_of_stored(
    store: &Store,
    scorer: &Scorer,
    tag: &EncodedTag,
    arguments: &Arguments,
) -> Result<StoredRanking, CommandError> {
    let (mut best, mut compared, mut after) = (BinaryHeap::new(), 0, None);
    let (mut progress, mut usable, total) = (ProgressMeter::counting("images"), 0, store.counts()?.images);
    loop {
        let page = store.images_with_embedding(scorer.encoder_digest(), after, PAGE_EMBEDDINGS)?;
        let Some(last) = page.last() else { break };
        usable += page.len() as u64;
        after = Some(last.image_id);
        let mut images = Vec::with_capacity(page.len());
        for stored in page {
            if is_recent(store, stored.image_id, arguments.since)? {
                images.push((stored.image_id, ImageFeatures::from(ImageEmbedding(stored.values))));
            }
        }
        compared += images.len() as u64;
        let pairs: Vec<_> = images.iter().map(|(_, image)| (image, tag)).collect();
        for ((image_id, _), scored) in images.iter().zip(scorer.score_each(&pairs)?) {
            let scored = match scored {
                Ok(scored) => scored,
                // An image without a score has no rank.
                Err(error @ ScorerError::NotFinite(_)) => {
                    log::warn!("image {} of the database is left out of the ranking: {error}", image_id.0);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            best.push(Ranked { image_id: *image_id, scored });
            if best.len() > arguments.number {
                best.pop();
            }
        }
        progress.set(usable, total);
    }
    progress.finish();
    Ok(StoredRanking { best: best.into_sorted_vec(), compared, usable })
}

/// Returns whether the image was captured since `since`. An image without a capture time counts by the time at which it was found.
fn is_recent(store: &Store, image: ImageId, since: Option<Timestamp>) -> Result<bool, CommandError> {
    let Some(since) = since else { return Ok(true) };
    Ok(store.image(image)?.is_some_and(|i| i.captured_at.unwrap_or(i.added_at) >= since))
}

fn write(rows: &[RankingRow], format: TopFormat) -> std::io::Result<()> {
    let mut out = stdout().lock();
    match format {
        TopFormat::Table => {
            let mut table = Table::new(&["rank", "score", "percentile", "similarity", "path"]);
            for row in rows {
                let (rank, path) = (row.rank.to_string(), row.path.display().to_string());
                let (score, percentile) = (number(Some(row.score), 3), number(row.percentile, 1));
                table.push(vec![rank, score, percentile, number(row.similarity, 3), path]);
            }
            table.write(&mut out)
        }
        TopFormat::Json => write_pretty_json(&mut out, &rows),
        TopFormat::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            for row in rows {
                let (path, tag) = (row.path.to_string_lossy(), csv_text(&row.tag).into_owned());
                let path = PathBuf::from(csv_text(&path).as_ref());
                csv.serialize(RankingRow { path, tag, ..row.clone() }).map_err(csv_error)?;
            }
            csv.flush()
        }
        TopFormat::Paths => rows.iter().try_for_each(|row| {
            let path = row.path.as_os_str().as_bytes();
            // A program that reads the list would take the part after the line break for another path.
            if path.contains(&b'\n') {
                log::warn!(
                    "{}: left out because its name contains a line break. Use --format paths0",
                    row.path.display()
                );
                return Ok(());
            }
            out.write_all(path)?;
            out.write_all(b"\n")
        }),
        TopFormat::Paths0 => rows.iter().try_for_each(|row| {
            out.write_all(row.path.as_os_str().as_bytes())?;
            out.write_all(b"\0")
        }),
    }
}

/// Parses a time, a date (midnight UTC) or an age, which is subtracted from the current time.
fn parse_since(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("{text:?} is not a time: use 2026-05-01, 2026-05-01T12:00:00Z, or an age such as 36h or 7d");
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(date) = text.parse::<civil::Date>() {
        return date.to_zoned(TimeZone::UTC).map(|z| z.timestamp()).map_err(|_| wrong());
    }
    let span: Span = text.parse().map_err(|_| wrong())?;
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    now.checked_sub(span).map(|z| z.timestamp()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_times_dates_and_ages() {
        assert_eq!(parse_since("2026-05-01").unwrap().to_string(), "2026-05-01T00:00:00Z");
        assert_eq!(parse_since("2026-05-01T12:00:00+02:00").unwrap().to_string(), "2026-05-01T10:00:00Z");
        let week = Timestamp::now().duration_since(parse_since("7d").unwrap()).as_secs();
        assert!((week - 7 * 86_400).abs() < 5, "{week}");
        assert!(parse_since("yesterday-ish").unwrap_err().contains("is not a time"));
    }

    #[test]
    fn the_heap_keeps_the_best() {
        let ranked =
            |id, score| Ranked { image_id: ImageId(id), scored: Scored { score, similarity: 0.0, percentile: None } };
        let mut heap: BinaryHeap<_> = [ranked(1, 2.0), ranked(2, 5.0), ranked(3, 1.0), ranked(4, 5.0)].into();
        assert_eq!(heap.pop().unwrap().image_id, ImageId(3));
        let order: Vec<i64> = heap.into_sorted_vec().iter().map(|r| r.image_id.0).collect();
        assert_eq!(order, [2, 4, 1]);
    }
}
