//! One object as the Kubernetes API sends it: bytes in, a change or what is wrong with them out.

use std::fmt::Write as _;

use ipvs_codec::Family;
use ipvs_model::input::{Change, EndpointSlice, Manifest, ObjectKind, ObjectName, Service};
use serde::Deserialize;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::polled::Trigger;

const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// So much of a text or a value is shown, in characters.
const SHOWN: usize = 80;
/// And of what its reader says, which may hold the value again.
const REASON: usize = 200;

/// An object, of which only what concerns a node is read: `managedFields` are often more than the rest together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiObject {
    /// Its name. None where it says none, or cannot be read at all.
    pub name: Option<ObjectName>,
    /// Its version, by which a watch goes on.
    pub version: Option<String>,
    /// When the endpoints that it tells of changed.
    pub trigger: Option<Trigger>,
    /// The change that brings it into the model, or what is wrong: kind, name, field and value.
    pub change: Result<Change, String>,
}

impl ApiObject {
    /// Reads an object, of which it is known that it should be of this kind: the items of a list do not say theirs.
    pub(super) fn read(kind: ObjectKind, text: &[u8]) -> Self {
        let manifest = match std::str::from_utf8(text) {
            // Checked as a whole, which costs less than string by string.
            Ok(text) => serde_json::from_str::<Manifest>(text),
            Err(_) => serde_json::from_slice(text),
        };
        match manifest {
            Ok(manifest) => Self::of(kind, manifest),
            Err(error) => Self::unusable(kind, text, &error),
        }
    }

    /// One of which nothing is known but what is wrong with it.
    pub(super) fn unknown(kind: ObjectKind, problem: &str) -> Self {
        Self {
            name: None,
            version: None,
            trigger: None,
            change: Err(format!("{}: {problem}", kind.name())),
        }
    }

    fn of(kind: ObjectKind, manifest: Manifest) -> Self {
        let metadata = manifest.metadata();
        let name = name_of(metadata.namespace.as_deref(), metadata.name.as_deref());
        let version = metadata.resource_version.clone();
        let trigger = trigger(&manifest);
        let change = match manifest.kind().filter(|found| *found != kind.name()) {
            Some(other) => Err(format!("kind: {other}: not the kind that was asked for")),
            None => manifest
                .into_change(kind)
                .map_err(|error| error.to_string()),
        };
        Self {
            // Its own, which it shares.
            name: match &change {
                Ok(
                    Change::Service(Service { name, .. })
                    | Change::EndpointSlice(EndpointSlice { name, .. }),
                ) => Some(name.clone()),
                _ => name.clone(),
            },
            version,
            trigger,
            change: change.map_err(|problem| named(kind, name.as_ref(), &problem)),
        }
    }

    /// Looks at it again as a tree, which tells whose field it is.
    fn unusable(kind: ObjectKind, text: &[u8], error: &serde_json::Error) -> Self {
        let text = String::from_utf8_lossy(text);
        let Ok(tree) = serde_json::from_str::<Value>(&text) else {
            return Self::unknown(kind, &format!("no JSON: {error}: {}", start_of(&text)));
        };
        let metadata = |field: &str| tree.get("metadata")?.get(field)?.as_str();
        let name = name_of(metadata("namespace"), metadata("name"));
        let problem = match serde_path_to_error::deserialize::<_, Manifest>(&tree) {
            Err(error) => {
                let value = value_at(&tree, error.path()).map(Value::to_string);
                let value = value.unwrap_or_else(|| "(missing)".to_owned());
                format!(
                    "{}: {}: {}",
                    error.path(),
                    start_of(&value),
                    shortened(&error.inner().to_string(), REASON)
                )
            }
            // The tree has it once only, or as text that was no UTF-8.
            Ok(_) => shortened(&error.to_string(), REASON),
        };
        Self {
            version: metadata("resourceVersion").map(str::to_owned),
            trigger: None,
            change: Err(named(kind, name.as_ref(), &problem)),
            name,
        }
    }
}

/// The name and the version of an object that is gone: nothing else of it counts.
pub(super) fn gone(text: &str) -> Option<(ObjectName, Option<String>)> {
    #[derive(Deserialize)]
    struct Gone {
        metadata: Named,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        name: String,
        namespace: Option<String>,
        resource_version: Option<String>,
    }
    let Gone { metadata } = serde_json::from_str(text).ok()?;
    let name = name_of(metadata.namespace.as_deref(), Some(&metadata.name))?;
    Some((name, metadata.resource_version))
}

/// The version of an object of which nothing else is there, as in a bookmark.
pub(super) fn version_of(text: &str) -> Option<String> {
    let tree: Value = serde_json::from_str(text).ok()?;
    let version = tree.get("metadata")?.get("resourceVersion")?.as_str()?;
    Some(version.to_owned()).filter(|version| !version.is_empty())
}

/// The beginning of a text, on one line.
pub(super) fn start_of(text: &str) -> String {
    shortened(text, SHOWN)
}

fn shortened(text: &str, most: usize) -> String {
    let mut characters = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    let mut start: String = characters.by_ref().take(most).collect();
    if characters.next().is_some() {
        start.push('…');
    }
    start
}

