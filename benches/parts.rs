//! Benchmarks of each step from a file to a score: `cargo bench --bench parts`. `scripts/bench_peer` and `scripts/bench_store` measure
//! whole runs of `edge-scorer` and compare them with other programs.

use std::hint::black_box;
use std::io::Cursor;
use std::path::Path;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use edge_model::backend::DeviceChoice;
use edge_model::image_input::{Limits, decode_reduced, pixel_values};
use edge_model::scorer::{ImageFeatures, Scorer};
use edge_scorer::identity::{ContentId, RecordedStamp};
use edge_scorer::store::{NewImage, NewModel, NewScore, Store, TagReason};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{ImageFormat, RgbImage};
use jiff::Timestamp;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn scorer() -> Scorer {
    Scorer::open(&Path::new(ROOT).join("models/small"), DeviceChoice::Cpu).expect("the shipped model")
}

/// Returns a sample image, enlarged and with added grain. Encoded as JPEG, it has about as many bytes as a camera's photograph of the same
/// size.
fn picture(width: u32, height: u32) -> RgbImage {
    let sample = image::open(Path::new(ROOT).join("samples/mountains-clean.jpg")).expect("a sample").into_rgb8();
    let mut picture = image::imageops::resize(&sample, width, height, FilterType::CatmullRom);
    let mut state = 1_u32;
    for value in picture.as_flat_samples_mut().samples {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *value = value.saturating_add_signed((state % 13) as i8 - 6);
    }
    picture
}

fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 92).encode_image(picture).expect("a JPEG");
    bytes
}

fn png(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).expect("a PNG");
    bytes.into_inner()
}

fn front_end(c: &mut Criterion) {
    let scorer = scorer();
    let (rule, limits) = (&scorer.manifest().image_input, Limits::default());
    let (large, small) = (picture(4000, 3000), picture(512, 512));
    for (name, bytes) in [("12 MP JPEG", jpeg(&large)), ("512 px JPEG", jpeg(&small)), ("512 px PNG", png(&small))] {
        let decode = |bytes: &Vec<u8>| decode_reduced(bytes, &limits, rule).expect("a picture");
        c.bench_function(&format!("hash {name}"), |b| b.iter(|| blake3::hash(black_box(&bytes))));
        c.bench_function(&format!("decode {name}"), |b| b.iter(|| decode(black_box(&bytes))));
        let decoded = decode(&bytes);
        c.bench_function(&format!("measure {name}"), |b| b.iter(|| black_box(&decoded).measures()));
        c.bench_function(&format!("resize and normalise {name}"), |b| {
            b.iter(|| pixel_values(black_box(&decoded), rule))
        });
    }
}

fn model(c: &mut Criterion) {
    let scorer = scorer();
    let decoded = scorer.decode(&jpeg(&picture(512, 512)), &Limits::default()).expect("a picture");
    let pixels = [scorer.encoder_input(&decoded)];
    c.bench_function("image encoder, one picture", |b| {
        b.iter(|| scorer.embed(black_box(&pixels)).expect("an embedding"))
    });
    let image = scorer.embed(&pixels).expect("an embedding").remove(0);
    c.bench_function("text encoder, one tag", |b| b.iter(|| scorer.encode_tag(black_box("birds")).expect("a tag")));
    let tag = scorer.encode_tag("birds").expect("a tag");
    for count in [1, 1024] {
        let pairs: Vec<(&ImageFeatures, _)> = (0..count).map(|_| (&image, &tag)).collect();
        c.bench_function(&format!("head, {count} pairs"), |b| {
            b.iter(|| scorer.score_pairs(black_box(&pairs)).expect("scores"))
        });
    }
}

fn store(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = Store::open(&dir.path().join("scores.db")).expect("a database");
    let now = Timestamp::UNIX_EPOCH;
    let model = NewModel {
        digest: "digest",
        name: "model",
        manifest: "{}",
        encoder_digest: "encoder",
        device: "cpu",
        precision: "f32",
        device_reason: "",
    };
    let model = store.register_model(&model, now).expect("a model");
    let mut next = 0_u32;
    let mut record = |store: &mut Store, count: u32| {
        let batch = store.begin().expect("a batch");
        let tag = batch.tag_id("birds").expect("a tag");
        for number in next..next + count {
            let image = NewImage {
                content_id: ContentId::of(&number.to_le_bytes()),
                size_bytes: 1000,
                format: "jpeg",
                width_px: 4000,
                height_px: 3000,
                captured_at: None,
                embedding: None,
                brightness: None,
                contrast: None,
                sharpness: None,
            };
            let image = batch.record_image(&image, now).expect("an image");
            let path = format!("/photos/{number:07}.jpg");
            batch
                .record_file(Path::new(&path), image, RecordedStamp { size_bytes: 1000, mtime_ns: 1 }, now)
                .expect("a file");
            batch.record_image_tag(image, tag, TagReason::Default, None).expect("a tag of the image");
            let score = NewScore { score: (number % 997) as f32, similarity: Some(0.2), percentile: None };
            batch.record_score(image, tag, model, &score, now).expect("a score");
        }
        batch.commit().expect("a commit");
        next += count;
    };
    record(&mut store, 50_000);
    c.bench_function("top 20 of 50,000", |b| b.iter(|| store.top(black_box("birds"), 20, None).expect("a ranking")));
    c.bench_function("record 64 images, one commit", |b| {
        b.iter_batched(|| (), |()| record(&mut store, 64), BatchSize::PerIteration)
    });
}

criterion_group!(parts, front_end, model, store);
criterion_main!(parts);
