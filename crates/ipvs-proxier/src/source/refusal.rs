//! What the API server says when it refuses: a `Status`.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// A request, or a watch, that the server refuses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Refusal {
    /// The HTTP status code.
    pub code: u16,
    /// The reason, as `Expired`.
    pub reason: String,
    /// In the words of the server.
    pub message: String,
    /// Before which time the server does not want to be asked again.
    pub retry_after: Option<Duration>,
}

#[derive(Deserialize)]
struct Status {
    kind: String,
    #[serde(default)]
    code: u16,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(rename = "retryAfterSeconds")]
    retry_after: Option<u32>,
}

impl Refusal {
    /// The text is a `Status`, or none.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let status: Status = serde_json::from_slice(text).ok()?;
        if status.kind != "Status" {
            return None;
        }
        let details = status.details.as_ref();
        let seconds = details.and_then(|details| details.retry_after);
        Some(Self {
            code: status.code,
            reason: status.reason,
            message: status.message,
            retry_after: seconds.map(|seconds| Duration::from_secs(seconds.into())),
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            reason,
            message,
            ..
        } = self;
        write!(f, "{message} ({code} {reason})")?;
        f.write_str(match code {
            401 => ": are these credentials still good?",
            403 => ": bind the account to a ClusterRole that allows it",
            404 => ": is the server older than Kubernetes 1.21?",
            _ => "",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_server_with_what_helps() {
        let text = br#"{"kind": "Status", "metadata": {}, "status": "Failure", "code": 403, "reason": "Forbidden",
            "message": "services is forbidden", "details": {"kind": "services"}}"#;
        assert_eq!(
            Refusal::read(text).unwrap().to_string(),
            "services is forbidden (403 Forbidden): bind the account to a ClusterRole that allows it"
        );
        assert_eq!(Refusal::read(br#"{"kind": "Service"}"#), None);
        assert_eq!(Refusal::read(b"<html>"), None);
    }

    #[test]
    fn a_server_says_when_to_ask_again() {
        let text = br#"{"kind": "Status", "code": 504, "reason": "Timeout", "message": "Too large resource version: 9, current: 7",
            "details": {"causes": [{"reason": "ResourceVersionTooLarge"}], "retryAfterSeconds": 1}}"#;
        let refusal = Refusal::read(text).unwrap();
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(1)));
    }
}
