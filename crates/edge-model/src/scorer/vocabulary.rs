//! Tags that a model with a closed vocabulary was not trained on: it answers, but the tag means little to it.

use std::fmt;

use super::{EncodedTag, Scorer, ScorerError};

/// A tag outside of the model's vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub struct ForeignTag {
    /// The tag.
    pub tag: String,
    /// How many tags the model knows.
    pub known: usize,
    /// The known tag whose text embedding is nearest, and the cosine of both about the mean of the known tags, -1..=1.
    pub nearest: Option<(String, f32)>,
}

/// Such as `the model does not know the tag "a lake": ...`.
impl fmt::Display for ForeignTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the model does not know the tag {:?}: it was trained on {} others", self.tag, self.known)?;
        if let Some((nearest, similarity)) = &self.nearest {
            write!(f, ", the nearest being {nearest:?} (similarity {similarity:.2})")?;
        }
        f.write_str(". Its scores under this tag judge the picture, hardly the tag")
    }
}

impl Scorer {
    /// Whether the model was not trained on a tag, and how far it is from those that it was trained on; `None` for a known tag and
    /// for models that take any text. The first foreign tag costs a run of the text encoder for every known tag.
    ///
    /// # Errors
    /// As for [`Scorer::encode_tag`].
    pub fn foreign(&self, tag: &EncodedTag) -> Result<Option<ForeignTag>, ScorerError> {
        let manifest = self.manifest();
        if manifest.open_vocabulary || manifest.tag(&tag.tag).is_some() {
            return Ok(None);
        }
        let known = match self.known_tags.get() {
            Some(known) => known,
            None => {
                let known = manifest.tags.iter().map(|t| self.encode_tag(&t.text)).collect::<Result<Vec<_>, _>>()?;
                self.known_tags.get_or_init(|| known)
            }
        };
        // What all tags have in common would make all of them alike.
        let mean = mean(known.iter().map(|k| k.embedding.as_slice()));
        let nearest = known
            .iter()
            .map(|k| (k.tag.clone(), cosine(&k.embedding, &tag.embedding, &mean)))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        Ok(Some(ForeignTag { tag: tag.tag.clone(), known: known.len(), nearest }))
    }

    /// Says in the log if the model was not trained on a tag; what cannot be found out is no reason to stop.
    pub fn warn_of_foreign(&self, tag: &EncodedTag) {
        match self.foreign(tag) {
            Ok(None) => {}
            Ok(Some(foreign)) => log::warn!("{foreign}"),
            Err(error) => log::debug!("whether {:?} is a known tag cannot be said: {error}", tag.tag),
        }
    }
}

fn mean<'a>(rows: impl Iterator<Item = &'a [f32]>) -> Vec<f32> {
    let (mut sum, mut count) = (Vec::new(), 0.0_f32);
    for row in rows {
        sum.resize(row.len(), 0.0);
        sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
        count += 1.0;
    }
    sum.into_iter().map(|s| s / count).collect()
}

/// The cosine of two embeddings about a third point; 0 where either is there.
fn cosine(a: &[f32], b: &[f32], about: &[f32]) -> f32 {
    let (mut product, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for ((a, b), m) in a.iter().zip(b).zip(about) {
        let (a, b) = (a - m, b - m);
        (product, of_a, of_b) = (product + a * b, of_a + a * a, of_b + b * b);
    }
    product / (of_a * of_b).sqrt().max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::DeviceChoice;

    #[test]
    fn known_tags_are_known_whatever_their_case_and_others_have_a_nearest_one() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/small");
        let scorer = Scorer::open(&dir, DeviceChoice::Cpu).unwrap();
        let foreign = |tag: &str| scorer.foreign(&scorer.encode_tag(tag).unwrap()).unwrap();
        let trained = &scorer.manifest().tags[1].text;
        assert_eq!(foreign(&trained.to_uppercase()), None);
        let near = foreign(&format!("{trained} again")).unwrap();
        assert_eq!(near.known, scorer.manifest().tags.len());
        let (nearest, similarity) = near.nearest.clone().unwrap();
        assert!(nearest == *trained && similarity > 0.5 && similarity < 1.0, "{near}");
        let far = foreign("qqq").unwrap();
        assert!(far.nearest.unwrap().1 < similarity);
        assert!(
            near.to_string().contains("does not know the tag") && near.to_string().contains("similarity 0."),
            "{near}"
        );
    }
}
