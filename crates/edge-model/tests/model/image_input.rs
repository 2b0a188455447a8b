//! Tests of decoding and resizing, compared with PIL. The images are in `tests/data/input`;
//! `tests/reference/make_image_references.py` makes PIL's results.

use std::path::Path;

use edge_model::image_input::{self, ImageError, InputRule, Limits, ResizeFilter, View};
use edge_testing::{crc32, repository, shared_data, skip};

fn rule() -> InputRule {
    let (mean, std) = ([0.0; 3], [1.0; 3]);
    InputRule { size_px: 80, resize_short_px: 96, filter: ResizeFilter::Bicubic, mean, std, views: Vec::new() }
}

/// The largest difference between our pixel values and PIL's, in 1/255, and the share of values that differ by more than 1.
fn difference(path: &Path, expected: &Path, rule: &InputRule) -> (f32, f32) {
    let bytes = std::fs::read(path).unwrap();
    let picture = image_input::decode_reduced(&bytes, &Limits::default(), rule).unwrap();
    let values = image_input::pixel_values(&picture, rule);
    let expected = std::fs::read(expected).unwrap();
    assert_eq!(expected.len(), values.len());
    let width = rule.size_px as usize;
    let off = |((c, y, x), v): ((usize, usize, usize), &f32)| {
        (v * 255.0 - f32::from(expected[(y * width + x) * 3 + c])).abs()
    };
    let all: Vec<f32> = values.indexed_iter().map(off).collect();
    let above_one = all.iter().filter(|&&d| d > 1.01).count() as f32 / all.len() as f32;
    (all.iter().copied().fold(0.0, f32::max), above_one)
}

#[test]
fn every_format_and_size_is_within_two_of_pil() {
    let dir = repository("crates/edge-model/tests/data/input");
    let names = [
        "landscape.jpg",
        "rings.jpg",
        "large.jpg",
        "rings.jpg",
        "progressive.jpg",
        "grey.jpg",
        "portrait.png",
        "small.png",
        "palette.png",
        "alpha.png",
        "lossless.webp",
        "strip.png",
    ];
    for name in names {
        let (worst, _) = difference(&dir.join(name), &dir.join(format!("{name}.expected")), &rule());
        println!("{name}: largest difference {worst:.2}/255");
        assert!(worst <= 2.01, "{name} differs from PIL by {worst}/255");
    }
}

#[test]
fn several_views_are_within_two_of_pil() {
    let views = vec![
        View::Whole { size_px: 64 },
        View::Centre { size_px: 80 },
        View::Tiles { size_px: 72, per_side: 3, max_short_px: 120 },
    ];
    let rule = InputRule { views, ..rule() };
    assert_eq!((rule.problem(), rule.input_size()), (None, (80, 64 + 80 + 72)));
    let dir = repository("crates/edge-model/tests/data/input");
    for name in ["landscape.jpg", "large.jpg", "small.png", "strip.png", "portrait.png"] {
        let (worst, _) = difference(&dir.join(name), &dir.join(format!("{name}.views")), &rule);
        println!("{name}: largest difference {worst:.2}/255");
        assert!(worst <= 2.01, "{name} differs from PIL by {worst}/255");
    }
}

#[test]
fn a_rule_without_a_usable_view_is_refused() {
    let problem = |view: View| InputRule { views: vec![view], ..rule() }.problem().unwrap();
    assert!(problem(View::Whole { size_px: 81 }).contains("size_px is 81; it must be 1 to the rule's size_px (80)"));
    assert!(problem(View::Centre { size_px: 0 }).contains("size_px is 0"));
    let tiles = |per_side, max_short_px| problem(View::Tiles { size_px: 70, per_side, max_short_px });
    assert!(tiles(3, 100).contains("size_px (70) must be a multiple of its per_side (3)"));
    assert!(tiles(0, 100).contains("per_side (0)"));
    assert!(tiles(2, 69).contains("max_short_px is 69; it must be its size_px (70) to 8192"));
    let many = InputRule { views: vec![View::Whole { size_px: 8 }; 17], ..rule() };
    assert!(many.problem().unwrap().contains("has 17 views; at most 16 are allowed"));
    // A manifest without views has the centre alone, and does not mention them.
    let json = serde_json::to_value(rule()).unwrap();
    assert!(json.get("views").is_none());
    let read: InputRule = serde_json::from_value(json).unwrap();
    assert_eq!(read.all_views(), [View::Centre { size_px: 80 }]);
}

#[test]
fn cmyk_jpegs_are_decoded_like_pil_up_to_rounding_of_the_conversion() {
    let dir = repository("crates/edge-model/tests/data/input");
    let (worst, above_one) = difference(&dir.join("cmyk.jpg"), &dir.join("cmyk.jpg.expected"), &rule());
    assert!(worst <= 4.01 && above_one < 0.05, "differs by {worst}/255, {above_one} of the values by more than 1");
}

