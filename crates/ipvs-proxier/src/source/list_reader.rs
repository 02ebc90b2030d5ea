//! A list as the Kubernetes API sends it: bytes in as they arrive, objects out one by one.

use ipvs_model::input::ObjectKind;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::api_object::{ApiObject, start_of};
use super::weight::weight;

/// The longest object that is read. Those that a server stores have 1.5 MB at most, a little more as JSON.
pub(super) const LONGEST_OBJECT: usize = 16 << 20;
/// The longest answer to one list request.
const LONGEST_PAGE: usize = 256 << 20;
/// What is around the objects of a list has some hundred bytes.
const LONGEST_ENVELOPE: usize = 64 << 10;
/// What objects may take in memory that wait for the list to say its kind. Servers say it first.
const MOST_HELD: usize = 64 << 20;

/// An answer that is no list of the kind that was asked for. Objects of it that were read before are what they are; what is
/// not in it is not known to be gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// It says another kind, or none.
    #[error("the answer is of kind {found}, not {expected}List")]
    OtherKind {
        /// The kind of its objects.
        expected: &'static str,
        /// What it says.
        found: String,
    },
    /// It is no JSON, or no list.
    #[error("the answer is no {expected}List: {reason}: {start}")]
    NoList {
        /// The kind of its objects.
        expected: &'static str,
        /// Why.
        reason: String,
        /// Its first characters.
        start: String,
    },
    /// It is longer than anything that is read.
    #[error("the answer is longer than {bound} bytes, or what is around its objects is")]
    TooLong {
        /// The bound.
        bound: usize,
    },
    /// It has too many objects before it says its kind.
    #[error("the answer has objects of more than {} MiB before it says its kind", MOST_HELD >> 20)]
    LateKind,
}

/// Reads one page of a list without ever holding more text than one object has.
///
/// Each object is read by itself: one that cannot be used costs itself only. Objects come as they are complete, but only
/// once the list has said its kind.
///
/// ```
/// use ipvs_model::input::ObjectKind;
/// use ipvs_proxier::ListReader;
///
/// let mut reader = ListReader::new(ObjectKind::Node);
/// let text = br#"{"kind": "NodeList", "metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "n1"}}]}"#;
/// let objects = reader.push(text)?;
/// assert!(objects[0].change.is_ok());
/// assert_eq!(reader.finish()?.version.as_deref(), Some("7"));
/// # Ok::<(), ipvs_proxier::ListError>(())
/// ```
#[derive(Debug)]
pub struct ListReader {
    kind: ObjectKind,
    place: Place,
    nesting: Nesting,
    /// The list without its objects.
    envelope: Vec<u8>,
    object: Vec<u8>,
    /// Objects longer than that are left out, as what they are.
    longest: usize,
    is_object_too_long: bool,
    /// Bytes that came.
    length: usize,
    is_kind_known: bool,
    /// Those that came before the kind.
    held: Vec<ApiObject>,
    /// What they take in memory.
    held_bytes: usize,
}

/// How a page ends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListEnd {
    /// The version of the list, from which a watch goes on.
    pub version: Option<String>,
    /// By what the next page is asked for.
    pub next: Option<String>,
    /// Objects that came before the list said its kind.
    pub objects: Vec<ApiObject>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Envelope,
    Objects,
}

/// How deep the next byte stands in a JSON text.
#[derive(Debug, Default)]
struct Nesting {
    depth: usize,
    is_in_string: bool,
    is_escaped: bool,
}

impl Nesting {
    /// Whether a byte is one of JSON's own: none of a string, its quotes neither.
    fn step(&mut self, byte: u8) -> bool {
        if self.is_in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.is_in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.is_in_string = true,
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        !self.is_in_string
    }

