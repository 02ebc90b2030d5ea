//! One manifest file: documents, and what is wrong with them.

use std::fmt;
use std::path::{Path, PathBuf};

use ipvs_model::input::{Change, Manifest};

use super::yaml::read_yaml;
use crate::files::file_text;

/// A manifest that cannot be used. The last good state stays in force.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManifestError {
    /// The file or folder.
    pub path: PathBuf,
    /// The document in the file, counted from 1.
    pub document: Option<usize>,
    /// What is wrong: field and value where it is one.
    pub problem: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(document) = self.document {
            write!(f, ", document {document}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for ManifestError {}

impl ManifestError {
    /// Of a file or folder as a whole.
    pub(super) fn new(path: &Path, problem: &impl ToString) -> Self {
        Self {
            path: path.to_owned(),
            document: None,
            problem: problem.to_string(),
        }
    }
}

/// The objects in the contents of a manifest file, as [`Manifests`](crate::Manifests) reads them: a file named `.json` may hold
/// several values, another one several YAML documents; both may hold lists.
///
/// ```
/// use std::path::Path;
/// use ipvs_proxier::read_manifest;
///
/// let text = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.0.0.256}\n";
/// let errors = read_manifest(Path::new("web.yaml"), text.as_bytes()).unwrap_err();
/// assert_eq!(errors[0].to_string(), "web.yaml, document 1: spec.clusterIP: 10.0.0.256: not an IP address");
/// ```
///
/// # Errors
/// Everything that is wrong with it, by document, item, field and value.
pub fn read_manifest(path: &Path, bytes: &[u8]) -> Result<Vec<Change>, Vec<ManifestError>> {
    let text = file_text(bytes).map_err(|problem| vec![ManifestError::new(path, &problem)])?;
    let mut changes = Vec::new();
    let mut errors = Vec::new();
    let mut take = |index: usize, parsed: Result<Vec<Change>, Vec<String>>| match parsed {
        Ok(mut parsed) => changes.append(&mut parsed),
        Err(problems) => errors.extend(problems.into_iter().map(|problem| ManifestError {
            path: path.to_owned(),
            document: Some(index.saturating_add(1)),
            problem,
        })),
    };
    if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        let values = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
        for (index, value) in values.enumerate() {
            take(
                index,
                value
                    .map_err(|error| vec![error.to_string()])
                    .and_then(from_value),
            );
        }
    } else {
        for (index, document) in yaml_documents(text).enumerate() {
            take(index, from_yaml(document));
        }
    }
    if errors.is_empty() {
        Ok(changes)
    } else {
        Err(errors)
    }
}

/// Splits at the document markers: a line that starts with `---` is one wherever it stands (YAML 1.2, section 9.1.2).
/// Documents without content do not count.
fn yaml_documents(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    let documents = std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let is_marker = |line: &str| {
            line.trim_end()
                .strip_prefix("---")
                .is_some_and(|r| r.is_empty() || r.starts_with(' '))
        };
        let mut end = 0_usize;
        for line in rest.split_inclusive('\n') {
            if end > 0 && is_marker(line) {
                break;
            }
            end = end.saturating_add(line.len());
        }
        let (document, tail) = rest.split_at(end);
        rest = tail;
        Some(document)
    });
    let is_content = |line: &str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#') && line != "---" && !line.starts_with("%")
    };
    documents.filter(move |document| document.lines().any(is_content))
}

fn from_yaml(document: &str) -> Result<Vec<Change>, Vec<String>> {
    // Straight to the types; what they refuse is looked at again as a tree, which tells whose field it is.
    let typed = read_yaml::<Manifest>(document).ok();
    if let Some(Ok(changes)) = typed.map(Manifest::into_changes) {
        return Ok(changes);
    }
    from_value(read_yaml(document).map_err(|problem| vec![problem.to_string()])?)
}

/// Objects of kinds that do not concern us may hold anything; those that do are read with the path of what is wrong.
fn from_value(value: serde_json::Value) -> Result<Vec<Change>, Vec<String>> {
    let one = |problem: &str| Err(vec![problem.to_owned()]);
    let text = |field: &str| value.pointer(field).and_then(serde_json::Value::as_str);
    let (Some(api_version), Some(kind)) = (text("/apiVersion"), text("/kind")) else {
        return one("not a Kubernetes object: it has no apiVersion and kind");
    };
    if !Manifest::is_relevant(api_version, kind) {
        return Ok(Vec::new());
    }
    let is_list = kind.ends_with("List");
    let serde_json::Value::Object(mut object) = value else {
        return one("not a Kubernetes object");
    };
    if is_list && let Some(items) = object.remove("items") {
        return match items {
            serde_json::Value::Array(items) => from_items(items),
            _ => one("items: not a list"),
        };
    }
    serde_path_to_error::deserialize(serde_json::Value::Object(object))
        .map_err(|error| format!("{}: {}", error.path(), error.inner()))
        .and_then(|manifest: Manifest| manifest.into_changes().map_err(|error| error.to_string()))
        .map_err(|problem| vec![problem])
}

/// One bad item refuses the list as one bad document refuses the file. All of them are named.
fn from_items(items: Vec<serde_json::Value>) -> Result<Vec<Change>, Vec<String>> {
    let mut changes = Vec::new();
    let mut all_problems = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let whose = whose(&item);
        match from_value(item) {
            Ok(mut parsed) => changes.append(&mut parsed),
            Err(problems) => {
                let named = |problem| format!("items[{index}]{whose}: {problem}");
                all_problems.extend(problems.into_iter().map(named));
            }
        }
    }
    if all_problems.is_empty() {
        Ok(changes)
    } else {
        Err(all_problems)
    }
}

