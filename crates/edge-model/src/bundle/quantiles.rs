//! The file of a bundle that holds the quantiles of reference scores. With many tags they are much longer than the rest of the manifest.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::BundleError;
use super::manifest::Manifest;

/// The quantiles of a manifest; see [`Manifest::quantiles`] and [`super::manifest::TagEntry::quantiles`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuantileFile {
    /// Quantiles for tags that have none of their own.
    quantiles: Vec<f32>,
    /// The same for short tags; see [`Manifest::short_tag_quantiles`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    short_tags: Vec<f32>,
    /// Quantiles of the other tags.
    tables: Vec<Table>,
}

/// Quantiles that one tag or several tags have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    quantiles: Vec<f32>,
    /// Texts of the tags.
    tags: Vec<String>,
}

impl QuantileFile {
    /// Takes the quantiles out of a manifest; `None` if it has none.
    pub(super) fn taken_from(manifest: &mut Manifest) -> Option<Self> {
        let quantiles = std::mem::take(&mut manifest.quantiles);
        let short_tags = std::mem::take(&mut manifest.short_tag_quantiles);
        let mut tables: Vec<Table> = Vec::new();
        for tag in manifest.tags.iter_mut().filter(|tag| !tag.quantiles.is_empty()) {
            let own = std::mem::take(&mut tag.quantiles);
            match tables.iter_mut().find(|table| table.quantiles == own) {
                Some(table) => table.tags.push(tag.text.clone()),
                None => tables.push(Table { quantiles: own, tags: vec![tag.text.clone()] }),
            }
        }
        (!quantiles.is_empty() || !tables.is_empty()).then_some(Self { quantiles, short_tags, tables })
    }

    /// Parses the file at `path`.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, BundleError> {
        serde_json::from_slice(bytes)
            .map_err(|e| BundleError::Manifest { path: path.to_owned(), reason: e.to_string() })
    }

    /// Puts the quantiles back. Describes the first tag that the manifest does not have.
    pub(super) fn put_into(self, manifest: &mut Manifest) -> Result<(), String> {
        let mut own: BTreeMap<&String, &Vec<f32>> =
            self.tables.iter().flat_map(|table| table.tags.iter().map(|tag| (tag, &table.quantiles))).collect();
        for tag in &mut manifest.tags {
            if let Some(own) = own.remove(&tag.text) {
                tag.quantiles.clone_from(own);
            }
        }
        if let Some(unknown) = own.keys().next() {
            return Err(format!(
                "the file of the quantiles names the tag {unknown:?}, which the manifest does not have"
            ));
        }
        if !self.quantiles.is_empty() {
            (manifest.quantiles, manifest.short_tag_quantiles) = (self.quantiles, self.short_tags);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::manifest::{TagEntry, file};
    use crate::bundle::{Bundle, BundleWriter};

    fn shipped() -> Bundle {
        Bundle::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/small")).unwrap()
    }

    #[test]
    fn quantiles_are_kept_in_a_file_of_their_own_and_found_again() {
        let shipped = shipped();
        let dir = tempfile::tempdir().unwrap();
        let mut writer = BundleWriter::create(&dir.path().join("copy")).unwrap();
        for name in shipped.manifest().files.keys().filter(|name| *name != file::QUANTILES) {
            writer.add(name, &shipped.read(name).unwrap()).unwrap();
        }
        let copy = writer.finish(shipped.manifest().clone(), Bundle::open).unwrap();
        let written = std::fs::read_to_string(dir.path().join("copy").join(file::MANIFEST)).unwrap();
        assert!(!written.contains("quantiles\":") && copy.manifest().files.contains_key(file::QUANTILES));
        let files = |manifest: &Manifest| Manifest { files: BTreeMap::new(), ..manifest.clone() };
        assert_eq!(files(copy.manifest()), files(shipped.manifest()));
        assert!(copy.manifest().quantiles.len() > 1);
    }

    #[test]
    fn tags_with_the_same_quantiles_share_a_table() {
        let mut manifest = shipped().manifest().clone();
        manifest.tags = [("dog", [1.0, 2.0]), ("grain", [0.0, 5.0]), ("cat", [1.0, 2.0])]
            .map(|(text, quantiles)| TagEntry { text: text.to_owned(), prompt: None, quantiles: quantiles.to_vec() })
            .into();
        manifest.short_tag_quantiles = vec![0.5, 1.5];
        let mut without = manifest.clone();
        let file = QuantileFile::taken_from(&mut without).unwrap();
        assert_eq!(file.tables.iter().map(|table| table.tags.len()).collect::<Vec<_>>(), [2, 1]);
        assert!(without.tags.iter().all(|tag| tag.quantiles.is_empty()));
        assert!(without.short_tag_quantiles.is_empty());
        file.put_into(&mut without).unwrap();
        assert_eq!(without, manifest);
        assert_eq!(without.quantiles_of("DOG"), [1.0, 2.0]);
        assert_eq!(without.quantiles_of("red  kite"), [0.5, 1.5]);
        assert_eq!(without.quantiles_of("a red kite"), without.quantiles);
        without.short_tag_quantiles.clear();
        assert_eq!(without.quantiles_of("kite"), without.quantiles);
    }

    #[test]
    fn quantiles_of_a_tag_that_is_not_there_are_refused() {
        let mut manifest = shipped().manifest().clone();
        let table = Table { quantiles: vec![1.0], tags: vec!["no such tag".to_owned()] };
        let file = QuantileFile { tables: vec![table], ..Default::default() };
        assert!(file.put_into(&mut manifest).unwrap_err().contains("\"no such tag\""));
        let parsed = QuantileFile::parse(Path::new("q.json"), b"{\"quantiles\": [], \"tables\": [], \"more\": 1}");
        assert!(parsed.unwrap_err().to_string().contains("q.json"));
        assert_eq!(
            QuantileFile::taken_from(&mut Manifest { quantiles: Vec::new(), tags: Vec::new(), ..manifest }),
            None
        );
    }
}
