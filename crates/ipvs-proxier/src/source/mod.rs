//! Where changes come from.

mod document;
mod manifests;

pub use document::ManifestError;
pub use manifests::Manifests;
