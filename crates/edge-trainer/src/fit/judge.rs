//! Judges the trained model through its exported bundle, as the scorer will use it, and writes the final bundle with
//! the results.

use std::collections::HashSet;
use std::time::Instant;

use edge_model::backend::DeviceChoice;
use edge_model::bundle::manifest::is_short;
use edge_model::image_input::RgbImage;
use edge_model::scorer::Scorer;

use super::names::plain_names;
use super::plan::FitPlan;
use super::request::FitOutcome;
use crate::TrainError;
use crate::assemble::{Content, DEFAULT_TAG, Findings};
use crate::evaluate::{
    self, Bootstrap, Embedded, EpochFigures, EvalSettings, Evaluation, PercentileReference, largest_errors, rules,
    shuffled_tags, suggestions,
};
use crate::features::Encoded;
use crate::fit_file::FIT_FILE;
use crate::message::{Listener, note};
use crate::metrics::{Figures, quantile, quantiles};
use crate::report::{self, Results};
use crate::training::Trained;

/// Number of evenly spaced quantiles per tag.
const QUANTILES: usize = 33;
/// Smallest ratio of retrieval to retrieval by chance at which the similarity may suggest tags. Retrieval is the share
/// of images whose own tag has the highest similarity of all tags.
const RETRIEVAL_GAIN: f64 = 10.0;
/// Number of images with large errors that the model card names.
const SHOWN_ERRORS: usize = 4;
/// Fewest images under short names from which short tags get quantiles of their own.
const MIN_SHORT_TAGS: usize = 250;
/// Number of timed runs of the image encoder. The report states their median.
const TIMED_RUNS: usize = 9;
/// Number of bootstrap replicates for the intervals in the report.
const REPLICATES: usize = 1000;

/// The candidate bundle in a temporary directory, opened by the scorer, with the embeddings of the validation and
/// reference images.
struct CandidateBundle<'a> {
    content: Content,
    scorer: Scorer,
    validation: Embedded<'a>,
    /// The reference images of the percentiles; `None` if the validation images are used.
    reference: Option<Embedded<'a>>,
    /// Keeps the bundle's files while the scorer is open.
    _dir: tempfile::TempDir,
}

/// Judges the trained model and writes the bundle.
pub(super) fn write_bundle(
    plan: &FitPlan<'_>,
    trained: &Trained,
    encoded: &Encoded,
    listener: &mut dyn Listener,
) -> Result<FitOutcome, TrainError> {
    let candidate = CandidateBundle::open(plan, trained, encoded, listener)?;
    let test = evaluate::embed(&candidate.scorer, &plan.parts.test, "test", listener)?;
    let (results, findings) = Judging { plan, trained, encoded, candidate: &candidate, test: &test }.findings()?;
    let (_, parity) = candidate.content.write(&plan.request.out, plan.provenance, &findings)?;
    note(listener, report::summary(&results, parity));
    Ok(FitOutcome { metrics: findings.metrics, parity })
}

impl<'a> CandidateBundle<'a> {
    fn open(
        plan: &'a FitPlan<'_>,
        trained: &Trained,
        encoded: &Encoded,
        listener: &mut dyn Listener,
    ) -> Result<Self, TrainError> {
        let rule = plan.backbone.input_rule(&plan.request.options);
        let content = Content::new(trained, (&plan.shape, rule), plan.provenance, plan.tokenizer, plan.tokenizer_json)?;
        let dir = tempfile::tempdir_in(&plan.request.run).map_err(TrainError::file(&plan.request.run))?;
        let bundle = dir.path().join("candidate");
        content.write(&bundle, plan.provenance, &Findings::default())?;
        let scorer = Scorer::open(&bundle, DeviceChoice::Cpu)?;
        let examples = &plan.parts.validation;
        // A fitted encoder was fitted to the scores of the validation and training images. For these images, use the
        // embeddings from fits that left out their scores.
        let (validation, reference) = match &encoded.fitted {
            Some(fitted) => {
                let known =
                    |examples| Embedded::known(examples, |e| fitted.table.0.get(&e.content_id).map(Vec::as_slice));
                (known(examples)?, Some(known(&plan.reference)?))
            }
            None => (evaluate::embed(&scorer, examples, "validation", listener)?, None),
        };
        Ok(Self { content, scorer, validation, reference, _dir: dir })
    }
}

