use std::fmt::Display;

/// A Kubernetes object with a value that is impossible.
///
/// Displays as `spec.ports[0].port: 70000: a port is 1 to 65535`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{field}: {value}: {reason}")]
pub struct InputError {
    /// Path of the field in the object.
    pub field: String,
    /// The impossible value, as it was written.
    pub value: String,
    /// What would be possible.
    pub reason: &'static str,
}

impl InputError {
    pub(crate) fn new(field: impl Display, value: impl ToString, reason: &'static str) -> Self {
        Self {
            field: field.to_string(),
            value: value.to_string(),
            reason,
        }
    }
}