    /// How many of the next bytes change nothing and end nothing: most of a list is text and numbers.
    fn plain(&self, bytes: &[u8]) -> usize {
        let end = match (self.is_in_string, self.is_escaped) {
            (true, true) => Some(0),
            (true, false) => bytes.iter().position(|byte| matches!(byte, b'"' | b'\\')),
            (false, _) => {
                let is_structure =
                    |byte: &u8| matches!(byte, b'"' | b',' | b'{' | b'}' | b'[' | b']');
                bytes.iter().position(is_structure)
            }
        };
        end.unwrap_or(bytes.len())
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope {
    kind: String,
    metadata: ListMeta,
    #[serde(rename = "items")]
    _items: Option<Vec<IgnoredAny>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ListMeta {
    #[serde(rename = "resourceVersion")]
    version: Option<String>,
    #[serde(rename = "continue")]
    next: Option<String>,
}

impl ListReader {
    /// A reader of a list of this kind.
    #[must_use]
    pub const fn new(kind: ObjectKind) -> Self {
        Self {
            kind,
            place: Place::Envelope,
            nesting: Nesting {
                depth: 0,
                is_in_string: false,
                is_escaped: false,
            },
            envelope: Vec::new(),
            object: Vec::new(),
            longest: LONGEST_OBJECT,
            is_object_too_long: false,
            length: 0,
            is_kind_known: false,
            held: Vec::new(),
            held_bytes: 0,
        }
    }

    /// Takes the next bytes, and gives the objects that are complete now. Costs O(bytes).
    ///
    /// # Errors
    /// [`ListError`] as soon as it is known that this is no such list; nothing more of it is to be read then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<ApiObject>, ListError> {
        self.length = self.length.saturating_add(bytes.len());
        if self.length > LONGEST_PAGE {
            return Err(ListError::TooLong {
                bound: LONGEST_PAGE,
            });
        }
        let mut objects = std::mem::take(&mut self.held);
        let known = objects.len();
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.place {
                Place::Envelope => self.take_envelope(rest)?,
                Place::Objects => self.take_object(rest, &mut objects),
            };
        }
        if self.is_kind_known {
            return Ok(objects);
        }
        let new = objects.iter().skip(known).map(weight).sum();
        self.held_bytes = self.held_bytes.saturating_add(new);
        if self.held_bytes > MOST_HELD {
            return Err(ListError::LateKind);
        }
        self.held = objects;
        Ok(Vec::new())
    }

    /// The end of the answer.
    ///
    /// # Errors
    /// [`ListError`] when it is incomplete, or no such list.
    pub fn finish(self) -> Result<ListEnd, ListError> {
        let envelope: Envelope =
            serde_json::from_slice(&self.envelope).map_err(|error| self.no_list(&error))?;
        self.check(&envelope.kind)?;
        let known = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(ListEnd {
            version: known(envelope.metadata.version),
            next: known(envelope.metadata.next),
            objects: self.held,
        })
    }

    /// What is left after what belongs to the envelope.
    fn take_envelope<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], ListError> {
        let mut begins = bytes.iter().enumerate().map(|(index, &byte)| {
            let is_structure = self.nesting.step(byte);
            (
                index,
                is_structure && byte == b'[' && self.nesting.depth == 2,
            )
        });
        let begin = begins.find_map(|(index, begins)| begins.then_some(index));
        let length = begin.map_or(bytes.len(), |index| index.saturating_add(1));
        let (taken, rest) = bytes.split_at(length);
        let before = self.envelope.len().saturating_add(length).saturating_sub(1);
        self.envelope.extend_from_slice(taken);
        if self.envelope.len() > LONGEST_ENVELOPE {
            return Err(ListError::TooLong {
                bound: LONGEST_ENVELOPE,
            });
        }
        if let Some(b'{') | None = self.envelope.trim_ascii_start().first() {
            let before = self.envelope.get(..before).unwrap_or_default();
            if begin.is_some() && ends_with_items(before) {
                self.place = Place::Objects;
                self.learn_kind()?;
            }
            return Ok(rest);
        }
        Err(self.no_list(&"no object"))
    }

