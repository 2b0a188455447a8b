//! Image files made for tests.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};

/// Draws an image that is different for every seed: a gradient with coarse noise.
pub fn picture(seed: u32) -> RgbImage {
    let noise = move |x: u32, y: u32| {
        let mut h =
            seed.wrapping_mul(0x9E37_79B9) ^ (x / 6).wrapping_mul(0x85EB_CA6B) ^ (y / 6).wrapping_mul(0xC2B2_AE35);
        h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
        (h ^ (h >> 13)) as u8 / (1 + (seed % 5) as u8)
    };
    RgbImage::from_fn(160 + seed % 40, 120, |x, y| {
        let n = noise(x, y);
        Rgb([n.wrapping_add(x as u8 / 2), n / 2 + y as u8 / 2, (seed as u8).wrapping_mul(29).saturating_add(n / 3)])
    })
}

/// Encodes the image of a seed in a file format.
pub fn bytes(seed: u32, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    picture(seed).write_to(&mut out, format).unwrap();
    out.into_inner()
}

/// The image of a seed as a JPEG.
pub fn jpeg(seed: u32) -> Vec<u8> {
    bytes(seed, ImageFormat::Jpeg)
}

/// The image of a seed as a PNG.
pub fn png(seed: u32) -> Vec<u8> {
    bytes(seed, ImageFormat::Png)
}

/// A PNG with one additional chunk after its header.
pub fn png_with_chunk(seed: u32, kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    const HEADER_END: usize = 8 + 25;
    let plain = png(seed);
    let mut out = plain[..HEADER_END].to_vec();
    out.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
    let body = [&kind[..], data].concat();
    out.extend(&body);
    out.extend(crc32(&body).to_be_bytes());
    out.extend(&plain[HEADER_END..]);
    out
}

/// A PNG with these keywords in its XMP packet.
pub fn png_with_keywords(seed: u32, keywords: &[&str]) -> Vec<u8> {
    let items: String = keywords.iter().map(|k| format!("<rdf:li>{k}</rdf:li>")).collect();
    let packet = format!(
        r#"<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
        rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>
        </rdf:Description></rdf:RDF></x:xmpmeta>"#
    );
    png_with_chunk(seed, b"iTXt", &[b"XML:com.adobe.xmp\0\0\0\0\0", packet.as_bytes()].concat())
}

/// A PNG of a few hundred bytes whose header states a width and a height of 60,000 pixels.
pub fn png_with_huge_header() -> Vec<u8> {
    let mut out = png(1)[..400].to_vec();
    let side = 60_000_u32.to_be_bytes();
    out[16..20].copy_from_slice(&side);
    out[20..24].copy_from_slice(&side);
    let crc = crc32(&out[12..29]).to_be_bytes();
    out[29..33].copy_from_slice(&crc);
    out
}

/// The CRC-32 that PNG uses.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 })
    })
}
