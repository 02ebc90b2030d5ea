use serde::Deserialize;

use super::change::Change;
use super::metadata::Metadata;
use super::node::Node;
use super::raw::{RawEndpoint, RawSlicePort, Spec, Status};
use super::service::Service;
use super::slice::EndpointSlice;
use crate::error::InputError;

/// A kind of objects that decides what a node programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io` EndpointSlice.
    EndpointSlice,
    /// `v1` Node.
    Node,
}

impl ObjectKind {
    /// As objects of it say in `kind`.
    ///
    /// ```
    /// assert_eq!(ipvs_model::input::ObjectKind::EndpointSlice.name(), "EndpointSlice");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Node => "Node",
        }
    }

    fn of(api_version: &str, kind: &str) -> Option<Self> {
        match kind {
            "Service" if api_version == "v1" => Some(Self::Service),
            "Node" if api_version == "v1" => Some(Self::Node),
            "EndpointSlice" if api_version.starts_with("discovery.k8s.io/") => {
                Some(Self::EndpointSlice)
            }
            _ => None,
        }
    }
}

/// An object as it is written: a Service, EndpointSlice, Node, a List of them, or anything else (which is ignored).
///
/// ```
/// use ipvs_model::input::{Change, Manifest};
///
/// let manifest: Manifest = serde_json::from_str(r#"{
///     "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
///     "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}
/// }"#).unwrap();
/// assert!(matches!(manifest.into_changes().unwrap()[..], [Change::Service(_)]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Manifest {
    api_version: Option<String>,
    kind: Option<String>,
    metadata: Metadata,
    spec: Option<Spec>,
    status: Option<Status>,
    address_type: Option<String>,
    ports: Option<Vec<RawSlicePort>>,
    endpoints: Option<Vec<RawEndpoint>>,
    items: Option<Vec<Self>>,
}

impl Manifest {
    /// Whether objects of this kind decide what a node programs, or may hold such objects.
    #[must_use]
    pub fn is_relevant(api_version: &str, kind: &str) -> bool {
        ObjectKind::of(api_version, kind).is_some() || kind.ends_with("List")
    }

    /// What it says it is. The items of a list by the API say nothing.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// Its metadata.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The type of the addresses of an EndpointSlice (`addressType`).
    #[must_use]
    pub fn address_type(&self) -> Option<&str> {
        self.address_type.as_deref()
    }

    /// The changes that bring the object, or a list's objects, into the model.
    ///
    /// # Errors
    /// [`InputError`] when the document is no Kubernetes object or holds an impossible value.
    pub fn into_changes(self) -> Result<Vec<Change>, InputError> {
        let mut changes = Vec::new();
        self.push_changes(&mut changes)?;
        Ok(changes)
    }

    /// The change that brings an object of a known kind into the model. The items of a list by the API do not say theirs.
    ///
    /// # Errors
    /// [`InputError`] when it holds an impossible value.
    ///
    /// ```
    /// use ipvs_model::input::{Change, Manifest, ObjectKind};
    ///
    /// let item: Manifest = serde_json::from_str(r#"{"metadata": {"name": "node-0"}}"#).unwrap();
    /// assert!(matches!(item.into_change(ObjectKind::Node), Ok(Change::Node(_))));
    /// ```
    pub fn into_change(self, kind: ObjectKind) -> Result<Change, InputError> {
        let (spec, status) = (
            self.spec.unwrap_or_default(),
            self.status.unwrap_or_default(),
        );
        match kind {
            ObjectKind::Service => {
                Service::from_manifest(&self.metadata, &spec, &status).map(Change::Service)
            }
            ObjectKind::EndpointSlice => EndpointSlice::from_manifest(
                &self.metadata,
                self.address_type.as_deref(),
                self.ports.unwrap_or_default(),
                self.endpoints.unwrap_or_default(),
            )
            .map(Change::EndpointSlice),
            ObjectKind::Node => {
                Node::from_manifest(&self.metadata, &spec, status).map(Change::Node)
            }
        }
    }

    fn push_changes(self, changes: &mut Vec<Change>) -> Result<(), InputError> {
        let required = "a Kubernetes object has apiVersion and kind";
        let missing = |field| InputError::new(field, "(missing)", required);
        let api_version = self
            .api_version
            .as_deref()
            .ok_or_else(|| missing("apiVersion"))?;
        let kind = self.kind.as_deref().ok_or_else(|| missing("kind"))?;
        if let Some(kind) = ObjectKind::of(api_version, kind) {
            changes.push(self.into_change(kind)?);
        } else if kind.ends_with("List") {
            for (index, item) in self.items.unwrap_or_default().into_iter().enumerate() {
                let within = |error: InputError| InputError {
                    field: format!("items[{index}].{}", error.field),
                    ..error
                };
                item.push_changes(changes).map_err(within)?;
            }
        }
        Ok(())
    }
}