    /// What is left after the next end of an object, or of all.
    fn take_object<'a>(&mut self, bytes: &'a [u8], objects: &mut Vec<ApiObject>) -> &'a [u8] {
        let mut rest = bytes;
        loop {
            let plain = self.nesting.plain(rest);
            let Some((&byte, behind)) = rest.get(plain..).and_then(<[u8]>::split_first) else {
                break;
            };
            rest = behind;
            let is_structure = self.nesting.step(byte);
            let is_last = byte == b']' && self.nesting.depth < 2;
            if is_structure && (is_last || byte == b',' && self.nesting.depth == 2) {
                let length = bytes.len().saturating_sub(rest.len()).saturating_sub(1);
                self.keep(bytes.get(..length).unwrap_or_default());
                objects.extend(self.end_object());
                if is_last {
                    self.place = Place::Envelope;
                    self.envelope.push(byte);
                }
                return rest;
            }
        }
        self.keep(bytes);
        &[]
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.object.len().saturating_add(bytes.len()) > self.longest {
            self.is_object_too_long = true;
            self.object = Vec::new();
        }
        if !self.is_object_too_long {
            self.object.extend_from_slice(bytes);
        }
    }

    fn end_object(&mut self) -> Option<ApiObject> {
        if std::mem::take(&mut self.is_object_too_long) {
            let problem = format!(
                "an object of the list is longer than {} bytes",
                self.longest
            );
            return Some(ApiObject::unknown(self.kind, &problem));
        }
        let is_object = !self.object.trim_ascii().is_empty();
        let object = is_object.then(|| ApiObject::read(self.kind, &self.object));
        self.object.clear();
        object
    }

    /// The kind, if it was said before the objects, as servers do.
    fn learn_kind(&mut self) -> Result<(), ListError> {
        let end = b"]}".iter();
        let text: Vec<u8> = self.envelope.iter().chain(end).copied().collect();
        match serde_json::from_slice::<Envelope>(&text) {
            Ok(Envelope { kind, .. }) if !kind.is_empty() => {
                self.check(&kind)?;
                self.is_kind_known = true;
            }
            // Known at the end: it can still come.
            _ => {}
        }
        Ok(())
    }

    fn check(&self, found: &str) -> Result<(), ListError> {
        let expected = self.kind.name();
        if found.strip_suffix("List") == Some(expected) {
            return Ok(());
        }
        let found = if found.is_empty() { "(none)" } else { found };
        Err(ListError::OtherKind {
            expected,
            found: start_of(found),
        })
    }

    fn no_list(&self, reason: &dyn std::fmt::Display) -> ListError {
        ListError::NoList {
            expected: self.kind.name(),
            reason: reason.to_string(),
            start: start_of(&String::from_utf8_lossy(&self.envelope)),
        }
    }
}