/// Kind, namespace and name of an object, as far as it has them.
fn whose(item: &serde_json::Value) -> String {
    let text = |field: &str| item.pointer(field).and_then(serde_json::Value::as_str);
    match (text("/kind"), text("/metadata/name")) {
        (Some(kind), Some(name)) => {
            let namespace = text("/metadata/namespace").unwrap_or("default");
            format!(" ({kind} {namespace}/{name})")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_yaml(text: &str) -> Result<Vec<Change>, Vec<ManifestError>> {
        read_manifest(Path::new("x.yaml"), text.as_bytes())
    }

    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  clusterIP: 10.0.0.1\n  \
                           ports: [{port: 80}]\n";

    #[test]
    fn documents_lists_and_foreign_kinds() {
        let list = format!(
            "apiVersion: v1\nkind: List\nitems:\n- {}",
            SERVICE.trim_end().replace('\n', "\n  ")
        );
        let text = format!(
            "# head\n---\n{SERVICE}--- # next\n{list}\n---\napiVersion: apps/v1\nkind: Deployment\n\
             metadata: {{name: [odd]}}\nspec: {{ports: odd}}\n---\n"
        );
        assert_eq!(parse_yaml(&text).unwrap().len(), 2);
    }

    #[test]
    fn json_too() {
        let text = r#"{"apiVersion": "v1", "kind": "ServiceList", "items": [
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {}}]}"#;
        assert_eq!(
            read_manifest(Path::new("x.json"), text.as_bytes())
                .unwrap()
                .len(),
            1
        );
        assert_eq!(parse_yaml(text).unwrap().len(), 1, "JSON is YAML");
    }

    fn problem(text: &str) -> String {
        parse_yaml(text).unwrap_err()[0].to_string()
    }

    #[test]
    fn errors_name_file_document_field_and_value() {
        let bad_ip = format!(
            "{SERVICE}---\n{}",
            SERVICE.replace("10.0.0.1", "10.0.0.256")
        );
        assert_eq!(
            problem(&bad_ip),
            "x.yaml, document 2: spec.clusterIP: 10.0.0.256: not an IP address"
        );
        let bad_port = SERVICE.replace("80", "70000");
        assert_eq!(
            problem(&bad_port),
            "x.yaml, document 1: spec.ports[0].port: 70000: a port is 1 to 65535"
        );
        let bad_type = SERVICE.replace("80", "eighty");
        let text = problem(&bad_type);
        assert!(
            text.starts_with(
                "x.yaml, document 1: spec.ports[0].port: invalid type: string \"eighty\""
            ),
            "{text}"
        );
        assert!(problem("just: text\n").contains("it has no apiVersion and kind"));
        assert!(problem("just text\n").contains("document 1"));
        assert!(problem("a: [\n").contains("document 1"));
        let list = format!(
            "apiVersion: v1\nkind: List\nitems:\n- {}",
            bad_port.trim_end().replace('\n', "\n  ")
        );
        assert_eq!(
            problem(&list),
            "x.yaml, document 1: items[0] (Service default/web): spec.ports[0].port: 70000: a port is 1 to 65535"
        );
    }

    #[test]
    fn what_is_no_text_is_an_error_and_not_a_file_without_objects() {
        let utf16 = "\u{feff}# head\n".encode_utf16().flat_map(u16::to_le_bytes);
        let bad: [(&[u8], &str); 6] = [
            (
                &utf16.collect::<Vec<u8>>(),
                "x.yaml: it is UTF-16: save it as UTF-8",
            ),
            (
                b"#\0 \0a\0",
                "x.yaml: line 1 has a zero byte: it is no UTF-8 text",
            ),
            (
                b"# head\n# \xe9",
                "x.yaml: line 2 has bytes that are no UTF-8",
            ),
            (
                b"# head\rkind: Service\r",
                "x.yaml: line 1 ends in a carriage return alone: end lines in a line feed",
            ),
            (
                b"# head\r\n# more\r",
                "x.yaml: line 2 ends in a carriage return alone: end lines in a line feed",
            ),
            (b"\xfe\xff\0#", "x.yaml: it is UTF-16: save it as UTF-8"),
        ];
        for (bytes, problem) in bad {
            let errors = read_manifest(Path::new("x.yaml"), bytes).unwrap_err();
            assert_eq!(errors[0].to_string(), problem);
        }
        let windows = format!("\u{feff}{SERVICE}").replace('\n', "\r\n");
        assert_eq!(parse_yaml(&windows).unwrap().len(), 1);
    }

    #[test]
    fn every_bad_item_of_a_list_is_named() {
        let item = |name: &str, ip: &str| {
            format!(
                r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}", "namespace": "ns"}}, "spec": {{"clusterIP": "{ip}"}}}}"#
            )
        };
        let (a, b, c) = (item("a", "x"), item("b", "10.0.0.1"), item("c", "y"));
        let list =
            format!(r#"{{"apiVersion": "v1", "kind": "List", "items": [{a}, {b}, {c}, 7]}}"#);
        let errors = parse_yaml(&list).unwrap_err();
        let texts: Vec<&str> = errors.iter().map(|error| error.problem.as_str()).collect();
        assert_eq!(
            texts,
            [
                "items[0] (Service ns/a): spec.clusterIP: x: not an IP address",
                "items[2] (Service ns/c): spec.clusterIP: y: not an IP address",
                "items[3]: not a Kubernetes object: it has no apiVersion and kind",
            ]
        );
    }

    #[test]
    fn every_broken_document_is_named() {
        let bad = SERVICE.replace("10.0.0.1", "x");
        assert_eq!(
            parse_yaml(&format!("{bad}---\n{SERVICE}---\n{bad}"))
                .unwrap_err()
                .len(),
            2
        );
    }
}
