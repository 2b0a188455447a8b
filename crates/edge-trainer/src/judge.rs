//! Judges a trained model through its exported bundle, as the scorer will use it, and writes the bundle with what was found.

use std::time::Instant;

use super::TrainError;
use super::assemble::{Content, DEFAULT_TAG, Findings};
use super::evaluate::{self, Bootstrap, Embedded, Epoch, Evaluation, Reference, Settings, rules, shuffled_tags};
use super::features::Encoded;
use super::fit::{FitOutcome, Sides};
use super::fit_file::FIT_FILE;
use super::message::{Listener, note};
use super::metrics::{Figures, quantile, quantiles};
use super::report::{self, Results};
use super::training::Trained;
use edge_model::image_input::RgbImage;
use edge_model::scorer::Scorer;

/// Evenly spaced quantiles kept per tag.
const QUANTILES: usize = 33;
/// How many times better than chance the similarity must find an image's own tag before it may choose tags.
const RETRIEVAL_GAIN: f64 = 10.0;
/// Runs that the time for a picture is taken from.
const TIMED: usize = 9;
/// Bootstrap replicates of the report's intervals.
const REPLICATES: usize = 1000;

/// A bundle that is being judged, opened by the scorer.
struct Candidate<'a> {
    content: Content,
    scorer: Scorer,
    validation: Embedded<'a>,
    /// What percentiles refer to, where it is more than the validation images.
    reference: Option<Embedded<'a>>,
    // Holds the bundle's files until the scorer is done with them.
    _dir: tempfile::TempDir,
}

impl<'a> Sides<'a> {
    /// Judges the bundle, and writes it.
    pub(super) fn bundle(
        &'a self,
        trained: &Trained,
        encoded: &Encoded,
        listener: &mut dyn Listener,
    ) -> Result<FitOutcome, TrainError> {
        let best = self.candidate(trained, encoded, listener)?;
        let test = evaluate::embed(&best.scorer, &self.parts.test, "test", listener)?;
        let (results, findings) = self.judge((trained, encoded), &best, &test)?;
        let (_, parity) = best.content.write(&self.request.out, self.provenance, &findings)?;
        note(listener, report::summary(&results, parity));
        Ok(FitOutcome { metrics: findings.metrics, parity })
    }

