use std::collections::BTreeMap;

use serde::Deserialize;

use super::name::ObjectName;
use crate::error::InputError;

/// `metadata` of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Metadata {
    /// The name.
    pub name: Option<String>,
    /// The namespace.
    pub namespace: Option<String>,
    /// Annotations.
    pub annotations: Option<BTreeMap<String, String>>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// RFC 3339 time of its deletion, once that was asked for.
    pub deletion_timestamp: Option<String>,
    /// RFC 3339 time of the object's creation.
    pub creation_timestamp: Option<String>,
    /// The version of the object, by which a watch goes on.
    pub resource_version: Option<String>,
}

impl Metadata {
    pub(crate) fn object_name(&self) -> Result<ObjectName, InputError> {
        match self.name.as_deref() {
            None | Some("") => Err(InputError::new(
                "metadata.name",
                "\"\"",
                "an object needs a name",
            )),
            Some(name) => Ok(ObjectName::new(
                self.namespace.as_deref().unwrap_or("default"),
                name,
            )),
        }
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref()?.get(key).map(String::as_str)
    }
}
