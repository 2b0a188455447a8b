//! The keywords of an XMP packet, read as a stream. A packet is untrusted: what a tree of all elements would cost, or a namespace that each of
//! thousands of elements declares, must not hold a decoder up.

use quick_xml::NsReader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};

const DC: &str = "http://purl.org/dc/elements/1.1/";
const RDF: &str = "http://www.w3.org/1999/02/22-rdf-syntax-ns#";
/// Largest packet. Editors that keep their history in a file write some hundred kilobytes.
const MAX_BYTES: usize = 4 << 20;
/// Most elements inside each other. A keyword is about seven deep.
const MAX_DEPTH: usize = 64;
/// Most attributes of an element. Editors write their settings as some hundred attributes of one element.
const MAX_ATTRIBUTES: usize = 2048;
/// Most namespaces that are known at a place, and that all elements together declare.
const MAX_NAMESPACES: usize = 256;
/// Most elements, texts and other parts.
const MAX_PARTS: usize = 200_000;

/// Returns the items of `dc:subject` in file order, at most `most`, each with at most `longest` bytes. A packet that is damaged, or beyond the
/// limits above, has those that came before.
pub(super) fn keywords(packet: &[u8], most: usize, longest: usize) -> Vec<String> {
    let text = std::str::from_utf8(packet).ok().filter(|text| text.len() <= MAX_BYTES).unwrap_or_default();
    let text = text.trim_start_matches('\u{feff}').trim_matches(['\0', ' ', '\n', '\r', '\t']);
    let mut reader = NsReader::from_str(text);
    reader.resolver_mut().set_max_namespace_bindings(MAX_NAMESPACES);
    let mut place = Place { most, longest, ..Place::default() };
    for _ in 0..MAX_PARTS {
        let goes_on = match reader.read_resolved_event() {
            Ok((namespace, event)) => place.take(&namespace, &event),
            Err(_) => None,
        };
        if goes_on.is_none() {
            break;
        }
    }
    place.found
}

/// A place in a packet, and what was found before it.
#[derive(Default)]
struct Place {
    most: usize,
    longest: usize,
    found: Vec<String>,
    /// Number of open elements.
    depth: usize,
    /// Number of namespaces that were declared.
    namespaces: usize,
    /// Depth of the open `dc:subject`.
    subject: Option<usize>,
    /// Depth of the open item of the subject, and its text so far.
    item: Option<(usize, String)>,
}

