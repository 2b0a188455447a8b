//! Stored embeddings: their use after a change of the model, and embeddings with values that are not finite.

use edge_model::backend::DeviceChoice;
use edge_model::scorer::{ImageEmbedding, ImageFeatures, Scorer, ScorerError};
use edge_testing::{Place, change_manifest, copy_of_model, jpeg, model};
use half::f16;
use serde_json::json;

const SCORES: &str = "SELECT model.name, count(*) FROM score JOIN model ON model.id = model_id GROUP BY 1 ORDER BY 1";

#[test]
fn another_model_scores_what_its_encoder_has_embedded_and_reads_the_rest_again() {
    let place = Place::new();
    let other = copy_of_model(place.dir.path());
    for seed in 1..=4 {
        place.write(format!("{seed}.jpg"), &jpeg(seed));
    }
    let photos = place.photos();
    let (other_dir, db) = (other.to_str().unwrap(), place.db());
    // Without suggested tags, which another encoder would change.
    let config = place.config("[tags]\nfrom_similarity = 0\n");
    let scan = |model: &str| {
        let (config, db) = (config.to_str().unwrap(), db.to_str().unwrap());
        let arguments =
            ["scan", "--config", config, "--model", model, "--db", db, "--tag", "birds", photos.to_str().unwrap()];
        place.run(arguments).expect(0).stdout
    };
    // No shipped model has this name.
    change_manifest(&other, |m| m["name"] = json!("aa first"));
    scan(other_dir);
    change_manifest(&other, |m| m["name"] = json!("bb same encoder"));
    let report = scan(other_dir);
    assert!(report.contains("0 scored, 0 copies of known images, 4 unchanged"), "{report}");
    assert!(report.contains("4 scores computed from stored embeddings"), "{report}");
    assert_eq!(place.rows(SCORES), ["aa first|4", "bb same encoder|4"]);
    let both = "SELECT max(a.score - b.score), min(a.score - b.score) FROM score a JOIN score b
                USING (image_id, tag_id) WHERE a.model_id <> b.model_id";
    assert_eq!(place.value(both).split('|').map(|d| d.parse::<f64>().unwrap().abs()).fold(0.0, f64::max), 0.0);

    // Another input rule changes the encoder digest. The differences from the goldens are within the tolerances.
    change_manifest(&other, |m| {
        m["name"] = json!("cc other encoder");
        m["image_input"]["mean"] = json!([0.5001, 0.5001, 0.5001]);
        m["goldens"]["tolerance"] = json!({ "embedding": 0.01, "score": 0.05, "similarity": 0.01 });
    });
    let report = scan(other_dir);
    assert!(report.contains("4 scored, 0 copies of known images, 0 unchanged"), "{report}");
    assert_eq!(place.rows(SCORES), ["aa first|4", "bb same encoder|4", "cc other encoder|4"]);
    assert_eq!(place.value("SELECT count(*) FROM image"), "4");
    assert_eq!(place.value("SELECT count(*) FROM top_images"), "4", "scores of other models are ranked too");
    let refused = place.scorer("top", &["--tag", "never scanned"]).expect(78);
    refused.stderr_contains("the stored embeddings were made by another image encoder. Scan again with this model");
}

#[test]
fn an_embedding_that_is_not_finite_fails_alone() {
    let place = Place::new();
    for seed in 1..=4 {
        place.write(format!("{seed}.jpg"), &jpeg(seed));
    }
    place.scan(&["--tag", "birds"]).expect(0);
    let poison = "UPDATE image SET embedding = CAST(x'007e' || substr(embedding, 3) AS BLOB)
                  WHERE id = (SELECT image_id FROM file WHERE path LIKE '%/2.jpg')";
    assert_eq!(rusqlite::Connection::open(place.db()).unwrap().execute(poison, []).unwrap(), 1);

    let top = ["--tag", "night", "--format", "json"];
    let outcome =
        place.scorer("top", &top).expect(0).stderr_contains("is not finite: the model cannot score this input");
    assert_eq!(outcome.json().as_array().unwrap().len(), 3);
    let none = place.scorer("top", &[&top[..], &["--since", "2999-01-01"]].concat()).expect(0);
    assert_eq!(none.json().as_array().unwrap().len(), 0, "no image is that new");
    place.write("copy of 2.jpg", &jpeg(2));
    place.write("new.jpg", &jpeg(5));
    let outcome = place.scan(&["--tag", "night"]).expect(1).stderr_contains("copy of 2.jpg: the ");
    assert!(outcome.stdout.contains("1 scored, 0 copies of known images, 4 unchanged, 1 failed"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("3 scores computed from stored embeddings"), "{}", outcome.stdout);
    assert_eq!(place.rows("SELECT path LIKE '%/copy of 2.jpg', stage FROM failure"), ["1|infer"]);
    place.assert_sound();
}

#[test]
fn one_pair_that_fails_does_not_fail_the_others() {
    let scorer = Scorer::open(&model(), DeviceChoice::Cpu).unwrap();
    let tag = scorer.encode_tag("birds").unwrap();
    let dim = scorer.manifest().architecture.embedding_dim;
    let image = |first: f16| {
        let value = |i| if i == 0 { first } else { f16::from_f32(0.01 * i as f32) };
        ImageFeatures::from(ImageEmbedding((0..dim).map(value).collect()))
    };
    let (good, bad, other) = (image(f16::ONE), image(f16::INFINITY), image(f16::from_f32(-9.0)));
    let pairs = [(&good, &tag), (&bad, &tag), (&other, &tag)];
    assert!(matches!(scorer.score_pairs(&pairs), Err(ScorerError::NotFinite(_))));
    let each = scorer.score_each(&pairs).unwrap();
    assert!(matches!(each[1], Err(ScorerError::NotFinite(_))));
    for (index, image) in [(0, &good), (2, &other)] {
        assert_eq!(each[index].as_ref().unwrap(), &scorer.score(image, std::slice::from_ref(&tag)).unwrap()[0]);
    }
    // A value that is finite in f32 but not in f16 is refused before it is stored.
    assert!(matches!(ImageEmbedding::rounded([1.0, 1e6].iter()), Err(ScorerError::NotFinite(_))));
    assert_eq!(ImageEmbedding::rounded([1.0, -65504.0].iter()).unwrap().0, [f16::ONE, f16::MIN]);
}
