//! Random changes to valid inputs. Most changed inputs pass the reader's first checks, so that the later code is tested too.

use edge_testing::crc32;
use edge_testing::random::Random;

/// Numbers and words that parsers often handle wrongly.
const WORDS: [&[u8]; 22] = [
    b"\0",
    b"\xFF",
    b"\xFF\xFF\xFF\xFF",
    b"\x7F\xFF\xFF\xFF",
    b"\x80\0\0\0",
    b"\0\0\0\0",
    b"\0\0\xFF\xFF",
    b"\xFF\xD8",
    b"\xFF\xD9",
    b"\xFF\xE1",
    b"\xFF\xDA",
    b"<rdf:li>",
    b"</rdf:Bag>",
    b"<![CDATA[",
    b"&#x110000;",
    b"<!ENTITY a \"&a;\">",
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b"[[[[[[[[",
    b"{\"",
    b"\xF0\x9F\x90\xA6\xE2\x80\x8D\xCC\x81",
];

/// Returns `seed` with one to eight random changes. Some changes insert bytes of `other`.
pub fn mutate(seed: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(8) {
        // Half of the changes are in the first 256 bytes, because headers decide how the following bytes are read.
        let reach = if random.below(2) == 0 { bytes.len().min(256) } else { bytes.len() };
        let at = random.below(reach + 1);
        let scale = random.below(9);
        let length = random.below(1 << scale);
        let end = (at + length).min(bytes.len());
        match random.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next_u64() as u8,
            2 if at < bytes.len() => bytes[at] = bytes[at].wrapping_add(*random.pick(&[1, 255, 16, 240])),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            5 => {
                let word = random.pick(&WORDS);
                bytes.splice(at..(at + word.len()).min(bytes.len()), word.iter().copied());
            }
            6 => drop(bytes.splice(at..at, random.pick(&WORDS).iter().copied())),
            7 if !other.is_empty() => {
                let from = random.below(other.len());
                let piece = &other[from..(from + length).min(other.len())];
                bytes.splice(at..end, piece.iter().copied());
            }
            8 if random.below(8) == 0 => bytes.truncate(at),
            _ => {}
        }
    }
    // Wrong checksums would keep the changes of a PNG from reaching the decoder.
    if random.below(4) > 0 {
        mend_png(&mut bytes);
    }
    bytes.truncate(1 << 20);
    bytes
}

/// Corrects the checksums of a PNG's chunks.
fn mend_png(bytes: &mut [u8]) {
    if !bytes.starts_with(b"\x89PNG") {
        return;
    }
    let mut at = 8;
    while let Some(head) = bytes.get(at..at + 4) {
        let length = u32::from_be_bytes(head.try_into().expect("four bytes")) as usize;
        let Some(end) = (at + 8).checked_add(length).filter(|end| end + 4 <= bytes.len()) else { return };
        let sum = crc32(&bytes[at + 4..end]).to_be_bytes();
        bytes[end..end + 4].copy_from_slice(&sum);
        at = end + 4;
    }
}
