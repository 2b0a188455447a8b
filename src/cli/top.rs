//! `edge-scorer top`: the best images of a tag. A tag that nothing was scored under is scored now, from stored embeddings.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io::{Write, stdout};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jiff::{Span, Timestamp, civil, tz::TimeZone};
use log::LevelFilter;
use serde::Serialize;

use super::options::Common;
use crate::clock::iso;
use crate::store::{ImageId, Store};
use edge_cli::output::{Table, csv_error, number, printable};
use edge_cli::progress::Progress;
use edge_cli::{Failure, Outcome, exit_code, logging};
use edge_model::scorer::{EncodedTag, ImageEmbedding, ImageFeatures, Scored, Scorer, ScorerError};
use edge_model::text::normalise_tag;

/// Stored embeddings that are scored at a time.
const PAGE: usize = 1024;

const EXAMPLES: &str = "Examples:
  edge-scorer top --tag birds -n 5
  edge-scorer top --tag \"a red car\" --since 7d --format json
  edge-scorer top --tag portrait -n 100 --format paths0 | xargs -0 cp -t best/
Any text is a tag: one under which nothing was scored yet is scored now, from the stored embeddings.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// An array of objects
    Json,
    /// Comma-separated values with a header
    Csv,
    /// Paths alone, byte for byte, one per line; those with a line break in them are left out
    Paths,
    /// All paths, byte for byte, each ended by a zero byte, as xargs -0 reads them
    Paths0,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// The tag
    #[arg(long, value_name = "TEXT")]
    tag: String,
    /// Number of images
    #[arg(short = 'n', long = "number", value_name = "N", default_value_t = 10)]
    number: usize,
    /// Only pictures taken since then: a date, a time such as 2026-05-01T12:00:00Z, or an age such as 36h or 7d
    #[arg(long, value_name = "T", value_parser = parse_since)]
    since: Option<Timestamp>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Clone, Serialize)]
struct Row {
    rank: usize,
    tag: String,
    score: f32,
    percentile: Option<f32>,
    similarity: Option<f32>,
    #[serde(serialize_with = "as_text")]
    path: PathBuf,
    content_id: String,
    captured_at: Option<String>,
    model: String,
}

fn as_text<S: serde::Serializer>(path: &std::path::Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    logging::start(LevelFilter::Warn);
    let tag = normalise_tag(&arguments.tag);
    if tag.is_empty() {
        return Err(Failure::new(exit_code::USAGE, "the tag is empty: give a short text such as \"birds\""));
    }
    let store = Store::open_read_only(&arguments.common.database()?)?;
    let mut rows = known(&store, &tag, arguments)?;
    if rows.is_empty() && !is_scored(&store, &tag)? {
        rows = unknown(&store, &tag, arguments)?;
    }
    write(&rows, arguments.format)?;
    Ok(())
}

