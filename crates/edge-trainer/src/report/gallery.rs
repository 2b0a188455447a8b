//! Thumbnails of judged images as data URIs. The reports of `eval --out` show them. The report inside a bundle does
//! not, because a bundle must not contain images of its data.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use edge_model::image_input::{InputRule, Limits, ResizeFilter, decode_reduced, encoder_input, read_file};
use image::codecs::jpeg::JpegEncoder;

use super::document::{Strip, Thumbnail};
use crate::dataset::Example;
use crate::metrics::Judged;

/// Side of a thumbnail in pixels.
const SIDE_PX: u32 = 136;
/// JPEG quality of a thumbnail.
const QUALITY: u8 = 72;
/// Largest number of tags: those with the most images are shown.
const TAGS: usize = 8;
/// Number of images at each end of a tag's ranking.
const AT_EACH_END: usize = 3;

/// Returns for each tag the images with the highest and lowest scores of the model. Images that cannot be read are left
/// out.
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
        views: Vec::new(),
    };
    let limits = Limits::default();
    let picture = decode_reduced(&read_file(path, &limits).ok()?, &limits, &rule).ok()?;
    let square = encoder_input(&picture, &rule);
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode_image(&square).ok()?;
    Some(Thumbnail {
        uri: format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(&jpeg)),
        name: path.file_name()?.to_string_lossy().into_owned(),
        caption: format!("model {:.2}, people {:.2}", judged.prediction, judged.truth),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
