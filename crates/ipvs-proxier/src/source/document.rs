//! One manifest file: documents, and what is wrong with them.

use std::fmt;
use std::path::{Path, PathBuf};

use ipvs_model::InputError;
use ipvs_model::input::{Change, Manifest};
use serde::Deserialize;

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

/// Reads all objects of a file; JSON files may hold several values, YAML files several documents.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Change>, Vec<ManifestError>> {
    let mut changes = Vec::new();
    let mut errors = Vec::new();
    let mut take = |index: usize, parsed: Result<Vec<Change>, String>| match parsed {
        Ok(mut parsed) => changes.append(&mut parsed),
        Err(problem) => {
            errors.push(ManifestError {
                path: path.to_owned(),
                document: Some(index.saturating_add(1)),
                problem,
            });
        }
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
                    .map_err(|error| error.to_string())
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

fn from_yaml(document: &str) -> Result<Vec<Change>, String> {
    // Straight to the types; what they refuse is looked at again as a tree, which tells whose field it is.
    match read_yaml::<Manifest>(document) {
        Ok(manifest) => manifest
            .into_changes()
            .map_err(|error: InputError| error.to_string()),
        Err(_) => from_value(read_yaml(document)?),
    }
}

fn read_yaml<T: for<'de> Deserialize<'de>>(document: &str) -> Result<T, String> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            // A list of 100,000 services is legitimate; depth and aliases stay limited.
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
        },
    };
    serde_saphyr::from_str_with_options(document, options).map_err(|error| error.to_string())
}

/// Objects of kinds that do not concern us may hold anything; those that do are read with the path of what is wrong.
fn from_value(value: serde_json::Value) -> Result<Vec<Change>, String> {
    let text = |field: &str| {
        value
            .get(field)
            .and_then(serde_json::Value::as_str)
            .map(str::to_owned)
    };
    let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
        return Err("not a Kubernetes object: it has no apiVersion and kind".to_owned());
    };
    if !Manifest::is_relevant(&api_version, &kind) {
        return Ok(Vec::new());
    }
    if let serde_json::Value::Object(mut object) = value {
        if kind.ends_with("List") && object.contains_key("items") {
            let Some(serde_json::Value::Array(items)) = object.remove("items") else {
                return Err("items: not a list".to_owned());
            };
            let item = |(index, item)| {
                from_value(item).map_err(|problem| format!("items[{index}].{problem}"))
            };
            let parsed: Result<Vec<_>, _> = items.into_iter().enumerate().map(item).collect();
            return Ok(parsed?.into_iter().flatten().collect());
        }
        let manifest: Manifest =
            serde_path_to_error::deserialize(serde_json::Value::Object(object))
                .map_err(|error| format!("{}: {}", error.path(), error.inner()))?;
        return manifest.into_changes().map_err(|error| error.to_string());
    }
    Err("not a Kubernetes object".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_yaml(text: &str) -> Result<Vec<Change>, Vec<ManifestError>> {
        parse(Path::new("x.yaml"), text)
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
        assert_eq!(parse(Path::new("x.json"), text).unwrap().len(), 1);
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
        assert!(problem("just: text\n").contains("apiVersion: (missing)"));
        assert!(problem("just text\n").contains("document 1"));
        assert!(problem("a: [\n").contains("document 1"));
        let list = format!(
            "apiVersion: v1\nkind: List\nitems:\n- {}",
            bad_port.trim_end().replace('\n', "\n  ")
        );
        assert!(
            problem(&list).contains("items[0].spec.ports[0].port: 70000"),
            "{}",
            problem(&list)
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