impl Place {
    /// Takes the next part. `None` ends the reading: at the end, at a limit, or with the last keyword that is wanted.
    fn take(&mut self, namespace: &ResolveResult<'_>, event: &Event<'_>) -> Option<()> {
        match event {
            Event::Start(element) => self.open(namespace, element)?,
            Event::Empty(element) => self.check(element)?,
            Event::End(_) => self.close()?,
            Event::Text(text) => self.add(&text.xml10_content())?,
            Event::CData(text) => self.add(&text.xml10_content())?,
            Event::GeneralRef(reference) => match reference.resolve_char_ref().ok()? {
                Some(character) => self.add(character.encode_utf8(&mut [0; 4]))?,
                // An entity of the packet's own is left out: it could stand for gigabytes.
                None => self.add(resolve_predefined_entity(reference).unwrap_or_default())?,
            },
            Event::Eof => return None,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
        Some(())
    }

    fn open(&mut self, namespace: &ResolveResult<'_>, element: &BytesStart<'_>) -> Option<()> {
        self.check(element)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let name = element.local_name();
        let is = |wanted, local| *namespace == ResolveResult::Bound(Namespace(wanted)) && name.as_ref() == local;
        if self.subject.is_none() {
            self.subject = is(DC, "subject").then_some(self.depth);
        } else if self.item.is_none() && is(RDF, "li") {
            self.item = Some((self.depth, String::new()));
        }
        Some(())
    }

    /// Checks the number of attributes and namespaces.
    fn check(&mut self, element: &BytesStart<'_>) -> Option<()> {
        // The library's own check for equal names compares each with each.
        let mut attributes = element.attributes();
        for (count, attribute) in attributes.with_checks(false).enumerate() {
            self.namespaces += usize::from(attribute.ok()?.key.as_namespace_binding().is_some());
            if count >= MAX_ATTRIBUTES || self.namespaces > MAX_NAMESPACES {
                return None;
            }
        }
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        if let Some((_, text)) = self.item.take_if(|(depth, _)| *depth == self.depth) {
            if !text.is_empty() {
                self.found.push(text);
            }
            if self.found.len() >= self.most {
                return None;
            }
        }
        self.subject.take_if(|depth| *depth == self.depth);
        self.depth = self.depth.checked_sub(1)?;
        Some(())
    }

    /// Adds text to the open item. Text of elements inside the item is left out.
    fn add(&mut self, text: &str) -> Option<()> {
        if let Some((depth, item)) = &mut self.item
            && *depth == self.depth
        {
            if item.len() + text.len() > self.longest {
                // No keyword is that long, and the next one may be all right.
                self.item = None;
            } else {
                item.push_str(text);
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(inner: &str) -> String {
        format!(
            "<?xpacket begin='\u{feff}'?><x:xmpmeta xmlns:x='adobe:ns:meta/'><r:RDF xmlns:r='{RDF}'><r:Description xmlns:d='{DC}'>{inner}\
             </r:Description></r:RDF></x:xmpmeta>\0\0"
        )
    }

    fn read(packet: &str) -> Vec<String> {
        keywords(packet.as_bytes(), 64, 400)
    }

    #[test]
    fn items_of_the_subject_are_read_whatever_their_prefixes() {
        let subject = "<d:subject><r:Bag><r:li>birds</r:li><r:li xml:lang='en'>black &amp; white</r:li><r:li><![CDATA[<sea>]]></r:li>\
                       <r:li>caf&#xe9;&unknown;</r:li><r:li/></r:Bag></d:subject>";
        let others =
            "<d:title><r:Alt><r:li>no keyword</r:li></r:Alt></d:title><subject><r:li>not this one</r:li></subject>";
        let expected = ["birds", "black & white", "<sea>", "café"];
        assert_eq!(read(&packet(&format!("{others}{subject}{others}"))), expected);
        // Not those of another namespace.
        assert!(read(&packet(subject).replace(DC, "http://example.org/")).is_empty());
        assert!(read(&packet(subject).replace(RDF, "http://example.org/")).is_empty());
    }

    #[test]
    fn damage_leaves_what_came_before() {
        let whole = packet("<d:subject><r:li>one</r:li><r:li>two</r:li></d:subject>");
        for end in 0..whole.len() {
            if let Some(part) = whole.get(..end) {
                assert!(
                    ["one", "two"].starts_with(&read(part).iter().map(String::as_str).collect::<Vec<_>>()),
                    "{part}"
                );
            }
        }
        assert_eq!(read(&whole.replace("</r:li><r:li>two", "</r:li></x><r:li>two")), ["one"]);
        assert!(read("").is_empty() && keywords(b"\xff\xfe<", 64, 400).is_empty());
    }

    #[test]
    fn floods_end_at_their_limits() {
        let keyword = "<d:subject><r:li>after</r:li></d:subject>";
        let nested = |count: usize, start: &dyn Fn(usize) -> String| {
            (0..count).map(start).collect::<String>() + &"</e>".repeat(count)
        };
        let attributes = |count: usize| (0..count).map(|i| format!(" a{i}=''")).collect::<String>();
        let within = [
            nested(50, &|_| "<e>".to_owned()),
            "<e/>".repeat(10_000),
            format!("<e{}/>", attributes(1000)),
            (0..200).map(|i| format!("<e xmlns:n{i}='u{i}'/>")).collect(),
            format!("<!--{}-->", "x".repeat(1 << 20)),
        ];
        for flood in within {
            assert_eq!(read(&packet(&(flood.clone() + keyword))), ["after"], "{}", &flood[..40]);
        }
        let beyond = [
            // The one that held a decoder for a minute: each element declares a namespace.
            nested(8000, &|i| format!("<e xmlns:n{i}='u{i}'>")),
            nested(8000, &|_| "<e>".to_owned()),
            (0..8000).map(|i| format!("<e xmlns:n{i}='u{i}'/>")).collect(),
            format!("<e{}/>", attributes(100_000)),
            "<e/>".repeat(MAX_PARTS),
            " ".repeat(MAX_BYTES),
        ];
        for flood in beyond {
            assert!(read(&packet(&(flood.clone() + keyword))).is_empty(), "{}", &flood[..40]);
        }
        // Entities that stand for each other are not expanded.
        let laughs = packet("<d:subject><r:li>&lol9;</r:li><r:li>next</r:li></d:subject>");
        let doctype: String =
            (1..10).map(|i| format!("<!ENTITY lol{i} '{}'>", format!("&lol{};", i - 1).repeat(10))).collect();
        assert_eq!(
            read(&format!("<!DOCTYPE x [<!ENTITY lol0 'ha'>{doctype}]>{}", &laughs[laughs.find("<x:").unwrap()..])),
            ["next"]
        );
    }

    #[test]
    fn keywords_are_few_and_short() {
        let items: String = (0..100).map(|i| format!("<r:li>k{i}</r:li>")).collect();
        assert_eq!(read(&packet(&format!("<d:subject>{items}</d:subject>"))).len(), 64);
        // Empty items do not count.
        let empty = "<r:li></r:li>".repeat(100);
        assert_eq!(read(&packet(&format!("<d:subject>{empty}<r:li>last</r:li></d:subject>"))), ["last"]);
        let long = format!("<d:subject><r:li>{}</r:li><r:li>short</r:li></d:subject>", "x".repeat(401));
        assert_eq!(read(&packet(&long)).last().unwrap(), "short");
    }
}