/// Whether the list that begins now is the one of the objects: what comes before it is its key.
fn ends_with_items(text: &[u8]) -> bool {
    let key = text.trim_ascii_end().strip_suffix(b":");
    let before = key.and_then(|text| text.trim_ascii_end().strip_suffix(b"\"items\""));
    // Not the end of a longer key with a quote in it.
    before.is_some_and(|text| !text.ends_with(b"\\"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = r#"{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"x"},"items":[
        {"metadata":{"name":"a ],[ }"}}, {"metadata":{"name":"b\"]"},"spec":{"podCIDRs":["10.0.0.0/24"]}},
        {"metadata":{"name":"c"},"spec":{"podCIDRs":4}}, 5, {"metadata":{"name":"d"}} ]}"#;

    fn read(text: &str, chunk: usize) -> Result<(Vec<ApiObject>, ListEnd), ListError> {
        let mut reader = ListReader::new(ObjectKind::Node);
        let mut objects = Vec::new();
        for bytes in text.as_bytes().chunks(chunk) {
            objects.extend(reader.push(bytes)?);
        }
        let mut end = reader.finish()?;
        objects.append(&mut end.objects);
        Ok((objects, end))
    }

    #[test]
    fn one_object_that_cannot_be_used_costs_itself_only_however_the_bytes_come() {
        for chunk in [1, 2, 7, 64, 4096] {
            let (objects, end) = read(NODES, chunk).unwrap();
            let names: Vec<_> = objects
                .iter()
                .map(|object| object.name.as_ref().map(|name| name.name.as_ref()))
                .collect();
            assert_eq!(
                names,
                [Some("a ],[ }"), Some("b\"]"), Some("c"), None, Some("d")]
            );
            let good = objects.iter().map(|object| object.change.is_ok());
            assert_eq!(good.collect::<Vec<_>>(), [true, true, false, false, true]);
            assert_eq!(
                (end.version.as_deref(), end.next.as_deref()),
                (Some("7"), Some("x"))
            );
        }
    }

    #[test]
    fn objects_before_the_kind_wait_for_it() {
        let text =
            r#"{"items":[{"metadata":{"name":"a"}}],"kind":"NodeList","metadata":{"items":["x"]}}"#;
        let mut reader = ListReader::new(ObjectKind::Node);
        assert_eq!(reader.push(text.as_bytes()), Ok(Vec::new()));
        assert_eq!(reader.finish().unwrap().objects.len(), 1);
        let pods = text.replace("NodeList", "PodList");
        assert!(matches!(
            read(&pods, 4096),
            Err(ListError::OtherKind { .. })
        ));
    }

    #[test]
    fn not_every_object_waits_for_the_kind() {
        let mut reader = ListReader::new(ObjectKind::Node);
        reader.push(br#"{"items":["#).unwrap();
        let chunk = "{},".repeat(1000);
        let pushed = (1..).find_map(|number| {
            let error = reader.push(chunk.as_bytes()).err()?;
            Some((number, error))
        });
        let (number, error) = pushed.unwrap();
        assert_eq!(error, ListError::LateKind);
        assert!(number < 200, "{number}");
    }

    #[test]
    fn another_kind_no_kind_and_no_list_are_refused() {
        for kind in ["PodList", "Node", "Status", "List", ""] {
            let text = NODES.replace("NodeList", kind);
            let error = read(&text, 4096).unwrap_err();
            assert!(matches!(error, ListError::OtherKind { .. }), "{error}");
        }
        let pods = NODES.replace("NodeList", "PodList");
        let error = ListReader::new(ObjectKind::Node).push(pods.as_bytes());
        assert_eq!(
            error.unwrap_err().to_string(),
            "the answer is of kind PodList, not NodeList",
            "before any object counts"
        );
        for text in [
            "<!doctype html><html>",
            "[]",
            "",
            "{",
            "\"x\"",
            r#"{"kind":"NodeList","items":{}}"#,
        ] {
            let error = read(text, 4096).unwrap_err();
            assert!(matches!(error, ListError::NoList { .. }), "{text}: {error}");
        }
        let html = read("\n<html>\n<body>", 3).unwrap_err().to_string();
        assert!(html.contains("no NodeList: no object: <"), "{html}");
        assert_eq!(
            read("{}", 9).unwrap_err().to_string(),
            "the answer is of kind (none), not NodeList"
        );
    }

    #[test]
    fn an_answer_that_is_cut_off_is_no_list() {
        for end in 0..NODES.len() - 1 {
            assert!(read(&NODES[..end], 64).is_err(), "{end}");
        }
        assert!(read(NODES.replace("null", "").as_str(), 64).is_ok());
        let empty = r#"{"kind":"NodeList","metadata":{},"items":null}"#;
        assert_eq!(read(empty, 64).unwrap().0, []);
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let long = NODES.replace("10.0.0.0/24", &"x".repeat(300));
        let mut reader = ListReader::new(ObjectKind::Node);
        reader.longest = 200;
        let mut objects = Vec::new();
        for bytes in long.as_bytes().chunks(50) {
            objects.extend(reader.push(bytes).unwrap());
            assert!(reader.object.capacity() <= 512);
        }
        assert_eq!(objects.len(), 5);
        let problem = objects[1].change.as_ref().unwrap_err();
        assert_eq!(
            problem,
            "Node: an object of the list is longer than 200 bytes"
        );
        assert!(objects[4].change.is_ok());
        let mut reader = ListReader::new(ObjectKind::Node);
        let spaces = [b' '; 4096];
        let error = (0..100).find_map(|_| reader.push(&spaces).err());
        assert!(matches!(error, Some(ListError::TooLong { .. })));
        let mut reader = ListReader::new(ObjectKind::Node);
        reader.length = LONGEST_PAGE;
        assert!(matches!(reader.push(b"{"), Err(ListError::TooLong { .. })));
    }
}