fn name_of(namespace: Option<&str>, name: Option<&str>) -> Option<ObjectName> {
    let name = name.filter(|name| !name.is_empty())?;
    Some(ObjectName::new(namespace.unwrap_or("default"), name))
}

fn named(kind: ObjectKind, name: Option<&ObjectName>, problem: &str) -> String {
    let mut text = kind.name().to_owned();
    if let Some(name) = name {
        // A String takes everything.
        let _ = write!(text, " {name}");
    }
    format!("{text}: {problem}")
}

fn value_at<'a>(tree: &'a Value, path: &Path) -> Option<&'a Value> {
    let mut steps = path.iter();
    steps.try_fold(tree, |value, step| match step {
        Segment::Seq { index } => value.get(index),
        Segment::Map { key } => value.get(key),
        Segment::Enum { .. } | Segment::Unknown => None,
    })
}

fn trigger(manifest: &Manifest) -> Option<Trigger> {
    let annotations = manifest.metadata().annotations.as_ref()?;
    let time = annotations.get(TRIGGER_TIME)?;
    Some(Trigger {
        family: match manifest.address_type()? {
            "IPv6" => Family::Ipv6,
            _ => Family::Ipv4,
        },
        at: humantime::parse_rfc3339(time).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn slice(json: &str) -> ApiObject {
        ApiObject::read(ObjectKind::EndpointSlice, json.as_bytes())
    }

    fn problem(kind: ObjectKind, json: &str) -> String {
        ApiObject::read(kind, json.as_bytes()).change.unwrap_err()
    }

    #[test]
    fn an_item_of_a_list_says_no_kind_and_may_have_null_for_a_list() {
        let object = slice(
            r#"{"metadata": {"name": "web-1", "namespace": "shop", "resourceVersion": "7", "uid": "x",
                  "managedFields": [{"manager": "m", "fieldsV1": {"f:ports": {}}}],
                  "labels": {"kubernetes.io/service-name": "web"}},
                "addressType": "IPv4", "ports": null, "endpoints": [
                  {"addresses": null}, {"addresses": ["10.244.1.2"], "hints": {"forZones": null},
                   "targetRef": {"kind": "Pod"}}]}"#,
        );
        assert_eq!(object.version.as_deref(), Some("7"));
        assert_eq!(object.name, Some(ObjectName::new("shop", "web-1")));
        let Ok(Change::EndpointSlice(slice)) = object.change else {
            unreachable!("{object:?}")
        };
        assert_eq!(slice.endpoints.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_named_by_kind_name_field_and_value() {
        let service = |port: &str| {
            format!(
                r#"{{"metadata": {{"name": "web", "namespace": "ns"}}, "spec": {{"clusterIP": "10.0.0.1", "ports": [{{"port": {port}}}]}}}}"#
            )
        };
        let of_port = |port: &str| problem(ObjectKind::Service, &service(port));
        assert_eq!(
            of_port("70000"),
            "Service ns/web: spec.ports[0].port: 70000: a port is 1 to 65535"
        );
        let text = of_port("\"eighty\"");
        let start =
            "Service ns/web: spec.ports[0].port: \"eighty\": invalid type: string \"eighty\"";
        assert!(text.starts_with(start), "{text}");
        let text = of_port(r#"{"is": "a map"}"#);
        let start = r#"Service ns/web: spec.ports[0].port: {"is":"a map"}: invalid type: map"#;
        assert!(text.starts_with(start), "{text}");
        let long = of_port(&format!("\"{}\"", "x".repeat(1 << 20)));
        assert!(long.len() < 500, "{} bytes", long.len());
        assert_eq!(
            problem(
                ObjectKind::Service,
                r#"{"kind": "Pod", "metadata": {"name": "web"}}"#
            ),
            "Service default/web: kind: Pod: not the kind that was asked for"
        );
        let text = problem(ObjectKind::Node, "{\"metadata\": {\"name\": ");
        assert!(text.starts_with("Node: no JSON: EOF"), "{text}");
        assert!(problem(ObjectKind::Node, "\u{7f}\u{1}").starts_with("Node: no JSON: "));
    }

    #[test]
    fn an_object_that_cannot_be_used_keeps_its_name_and_version() {
        let object = slice(
            r#"{"metadata": {"name": "web-1", "namespace": "ns", "resourceVersion": "9"}, "addressType": 4}"#,
        );
        assert_eq!(object.name, Some(ObjectName::new("ns", "web-1")));
        assert_eq!(object.version.as_deref(), Some("9"));
        assert!(object.change.is_err());
    }

    #[test]
    fn a_trigger_has_the_family_of_its_slice() {
        let object = slice(&format!(
            r#"{{"metadata": {{"name": "web-1", "annotations": {{"{TRIGGER_TIME}": "1970-01-01T00:00:09Z"}}}},
                "addressType": "IPv6", "endpoints": []}}"#
        ));
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
        let family = Family::Ipv6;
        assert_eq!(object.trigger, Some(Trigger { family, at }));
    }
}