    fn candidate(
        &'a self,
        trained: &Trained,
        encoded: &Encoded,
        listener: &mut dyn Listener,
    ) -> Result<Candidate<'a>, TrainError> {
        let rule = self.backbone.input_rule(&self.request.options);
        let content = Content::new(trained, (&self.shape, rule), self.provenance, self.tokenizer, self.json)?;
        let dir = tempfile::tempdir_in(&self.request.run).map_err(TrainError::file(&self.request.run))?;
        let bundle = dir.path().join("candidate");
        content.write(&bundle, self.provenance, &Findings::default())?;
        let scorer = Scorer::open(&bundle, edge_model::backend::DeviceChoice::Cpu)?;
        let examples = &self.parts.validation;
        // An encoder that was fitted to these images knows them: their embeddings without their own group say how it does, and
        // then those of the training images say as much.
        let (validation, reference) = match &encoded.fitted {
            Some(fitted) => {
                let known =
                    |examples| Embedded::known(examples, |e| fitted.table.0.get(&e.content_id).map(Vec::as_slice));
                (known(examples)?, Some(known(&self.reference)?))
            }
            None => (evaluate::embed(&scorer, examples, "validation", listener)?, None),
        };
        Ok(Candidate { content, scorer, validation, reference, _dir: dir })
    }

    fn figures(
        &self,
        images: &Embedded<'_>,
        scorer: &Scorer,
        tag_of: impl Fn(&str) -> String,
    ) -> Result<Figures, TrainError> {
        let judged = images.judge(scorer, tag_of)?;
        Ok(Figures::of(&judged, f64::from(self.request.options.tie_threshold)))
    }

    fn judge(
        &self,
        (trained, encoded): (&Trained, &Encoded),
        best: &Candidate<'_>,
        test: &Embedded<'_>,
    ) -> Result<(Results, Findings), TrainError> {
        let scorer = &best.scorer;
        let shuffled = shuffled_tags(test.examples, self.request.options.seed);
        let (retrieval, chance) = test.retrieval(scorer)?;
        let mut findings = self.quantiles(best)?;
        findings.suggests_tags = retrieval >= RETRIEVAL_GAIN * chance;
        let quantiles = |tag: &str| findings.tag_quantiles.get(tag).unwrap_or(&findings.quantiles).as_slice();
        let results = Results {
            validation: self.figures(&best.validation, scorer, str::to_owned)?,
            test: self.figures(test, scorer, str::to_owned)?,
            shuffled: self.figures(test, scorer, |t| shuffled.get(t).map_or_else(|| t.to_owned(), Clone::clone))?,
            default_tag: self.figures(test, scorer, |_| DEFAULT_TAG.to_owned())?,
            retrieval,
            chance,
            evaluation: self.evaluation(trained, scorer, test, quantiles)?,
            unseen: encoded.fitted.as_ref().map_or_else(Vec::new, |fitted| fitted.unseen.clone()),
            milliseconds: milliseconds(scorer, best.content.rule().size_px)?,
            epochs: trained.epochs.clone(),
            size_px: best.content.rule().size_px,
            parameters: best.content.parameters(),
            graph_bytes: best.content.graph_bytes(),
        };
        findings.metrics = results.metrics();
        findings.files = report::files(&results, self.provenance)?;
        findings.files.push((FIT_FILE.to_owned(), self.request.file()?.into_bytes()));
        Ok((results, findings))
    }

    /// What percentiles are read off, under every tag and beside them.
    fn quantiles(&self, best: &Candidate<'_>) -> Result<Findings, TrainError> {
        let (scorer, images) = (&best.scorer, best.reference.as_ref().unwrap_or(&best.validation));
        let reference = Reference::new(images, &self.provenance.first_source);
        let quantiles = rounded_quantiles(&reference.own_scores(scorer)?);
        let mut findings = Findings { quantiles, ..Findings::default() };
        for tag in self.provenance.tags.iter().map(String::as_str).chain([DEFAULT_TAG]) {
            let scores = reference.scores_under(scorer, tag)?;
            findings.tag_quantiles.insert(tag.to_owned(), rounded_quantiles(&scores));
        }
        Ok(findings)
    }

    /// The test images' figures with their intervals, for the report.
    fn evaluation<'q>(
        &self,
        trained: &Trained,
        scorer: &Scorer,
        test: &Embedded<'_>,
        quantiles: impl Fn(&str) -> &'q [f32],
    ) -> Result<Evaluation, TrainError> {
        let seed = self.request.options.seed;
        let by_group = test.examples.iter().any(|e| e.condition.is_some());
        let settings =
            Settings { rules: rules(scorer.bundle()), bootstrap: Bootstrap::new(REPLICATES, seed), by_group };
        let mut evaluation = evaluate::evaluate(scorer, test, &settings, quantiles)?;
        let [train, validation, _] = self.parts.sizes();
        evaluation.images = vec![format!(
            "the test part of {}, divided {}; {train} more examples were trained on, {validation} decided when to stop",
            self.provenance.data_name, self.provenance.split
        )];
        evaluation.epochs = Epoch::of_records(&trained.epochs)?;
        Ok(evaluation)
    }
}

/// Median time that the image encoder takes for one picture, alone on a thread.
fn milliseconds(scorer: &Scorer, size_px: u32) -> Result<f64, TrainError> {
    let picture = [RgbImage::new(size_px, size_px)];
    let mut seconds = Vec::with_capacity(TIMED);
    for _ in 0..TIMED {
        let started = Instant::now();
        scorer.embed(&picture)?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(1e3 * quantile(&seconds, 0.5))
}

/// To a ten-thousandth: more digits would only fill the manifest.
fn rounded_quantiles(scores: &[f32]) -> Vec<f32> {
    quantiles(scores, QUANTILES).into_iter().map(|q| (q * 1e4).round() / 1e4).collect()
}
