//! Metadata embedded in a file: the time of capture (Exif) and the keywords (XMP `dc:subject`, IPTC 2:25).
//!
//! The input is untrusted. Damage yields less metadata, never an error, and sizes are bounded.

use exif::{In, Tag, Value};
use serde::{Deserialize, Serialize};

use super::xmp;

const MOST_KEYWORDS: usize = 64;
const LONGEST_KEYWORD: usize = 200;

/// The metadata that are read from a file: time of capture and keywords.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// When the image was taken: UTC, ISO 8601 with `Z`. Exif stores local time; without an offset tag it is taken as UTC.
    pub captured_at: Option<String>,
    /// Keywords in file order without duplicates: at most 64, each of at most 200 characters.
    pub keywords: Vec<String>,
}

impl Metadata {
    /// Returns whether keywords are as few and as short as those that are read from a file.
    pub fn are_keywords(keywords: &[String]) -> bool {
        keywords.len() <= MOST_KEYWORDS && keywords.iter().all(|keyword| is_keyword(keyword))
    }
}

fn is_keyword(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= LONGEST_KEYWORD
}

pub(super) fn metadata_of(exif: Option<Vec<u8>>, xmp: Option<&[u8]>, iptc: Option<&[u8]>) -> Metadata {
    let mut keywords = Vec::new();
    let found = xmp.map(|packet| xmp::keywords(packet, MOST_KEYWORDS, 4 * LONGEST_KEYWORD)).unwrap_or_default();
    for keyword in found.into_iter().chain(iptc.map(iptc_keywords).unwrap_or_default()) {
        let keyword = keyword.trim().to_owned();
        if is_keyword(&keyword) && keywords.len() < MOST_KEYWORDS && !keywords.contains(&keyword) {
            keywords.push(keyword);
        }
    }
    Metadata { captured_at: exif.and_then(captured_at), keywords }
}

fn captured_at(exif: Vec<u8>) -> Option<String> {
    let exif = exif::Reader::new().read_raw(exif).ok()?;
    let text = |tag: Tag| match &exif.get_field(tag, In::PRIMARY)?.value {
        Value::Ascii(lines) => lines.first().map(|l| String::from_utf8_lossy(l).trim().to_owned()),
        _ => None,
    };
    let (stamp, offset) = [(Tag::DateTimeOriginal, Tag::OffsetTimeOriginal), (Tag::DateTime, Tag::OffsetTime)]
        .into_iter()
        .find_map(|(time, offset)| Some((text(time)?, text(offset))))?;
    let civil = jiff::civil::DateTime::strptime("%Y:%m:%d %H:%M:%S", &stamp).ok()?;
    let offset = offset.and_then(|o| jiff::fmt::strtime::parse("%:z", &o).ok()?.offset());
    let instant = offset.unwrap_or(jiff::tz::Offset::UTC).to_timestamp(civil).ok()?;
    Some(instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// The keywords of an IPTC-IIM stream, which may be bare or inside Photoshop's `8BIM` resource 0x0404. The layout of an entry is
/// `1C record dataset length_hi length_lo bytes`; keywords are entries of record 2, dataset 25.
fn iptc_keywords(block: &[u8]) -> Vec<String> {
    let stream = photoshop_iptc(block).unwrap_or(block);
    let mut keywords = Vec::new();
    let mut rest = stream;
    while let [0x1c, record, dataset, high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        // Bit 15 marks an extended length. Keywords are shorter, so reading ends here.
        if length > 0x7fff || length > tail.len() || keywords.len() >= MOST_KEYWORDS {
            break;
        }
        let (value, next) = tail.split_at(length);
        if (*record, *dataset) == (2, 25) {
            keywords.push(String::from_utf8_lossy(value).into_owned());
        }
        rest = next;
    }
    keywords
}

/// The IPTC resource of a Photoshop block. The layout of a resource is `8BIM`, id, padded Pascal name, length, data padded to even.
fn photoshop_iptc(block: &[u8]) -> Option<&[u8]> {
    let start = block.windows(4).position(|w| w == b"8BIM")?;
    let mut rest = &block[start..];
    while rest.get(..4)? == b"8BIM" {
        let id = u16::from_be_bytes([*rest.get(4)?, *rest.get(5)?]);
        let name = usize::from(*rest.get(6)?) + 1;
        let sized = rest.get(6 + name + name % 2..)?;
        let length = u32::from_be_bytes(sized.get(..4)?.try_into().ok()?) as usize;
        let data = sized.get(4..)?;
        if id == 0x0404 {
            return data.get(..length);
        }
        rest = data.get(length.checked_add(length % 2)?..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_of_xmp_and_iptc_are_joined_without_repetition() {
        let xmp = br#"<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
            xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
            xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag><rdf:li>birds</rdf:li><rdf:li> night street
            </rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>"#;
        let mut iptc = b"Photoshop 3.0\08BIM\x04\x04\0\0".to_vec();
        let stream = b"\x1c\x02\x19\0\x05birds\x1c\x02\x05\0\x01x\x1c\x02\x19\0\x03sea";
        iptc.extend((stream.len() as u32).to_be_bytes());
        iptc.extend(stream);
        let metadata = metadata_of(None, Some(xmp), Some(&iptc));
        assert_eq!(metadata.keywords, ["birds", "night street", "sea"]);
    }

    #[test]
    fn damaged_metadata_is_no_metadata() {
        for length in 0..40 {
            let noise: Vec<u8> = (0..length).map(|i| (i * 37 % 251) as u8).collect();
            let mut bim = b"8BIM\x04\x04".to_vec();
            bim.extend(&noise);
            assert_eq!(metadata_of(Some(noise.clone()), Some(&noise), Some(&bim)).captured_at, None);
        }
        assert!(iptc_keywords(b"\x1c\x02\x19\xff\xffbirds").is_empty());
    }
}