/// The inputs for judging the candidate bundle.
struct Judging<'a> {
    plan: &'a FitPlan<'a>,
    trained: &'a Trained,
    encoded: &'a Encoded,
    candidate: &'a CandidateBundle<'a>,
    /// The test images, embedded by the candidate bundle.
    test: &'a Embedded<'a>,
}

impl Judging<'_> {
    /// Returns the results for the report and the findings for the manifest.
    fn findings(&self) -> Result<(Results, Findings), TrainError> {
        let (content, scorer, test) = (&self.candidate.content, &self.candidate.scorer, self.test);
        let shuffled = shuffled_tags(test.examples, self.plan.request.options.seed);
        let (retrieval, chance) = test.retrieval(scorer)?;
        let mut findings = self.quantiles()?;
        findings.suggests_tags = retrieval >= RETRIEVAL_GAIN * chance;
        let evaluation = self.evaluation(|tag| findings.quantiles_of(tag))?;
        let vocabulary = &self.encoded.vocabulary;
        let names = if vocabulary.is_empty() { HashSet::new() } else { plain_names(test.examples) };
        let results = Results {
            validation: self.figures(&self.candidate.validation, str::to_owned)?,
            test: self.figures(test, str::to_owned)?,
            shuffled: self.figures(test, |t| shuffled.get(t).map_or_else(|| t.to_owned(), Clone::clone))?,
            default_tag: self.figures(test, |_| DEFAULT_TAG.to_owned())?,
            retrieval,
            chance,
            vocabulary: vocabulary.len(),
            suggestions: suggestions(test, scorer, vocabulary, &names)?,
            largest_errors: largest_errors(test.examples, &evaluation.judged, SHOWN_ERRORS),
            evaluation,
            unseen: self.encoded.fitted.as_ref().map_or_else(Vec::new, |fitted| fitted.unseen.clone()),
            milliseconds: milliseconds(scorer, content.rule().input_size())?,
            epochs: self.trained.epochs.clone(),
            views: content.rule().views_in_words(),
            sees_centre_only: content.rule().views.is_empty(),
            parameters: content.parameters(),
            graph_bytes: content.graph_bytes(),
        };
        findings.metrics = results.metrics();
        findings.files = report::files(&results, self.plan.provenance)?;
        let fit_file = self.plan.request.file_text().map_err(TrainError::Options)?;
        findings.files.push((FIT_FILE.to_owned(), fit_file.into_bytes()));
        Ok((results, findings))
    }

    fn figures(&self, images: &Embedded<'_>, tag_of: impl Fn(&str) -> String) -> Result<Figures, TrainError> {
        let judged = images.judge(&self.candidate.scorer, tag_of)?;
        Ok(Figures::of(&judged, f64::from(self.plan.request.options.tie_threshold)))
    }

    /// Returns findings that hold only quantiles of the reference scores. The default tag and the tags of
    /// [`Self::calibrated_tags`] have their own quantiles. The quantiles for unknown tags come from scores of images under their own tags.
    fn quantiles(&self) -> Result<Findings, TrainError> {
        let candidate = self.candidate;
        let (scorer, images) = (&candidate.scorer, candidate.reference.as_ref().unwrap_or(&candidate.validation));
        let provenance = self.plan.provenance;
        let reference = PercentileReference::new(images, &provenance.reference_sources);
        let names =
            if self.encoded.vocabulary.is_empty() { HashSet::new() } else { plain_names(&self.plan.parts.train) };
        let is_text = |tag: &str| names.is_empty() || !names.contains(tag) && tag != DEFAULT_TAG;
        let quantiles = rounded_quantiles(&reference.own_scores(scorer, is_text)?);
        let mut findings = Findings { quantiles, ..Findings::default() };
        if !names.is_empty() {
            // Plain names reward images that show them, so that scores under them spread more than under sentences. Names in the vocabulary
            // are common words, which are recognised more often than others.
            let listed: HashSet<&str> = self.encoded.vocabulary.iter().map(String::as_str).collect();
            let is_listed = |tag: &str| names.contains(tag) && listed.contains(tag);
            let of_listed = rounded_quantiles(&reference.own_scores(scorer, is_listed)?);
            let tags = self.encoded.vocabulary.iter().cloned();
            findings.tag_quantiles.extend(tags.map(|tag| (tag, of_listed.clone())));
            let is_other = |tag: &str| names.contains(tag) && !listed.contains(tag) && is_short(tag);
            let of_other = reference.own_scores(scorer, is_other)?;
            if of_other.len() >= MIN_SHORT_TAGS {
                findings.short_tag_quantiles = rounded_quantiles(&of_other);
            }
        }
        let calibrated = self.calibrated_tags();
        for tag in calibrated.iter().copied().chain([DEFAULT_TAG]) {
            let scores = reference.scores_under(scorer, tag)?;
            findings.tag_quantiles.insert(tag.to_owned(), rounded_quantiles(&scores));
        }
        let vocabulary = &self.encoded.vocabulary;
        if !vocabulary.is_empty() {
            let mut tags: Vec<String> = calibrated.into_iter().map(str::to_owned).chain(vocabulary.clone()).collect();
            let mut seen = HashSet::new();
            tags.retain(|tag| seen.insert(tag.to_lowercase()));
            findings.tags = Some(tags);
        }
        Ok(findings)
    }

    /// Returns the training tags with quantiles of their own. A model with a vocabulary has too many tags for that: plain names share the
    /// quantiles of images under their names, and sentences those of images under their sentences.
    fn calibrated_tags(&self) -> Vec<&str> {
        let plan = self.plan;
        let names_content: HashSet<&str> = match self.encoded.vocabulary.is_empty() {
            true => HashSet::new(),
            false => plan.parts.train.iter().filter(|e| e.alignment.is_some()).map(|e| e.tag.as_str()).collect(),
        };
        plan.provenance.tags.iter().map(String::as_str).filter(|tag| !names_content.contains(tag)).collect()
    }

    /// Returns the figures of the test images with their intervals, for the report.
    fn evaluation<'q>(&self, quantiles: impl Fn(&str) -> &'q [f32]) -> Result<Evaluation, TrainError> {
        let (plan, scorer) = (self.plan, &self.candidate.scorer);
        let seed = plan.request.options.seed;
        let by_group = self.test.examples.iter().any(|e| e.condition.is_some());
        let settings =
            EvalSettings { rules: rules(scorer.bundle()), bootstrap: Bootstrap::new(REPLICATES, seed), by_group };
        let mut evaluation = evaluate::evaluate(scorer, self.test, &settings, quantiles)?;
        let [train, validation, _] = plan.parts.sizes();
        evaluation.images = vec![format!(
            "the test part of {}, divided {}; {train} other examples were used for training, and {validation} more \
             for deciding when to stop",
            plan.provenance.data_name, plan.provenance.split
        )];
        evaluation.epochs = EpochFigures::of_records(&self.trained.epochs)?;
        Ok(evaluation)
    }
}

/// Returns the median time that the image encoder needs for one image on one thread, in milliseconds.
fn milliseconds(scorer: &Scorer, (width, height): (u32, u32)) -> Result<f64, TrainError> {
    let picture = [RgbImage::new(width, height)];
    let mut seconds = Vec::with_capacity(TIMED_RUNS);
    for _ in 0..TIMED_RUNS {
        let started = Instant::now();
        scorer.embed(&picture)?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(1e3 * quantile(&seconds, 0.5))
}

/// Returns the quantiles of `scores`, rounded to 0.0001 to keep the manifest small.
fn rounded_quantiles(scores: &[f32]) -> Vec<f32> {
    quantiles(scores, QUANTILES).into_iter().map(|q| (q * 1e4).round() / 1e4).collect()
}
