//! A watch as the Kubernetes API sends it: bytes in as they arrive, events out one by one.

use std::borrow::Cow;

use ipvs_model::input::{ObjectKind, ObjectName};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::api_object::{ApiObject, gone, start_of, version_of};
use super::list_reader::LONGEST_OBJECT;
use super::refusal::Refusal;

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEvent {
    /// An object is there, or is another one.
    Put(Box<ApiObject>),
    /// An object is gone.
    Gone {
        /// Its name.
        name: ObjectName,
        /// Its last version.
        version: Option<String>,
    },
    /// Nothing, up to this version.
    Bookmark(String),
    /// The server ends the watch.
    Refused(Refusal),
    /// Bytes that are no event: nobody knows what they should have told.
    Unreadable(String),
}

/// Reads the events of a watch, one line each, without ever holding more text than one event has.
///
/// Each event is read by itself: one that cannot be used neither stops nor delays the others.
///
/// ```
/// use ipvs_model::input::ObjectKind;
/// use ipvs_proxier::{WatchEvent, WatchReader};
///
/// let mut reader = WatchReader::new(ObjectKind::Node);
/// let text = b"{\"type\": \"ADDED\", \"object\": {\"kind\": \"Node\", \"metadata\": {\"name\": \"n1\"}}}\n";
/// assert!(matches!(&reader.push(text)[..], [WatchEvent::Put(_)]));
/// ```
#[derive(Debug)]
pub struct WatchReader {
    kind: ObjectKind,
    line: Vec<u8>,
    longest: usize,
    is_too_long: bool,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    what: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

impl WatchReader {
    /// A reader of a watch of objects of this kind.
    #[must_use]
    pub const fn new(kind: ObjectKind) -> Self {
        Self {
            kind,
            line: Vec::new(),
            longest: LONGEST_OBJECT,
            is_too_long: false,
        }
    }

    /// Takes the next bytes, and gives the events that are complete now. Costs O(bytes).
    pub fn push(&mut self, bytes: &[u8]) -> Vec<WatchEvent> {
        let mut events = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let is_longer = self.line.len().saturating_add(part.len()) > self.longest;
            if is_longer && !self.is_too_long {
                // Told at once: its end may never come.
                let problem = format!("an event is longer than {} bytes", self.longest);
                events.push(self.unreadable(&problem));
                self.is_too_long = true;
                self.line = Vec::new();
            }
            if !self.is_too_long {
                self.line.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                events.extend(self.end_line());
            }
        }
        events
    }

    /// Whether an event has begun of which the end has not come yet.
    #[must_use]
    pub const fn is_within_event(&self) -> bool {
        self.is_too_long || !self.line.is_empty()
    }

    /// The end of the answer: its last line may lack its end. Half of one tells nothing, and comes again.
    #[must_use]
    pub fn finish(mut self) -> Option<WatchEvent> {
        let event = self.end_line();
        event.filter(|event| !matches!(event, WatchEvent::Unreadable(_)))
    }

    fn end_line(&mut self) -> Option<WatchEvent> {
        if std::mem::take(&mut self.is_too_long) {
            return None;
        }
        let line = std::mem::take(&mut self.line);
        let text = line.trim_ascii();
        let event = (!text.is_empty()).then(|| self.read(text));
        // Its memory serves the next one, unless it was an unusual one.
        self.line = line;
        self.line.clear();
        self.line.shrink_to(64 << 10);
        event
    }

    fn read(&self, text: &[u8]) -> WatchEvent {
        let Line { what, object } = match serde_json::from_slice(text) {
            Ok(line) => line,
            Err(error) => {
                // Some servers answer a watch that they refuse with what refuses it.
                if let Some(refusal) = Refusal::read(text) {
                    return WatchEvent::Refused(refusal);
                }
                let start = start_of(&String::from_utf8_lossy(text));
                return self.unreadable(&format!("no event: {error}: {start}"));
            }
        };
        let start = || start_of(object.get());
        match what.as_ref() {
            "ADDED" | "MODIFIED" => WatchEvent::Put(Box::new(ApiObject::read(
                self.kind,
                object.get().as_bytes(),
            ))),
            "DELETED" => match gone(object.get()) {
                Some((name, version)) => WatchEvent::Gone { name, version },
                None => self.unreadable(&format!("what is deleted has no name: {}", start())),
            },
            "BOOKMARK" => match version_of(object.get()) {
                Some(version) => WatchEvent::Bookmark(version),
                None => self.unreadable(&format!("a bookmark without a version: {}", start())),
            },
            "ERROR" => match Refusal::read(object.get().as_bytes()) {
                Some(refusal) => WatchEvent::Refused(refusal),
                None => self.unreadable(&format!("an error that is no Status: {}", start())),
            },
            other => {
                let other = start_of(other);
                self.unreadable(&format!("no event: type: {other}: unknown: {}", start()))
            }
        }
    }

