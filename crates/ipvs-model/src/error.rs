use std::fmt::Display;

use crate::escaped::Escaped;

/// A Kubernetes object with a value that is impossible.
///
/// Displays as `spec.ports[0].port: 70000: a port is 1 to 65535`; what a value hides is [`Escaped`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}: {}: {reason}", Escaped(field), Escaped(value))]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::ObjectName;

    #[test]
    fn a_value_cannot_end_its_line() {
        let error = InputError::new("spec\u{202e}", "x\n2026 ERROR gone", "no");
        assert_eq!(error.to_string(), r"spec\u{202e}: x\n2026 ERROR gone: no");
        let name = ObjectName::new("shop\r", "web\n");
        assert_eq!(name.to_string(), r"shop\r/web\n");
    }
}
