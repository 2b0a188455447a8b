//! The plain tags that a model suggests for photographs: names of what ImageNet shows, their kinds, and photographic words.

use std::collections::BTreeSet;

use super::class_vectors::{TOO_GENERAL, imagenet_classes};
use super::wordnet::WordNet;

/// Words of WordNet's order of things that no one would write under a photograph.
const NOT_PLAIN: &str = "abstraction|acarine|accessory|adornment|airfoil|ambystomid|anapsid|angiosperm|anguid lizard|\
anseriform bird|anthozoan|apodiform bird|archosaur|area|article|associate|attachment|attire|attribute|autoloader|\
basidiomycete|beating-reed instrument|blower|bovid|brace|building complex|carnivore|cavy|ceratopsian|chair of state|chelonian|\
chordate|chordophone|coelenterate|commodity|communication|communication system|concoction|connection|constrictor|\
consumer goods|contestant|control|converging lens|conveyance|coraciiform bird|correctional institution|corvine bird|course|\
covering|craft|cruciferous vegetable|cuculiform bird|cyprinid|cypriniform fish|danaid|defensive structure|device|diapsid|\
dictyopterous insect|dip|dipterous insect|double-reed instrument|dressing|duplicator|durables|edentate|elapid|elasmobranch|\
electro-acoustic transducer|entree|equine|even-toed ungulate|farm machine|fastener|feed|filter|flavorer|fodder|\
free-reed instrument|furnishing|game|ganoid|gastropod|geographic point|globule|grate|heavier-than-air craft|\
homopterous insect|horizontal surface|hymenopterous insect|iguanid|implement|ingredient|institution|instrument|\
instrument of execution|instrumentality|kit|lacertid lizard|lagomorph|lamellicorn beetle|landing|lepidopterous insect|leporid|\
ligament|lighter-than-air craft|location|magnetic disk|malacostracan crustacean|material|measure|mechanism|medium|\
memory device|mercantile establishment|metatherian|monotreme|movable barrier|musteline mammal|natural depression|\
natural object|neuropteron|nutriment|nymphalid|obstruction|odd-toed ungulate|odonate|oilseed|ornithischian|\
orthopterous insect|oscine|overgarment|padding|part|participant|passerine|peer|pelecaniform seabird|penal institution|\
percoid fish|peripheral|phalanger|phasianid|phasmid|piciform bird|piece|pierid|pinniped mammal|placental|plant organ|\
plant part|plectognath|plaything|point|press|proboscidean|procyonid|produce|protective covering|prototherian|\
radiotelephone|ratite|receptacle|reproducer|reproductive structure|requiem shark|restraint|round shape|salmonid|saurian|\
scarabaeid beetle|scorpaenid|scorpaenoid|self-propelled vehicle|shape|sheath|signal|single-reed instrument|\
soft-finned fish|solanaceous vegetable|solid|source of illumination|spermatophyte|sphenisciform bird|\
sphenisciform seabird|spiny-finned fish|structural member|structure|submersible|substance|support|supporting structure|surface|\
system|teiid lizard|telecommunication system|teleost fish|tissue|top|transducer|upright|vascular plant|vessel|\
visual signal|viverrine|ware|weight|white goods|winder|wirehair|workplace";

/// Words for the look and the place of photographs, which ImageNet does not name.
const PHOTOGRAPHIC: &str = "portrait|landscape|close-up|macro|street|city|night|sunset|sunrise|sky|clouds|sea|beach|forest|tree|\
garden|snow|winter|autumn|spring|summer|rain|fog|river|lake|waterfall|field|meadow|desert|hill|rock|cave|road|railway|harbour|\
village|skyline|architecture|interior|kitchen|window|wall|stairs|statue|church|castle|ruin|market|restaurant|concert|stage|\
festival|fireworks|sport|football|people|crowd|child|baby|woman|man|face|hands|wedding|pet|wildlife|plant|leaf|grass|moss|\
mushroom|food|breakfast|cake|bread|soup|coffee|book|toy|robot|still life|abstract|texture|pattern|reflection|shadow|silhouette|\
black and white|aerial view|panorama|underwater|space|moon|stars|painting|drawing|cartoon|poster|map|document|screenshot";

/// Returns the tags in alphabetical order: the first name of each ImageNet class and of its hypernyms, but for words that are too general or
/// that only a biologist would use, and photographic words.
pub fn plain_tags(nouns: &WordNet) -> Vec<String> {
    let unused: BTreeSet<&str> = NOT_PLAIN.split('|').chain(TOO_GENERAL).collect();
    let mut tags: BTreeSet<String> = PHOTOGRAPHIC.split('|').map(str::to_owned).collect();
    for offset in imagenet_classes() {
        let names = nouns.chain(offset).into_iter().filter_map(|synset| synset.words.first());
        tags.extend(names.filter(|name| !unused.contains(name.as_str())).cloned());
    }
    tags.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_tags_leave_out_what_only_a_biologist_writes() {
        // The first class of ImageNet and some of its hypernyms, in the format of WordNet.
        let nouns = "01440764 05 n 02 tench 0 Tinca_tinca 0 001 @ 01439121 n 0000 | a fish\n\
                     01439121 05 n 01 cyprinid 0 001 @ 02512053 n 0000 | a family\n\
                     02512053 05 n 01 fish 0 001 @ 00001740 n 0000 | an animal\n\
                     00001740 03 n 01 entity 0 000 | all\n";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), nouns).unwrap();
        let tags = plain_tags(&WordNet::read(file.path()).unwrap());
        let has = |tag: &str| tags.iter().any(|t| t == tag);
        assert!(has("tench") && has("fish") && has("sunset") && has("black and white"));
        assert!(!has("cyprinid") && !has("entity") && !has("Tinca tinca"));
        assert!(tags.is_sorted_by(|a, b| a < b) && tags.iter().all(|tag| tag.trim() == tag && !tag.is_empty()));
    }
}