    fn unreadable(&self, problem: &str) -> WatchEvent {
        WatchEvent::Unreadable(format!("{}: {problem}", self.kind.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, chunk: usize) -> Vec<String> {
        let mut reader = WatchReader::new(ObjectKind::Service);
        let mut events = Vec::new();
        for bytes in text.as_bytes().chunks(chunk) {
            events.extend(reader.push(bytes));
        }
        events.extend(reader.finish());
        let tell = |event: WatchEvent| match event {
            WatchEvent::Put(object) => match object.change {
                Ok(_) => format!("put {}", object.name.unwrap()),
                Err(problem) => problem,
            },
            WatchEvent::Gone { name, version } => format!("gone {name} {}", version.unwrap()),
            WatchEvent::Bookmark(version) => format!("bookmark {version}"),
            WatchEvent::Refused(refusal) => refusal.to_string(),
            WatchEvent::Unreadable(problem) => problem,
        };
        events.into_iter().map(tell).collect()
    }

    const EVENTS: &str = concat!(
        r#"{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"ns"},"spec":{"clusterIP":"10.0.0.1"}}}"#,
        "\n\n",
        r#"{"type":"MODIFIED","object":{"metadata":{"name":"b","namespace":"ns"},"spec":{"clusterIP":5}}}"#,
        "\r\n",
        "{\"type\": \"ADD\n",
        r#"{"type":"SYNCED","object":{}}"#,
        "\n",
        r#"{"type":"DELETED","object":{"metadata":{"name":"c","namespace":"ns","resourceVersion":"9"},"spec":4}}"#,
        "\n",
        r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"11"}}}"#,
        "\n",
        r#"{"object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"},"type":"ERROR"}"#,
    );

    #[test]
    fn an_event_that_cannot_be_used_stops_no_other_however_the_bytes_come() {
        for chunk in [1, 3, 50, 4096] {
            let told = read(EVENTS, chunk);
            let starts = [
                "put ns/a",
                "Service ns/b: spec.clusterIP: 5: invalid type",
                "Service: no event: ",
                "Service: no event: type: SYNCED: unknown: {}",
                "gone ns/c 9",
                "bookmark 11",
                "too old (410 Expired)",
            ];
            assert_eq!(told.len(), starts.len(), "{told:#?}");
            for (told, start) in told.iter().zip(starts) {
                assert!(told.starts_with(start), "{told}");
            }
        }
    }

    #[test]
    fn half_an_event_at_the_end_tells_nothing() {
        for end in 1..80 {
            assert_eq!(read(&EVENTS[..end], 9), [""; 0]);
        }
    }

    #[test]
    fn a_refusal_may_come_bare() {
        let told = read(
            r#"{"kind":"Status","code":500,"reason":"InternalError","message":"etcd"}"#,
            99,
        );
        assert_eq!(told, ["etcd (500 InternalError)"]);
    }

    #[test]
    fn what_is_too_long_is_not_kept_and_the_next_is_read() {
        let mut reader = WatchReader::new(ObjectKind::Service);
        reader.longest = 150;
        let problem = "Service: an event is longer than 150 bytes".to_owned();
        let told = reader.push(&[b'x'; 400]);
        assert_eq!(
            told,
            [WatchEvent::Unreadable(problem)],
            "its end may never come"
        );
        assert_eq!(reader.push(&[b'x'; 400]), [], "once");
        assert!(reader.line.capacity() < 400 && reader.is_within_event());
        let told = reader.push(format!("y\n{EVENTS}").as_bytes());
        assert!(matches!(told[0], WatchEvent::Put(_)));
    }
}
