//! Small pictures of judged images, as data URIs. Only reports that stay with the data have them: a bundle holds no
//! image that it was trained on.

use std::collections::BTreeMap;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;

use super::document::{Strip, Thumbnail};
use crate::dataset::Example;
use crate::metrics::Judged;
use edge_model::image_input::{InputRule, Limits, ResizeFilter, decode_reduced, read_file, resize_crop};

/// Side of a thumbnail.
const SIDE_PX: u32 = 136;
/// Quality of its JPEG.
const QUALITY: u8 = 72;
/// Tags that are shown, at most: those with the most images.
const TAGS: usize = 8;
/// Images at each end of a tag.
const AT_EACH_END: usize = 3;

/// The images that the model likes best and least, per tag. An image that can no longer be read is left out.
pub fn best_and_worst(examples: &[Example], judged: &[Judged]) -> Vec<Strip> {
    let mut by_tag: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    judged.iter().enumerate().for_each(|(i, j)| by_tag.entry(&j.tag).or_default().push(i));
    let mut tags: Vec<(&str, Vec<usize>)> = by_tag.into_iter().filter(|(_, rows)| rows.len() > 1).collect();
    tags.sort_by_key(|(_, rows)| std::cmp::Reverse(rows.len()));
    tags.truncate(TAGS);
    let mut strips = Vec::new();
    for (tag, mut rows) in tags {
        rows.sort_by(|&a, &b| judged[b].prediction.total_cmp(&judged[a].prediction));
        let count = AT_EACH_END.min(rows.len() / 2);
        let ends = rows[..count].iter().chain(&rows[rows.len() - count..]);
        let pictures = ends.filter_map(|&i| thumbnail(&examples[i].path, &judged[i])).collect();
        strips.push(Strip { title: tag.to_owned(), pictures });
    }
    strips
}

fn thumbnail(path: &Path, judged: &Judged) -> Option<Thumbnail> {
    let rule = InputRule {
        size_px: SIDE_PX,
        resize_short_px: SIDE_PX,
        filter: ResizeFilter::Bicubic,
        mean: [0.5; 3],
        std: [0.5; 3],
    };
    let limits = Limits::default();
    let picture = decode_reduced(&read_file(path, &limits).ok()?, &limits, &rule).ok()?;
    let (width, height) = edge_model::image_input::resized_size((picture.width_px, picture.height_px), SIDE_PX);
    let square = resize_crop(&picture, &rule, SIDE_PX, ((width - SIDE_PX) / 2, (height - SIDE_PX) / 2));
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode_image(&square).ok()?;
    Some(Thumbnail {
        uri: format!("data:image/jpeg;base64,{}", base64(&jpeg)),
        name: path.file_name()?.to_string_lossy().into_owned(),
        caption: format!("model {:.2}, people {:.2}", judged.prediction, judged.truth),
    })
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for (i, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            out.push(if i <= chunk.len() { char::from(ALPHABET[(bits >> shift & 63) as usize]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let vectors = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let expected = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        assert_eq!(vectors.map(|v| base64(v.as_bytes())), expected);
    }

    #[test]
    fn a_tags_ends_are_shown_and_missing_images_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let (mut examples, mut judged) = (Vec::new(), Vec::new());
        for i in 0..5u8 {
            let path = dir.path().join(format!("{i}.png"));
            image::RgbImage::from_pixel(300, 200, image::Rgb([i * 20, 0, 0])).save(&path).unwrap();
            examples.push(Example {
                path,
                tag: "t".to_owned(),
                score: 1.0,
                alignment: None,
                part: None,
                group: "t".to_owned(),
                source: String::new(),
                condition: None,
                content_id: String::new(),
            });
            judged.push(Judged { tag: "t".to_owned(), truth: 1.0, prediction: f64::from(i) });
        }
        std::fs::remove_file(&examples[4].path).unwrap();
        let strips = best_and_worst(&examples, &judged);
        let names: Vec<&str> = strips[0].pictures.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["3.png", "1.png", "0.png"]);
        assert!(strips[0].pictures[0].uri.starts_with("data:image/jpeg;base64,/9j/"));
    }
}
