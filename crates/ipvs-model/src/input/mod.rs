//! The Kubernetes objects that decide what a node programs, as small validated types.
//!
//! [`Manifest`] is the form in which they are written (YAML or JSON, by any serde format); unknown fields are ignored,
//! impossible values are errors that name field and value.

mod change;
#[cfg(feature = "k8s")]
mod k8s;
mod manifest;
mod metadata;
mod name;
mod node;
mod parse;
mod raw;
mod service;
mod slice;
mod tuning;

pub use change::Change;
pub use manifest::{Manifest, ObjectKind};
pub use metadata::Metadata;
pub use name::ObjectName;
pub use node::Node;
pub use parse::parse_ip;
pub use service::{Service, ServicePort};
pub use slice::{Endpoint, EndpointSlice, SlicePort};
pub use tuning::Tuning;