fn known(store: &Store, tag: &str, arguments: &Arguments) -> Result<Vec<Row>, Failure> {
    let rows = store.top(tag, arguments.number, arguments.since)?;
    let row = |r: crate::store::TopRow| Row {
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

/// Whether anything at all is scored under the tag by the current model, also where `--since` leaves nothing.
fn is_scored(store: &Store, tag: &str) -> Result<bool, Failure> {
    Ok(!store.top(tag, 1, None)?.is_empty())
}

fn unknown(store: &Store, tag: &str, arguments: &Arguments) -> Result<Vec<Row>, Failure> {
    let (_, scorer) = arguments.common.scorer()?;
    if scorer.needs_images() {
        return Err(ScorerError::NeedsImage.into());
    }
    let encoded = scorer.encode_tag(tag)?;
    scorer.warn_of_foreign(&encoded);
    let (best, looked_at) = best_of_stored(store, &scorer, &encoded, arguments)?;
    eprintln!("no image is tagged {tag:?}: {looked_at} images ranked from their stored embeddings");
    if looked_at == 0 && store.counts()?.images > 0 {
        let message = "the stored embeddings were made by another model's encoder: scan again with this model";
        return Err(Failure::new(exit_code::CONFIG, message));
    }
    let mut rows = Vec::with_capacity(best.len());
    for (index, Ranked { image_id, scored }) in best.into_iter().enumerate() {
        let Some(image) = store.image(image_id)? else { continue };
        let Some(path) = image.path else { continue };
        rows.push(Row {
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

/// An image with its score, ordered so that a heap gives the worst first.
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

fn best_of_stored(
    store: &Store,
    scorer: &Scorer,
    tag: &EncodedTag,
    arguments: &Arguments,
) -> Result<(Vec<Ranked>, u64), Failure> {
    let (mut best, mut looked_at, mut after) = (BinaryHeap::new(), 0, None);
    let (mut progress, mut seen, total) = (Progress::new("images"), 0, store.counts()?.images);
    loop {
        let page = store.images_with_embedding(scorer.encoder_digest(), after, PAGE)?;
        let Some(last) = page.last() else { break };
        seen += page.len() as u64;
        after = Some(last.image_id);
        let mut images = Vec::with_capacity(page.len());
        for stored in page {
            if is_recent(store, stored.image_id, arguments.since)? {
                images.push((stored.image_id, ImageFeatures::from(ImageEmbedding(stored.values))));
            }
        }
        looked_at += images.len() as u64;
        let pairs: Vec<_> = images.iter().map(|(_, image)| (image, tag)).collect();
        for ((image_id, _), scored) in images.iter().zip(scorer.score_each(&pairs)?) {
            let scored = match scored {
                Ok(scored) => scored,
                // An image without a score has no rank.
                Err(error @ ScorerError::NotFinite(_)) => {
                    log::warn!("an image is left out: {error}");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            best.push(Ranked { image_id: *image_id, scored });
            if best.len() > arguments.number {
                best.pop();
            }
        }
        progress.set(seen, total);
    }
    progress.finish();
    Ok((best.into_sorted_vec(), looked_at))
}

fn is_recent(store: &Store, image: ImageId, since: Option<Timestamp>) -> Result<bool, Failure> {
    let Some(since) = since else { return Ok(true) };
    Ok(store.image(image)?.is_some_and(|i| i.captured_at.unwrap_or(i.added_at) >= since))
}

fn write(rows: &[Row], format: Format) -> std::io::Result<()> {
    let mut out = stdout().lock();
    match format {
        Format::Table => {
            let mut table = Table::new(&["rank", "score", "percentile", "similarity", "path"]);
            for row in rows {
                let (rank, path) = (row.rank.to_string(), row.path.display().to_string());
                let (score, percentile) = (number(Some(row.score), 3), number(row.percentile, 1));
                table.push(vec![rank, score, percentile, number(row.similarity, 3), path]);
            }
            table.write(&mut out)
        }
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, rows)?;
            writeln!(out)
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            // Readers go by lines, or show it on a terminal; JSON has escapes of its own.
            for row in rows {
                let path = PathBuf::from(printable(&row.path.to_string_lossy()).as_ref());
                csv.serialize(Row { path, tag: printable(&row.tag).into(), ..row.clone() }).map_err(csv_error)?;
            }
            csv.flush()
        }
        Format::Paths => rows.iter().try_for_each(|row| {
            let path = row.path.as_os_str().as_bytes();
            // It would be taken for two names, the second of which a stranger chose.
            if path.contains(&b'\n') {
                log::warn!("{}: left out, its name has a line break; use --format paths0", row.path.display());
                return Ok(());
            }
            out.write_all(path)?;
            out.write_all(b"\n")
        }),
        Format::Paths0 => rows.iter().try_for_each(|row| {
            out.write_all(row.path.as_os_str().as_bytes())?;
            out.write_all(b"\0")
        }),
    }
}

/// A time, a date (midnight UTC), or an age.
fn parse_since(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("{text:?} is no time: use 2026-05-01, 2026-05-01T12:00:00Z, or an age such as 36h or 7d");
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
        assert!(parse_since("yesterday-ish").unwrap_err().contains("is no time"));
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
