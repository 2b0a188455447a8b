//! Valid inputs that the fuzz test changes. They are small, so that many changes can be tried.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};

use edge_testing::{picture, png_with_keywords, repository};

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    picture.write_to(&mut out, format).unwrap();
    out.into_inner()
}

/// Images of every supported format.
pub fn images() -> Vec<Vec<u8>> {
    let small = DynamicImage::from(picture(3)).crop_imm(0, 0, 24, 20);
    let mut seeds = vec![
        encoded(&small, ImageFormat::Jpeg),
        encoded(&small.grayscale(), ImageFormat::Jpeg),
        jpeg_with_metadata(&encoded(&small, ImageFormat::Jpeg)),
        encoded(&small, ImageFormat::Png),
        encoded(&DynamicImage::from(small.to_rgba8()), ImageFormat::Png),
        encoded(&DynamicImage::from(small.to_luma16()), ImageFormat::Png),
        encoded(&small, ImageFormat::WebP),
        encoded(&DynamicImage::from(small.to_rgba8()), ImageFormat::WebP),
    ];
    // Kinds of images that the `image` crate cannot write.
    for name in ["palette.png", "progressive.jpg", "cmyk.jpg", "grey.jpg"] {
        seeds.push(std::fs::read(repository("crates/edge-model/tests/data/input").join(name)).unwrap());
    }
    seeds
}

/// Images that consist mostly of metadata. The metadata of a JPEG have no checksum.
pub fn metadata() -> Vec<Vec<u8>> {
    let dot = DynamicImage::from(picture(1)).crop_imm(0, 0, 8, 8);
    let jpeg = encoded(&dot, ImageFormat::Jpeg);
    let mut seeds = vec![jpeg_with_metadata(&jpeg), png_with_keywords(1, &["birds", "sea"])];
    for block in [exif(), xmp(), iptc()] {
        let mut one = vec![0xFF, 0xD8];
        one.extend(block);
        one.extend(&jpeg[2..]);
        seeds.push(one);
    }
    seeds
}

fn jpeg_with_metadata(jpeg: &[u8]) -> Vec<u8> {
    [&jpeg[..2], &exif(), &xmp(), &iptc(), &jpeg[2..]].concat()
}

fn segment(marker: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len() + 2).unwrap().to_be_bytes();
    [&[0xFF, marker], &length[..], data].concat()
}

/// An Exif segment with an orientation and a time of capture.
fn exif() -> Vec<u8> {
    let mut tiff = b"II*\0\x08\0\0\0".to_vec();
    let entry = |tag: u16, kind: u16, count: u32, value: u32| {
        [&tag.to_le_bytes()[..], &kind.to_le_bytes(), &count.to_le_bytes(), &value.to_le_bytes()].concat()
    };
    tiff.extend(2_u16.to_le_bytes());
    tiff.extend(entry(0x0112, 3, 1, 6));
    tiff.extend(entry(0x8769, 4, 1, 38));
    tiff.extend([0; 4]);
    tiff.extend(1_u16.to_le_bytes());
    tiff.extend(entry(0x9003, 2, 20, 56));
    tiff.extend([0; 4]);
    tiff.extend(b"2026:05:06 07:08:09\0");
    segment(0xE1, &[b"Exif\0\0", &tiff[..]].concat())
}

fn xmp() -> Vec<u8> {
    let packet = r#"<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
        xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
        xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreateDate="2026-05-06T07:08:09">
        <dc:subject><rdf:Bag><rdf:li>birds</rdf:li><rdf:li>sea &amp; sky</rdf:li></rdf:Bag></dc:subject>
        </rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"#;
    segment(0xE1, &[b"http://ns.adobe.com/xap/1.0/\0", packet.as_bytes()].concat())
}

fn iptc() -> Vec<u8> {
    let set = |number: u8, text: &[u8]| [&[0x1C, 2, number, 0, u8::try_from(text.len()).unwrap()], text].concat();
    let records = [set(25, b"birds"), set(25, b"winter light"), set(55, b"20260506")].concat();
    let length = u32::try_from(records.len()).unwrap().to_be_bytes();
    let padding = &[0_u8][..records.len() % 2];
    segment(0xED, &[&b"Photoshop 3.0\0"[..], b"8BIM", &[4, 4, 0, 0], &length, &records, padding].concat())
}