#[test]
fn all_eight_orientations_give_the_same_upright_picture() {
    let dir = repository("crates/edge-model/tests/data/input");
    for orientation in 1..=8 {
        let path = dir.join(format!("orientation_{orientation}.png"));
        let picture = image_input::decode(&std::fs::read(&path).unwrap(), &Limits::default()).unwrap();
        assert_eq!((picture.width_px, picture.height_px), (150, 110), "orientation {orientation}");
        assert_eq!(picture.pixels.dimensions(), (150, 110));
        assert_eq!(picture.metadata.captured_at.as_deref(), Some("2024-05-06T07:08:09Z"));
        let (worst, _) = difference(&path, &dir.join("orientation.expected"), &rule());
        assert!(worst <= 1.01, "orientation {orientation} differs by {worst}/255");
    }
}

#[test]
fn clips_own_preprocessing_of_its_reference_photograph_is_matched_within_two() {
    let Some(data) = shared_data() else {
        let test = "image_input::clips_own_preprocessing_of_its_reference_photograph_is_matched_within_two";
        return skip(test, "../shared/data does not exist");
    };
    let rule = InputRule {
        size_px: 224,
        resize_short_px: 224,
        filter: ResizeFilter::Bicubic,
        views: Vec::new(),
        mean: [0.48145466, 0.4578275, 0.40821073],
        std: [0.26862954, 0.261_302_6, 0.275_777_1],
    };
    let npy = std::fs::read(data.join("clip-reference/expected_preprocessed_image.npy")).unwrap();
    let expected: Vec<f32> = npy[npy.len() - 3 * 224 * 224 * 4..]
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    let bytes = std::fs::read(data.join("clip-reference/franz-kafka.jpg")).unwrap();
    let picture = image_input::decode_reduced(&bytes, &Limits::default(), &rule).unwrap();
    let values = image_input::pixel_values(&picture, &rule);
    let mut worst = 0.0_f32;
    for (((c, _, _), value), wanted) in values.indexed_iter().zip(&expected) {
        worst = worst.max((value - wanted).abs() * rule.std[c] * 255.0);
    }
    println!("largest difference to CLIP's preprocessing: {worst:.3}/255");
    assert!(worst <= 2.01, "differs from CLIP's preprocessing by {worst}/255");
}

#[test]
fn limits_are_checked_before_the_pixels_are_decoded() {
    // A file of a few bytes whose header states 100,000 x 100,000 pixels.
    let mut bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\x01\x86\xa0\0\x01\x86\xa0\x08\x02\0\0\0".to_vec();
    let crc = crc32(&bomb[12..29]);
    bomb.extend(crc.to_be_bytes());
    bomb.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    let error = image_input::decode(&bomb, &Limits::default()).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { what: "picture", is: 10_000_000_000, .. }), "{error}");

    let bytes = std::fs::read(repository("crates/edge-model/tests/data/input/large.jpg")).unwrap();
    let tight = |limits: Limits| image_input::decode(&bytes, &limits).unwrap_err().to_string();
    let pixels = tight(Limits { max_pixels: 1000, ..Limits::default() });
    assert!(pixels.contains("picture of 820000 pixels; the limit is 1000"), "{pixels}");
    let memory = tight(Limits { max_decode_bytes: 1 << 20, ..Limits::default() });
    assert!(memory.contains("decoded picture") && memory.contains("[limits]"), "{memory}");
    let file = repository("crates/edge-model/tests/data/input/large.jpg");
    let error = image_input::read_file(&file, &Limits { max_file_bytes: 10, ..Limits::default() }).unwrap_err();
    assert!(error.to_string().contains("too large: file of"), "{error}");
}

#[test]
fn a_file_cut_off_anywhere_is_an_error_and_never_an_image() {
    for name in ["landscape.jpg", "progressive.jpg", "portrait.png", "lossless.webp"] {
        let bytes = std::fs::read(repository("crates/edge-model/tests/data/input").join(name)).unwrap();
        for part in 1..20 {
            let cut = bytes.len() * part / 20;
            let result = image_input::decode_reduced(&bytes[..cut], &Limits::default(), &rule());
            assert!(result.is_err(), "{name} cut to {cut} of {} bytes was decoded", bytes.len());
        }
    }
}

#[test]
fn an_image_one_pixel_wide_and_very_long_is_resized() {
    let strip = image::RgbImage::from_fn(1, 60_000, |_, y| image::Rgb([(y % 256) as u8; 3]));
    let mut png = std::io::Cursor::new(Vec::new());
    strip.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let strip = image_input::decode(png.get_ref(), &Limits::default()).unwrap();
    assert_eq!(image_input::pixel_values(&strip, &rule()).shape(), [3, 80, 80]);
}
