//! One request to the Kubernetes API, and its answer. Both have an end.

use std::error::Error;
use std::time::Duration;

use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::{Response, StatusCode};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::access::with_causes;
use super::api_object::start_of;
use super::list_reader::ListError;
use super::refusal::Refusal;

/// How long the beginning of an answer may take, and then each part of a list. A server that has much to do says so itself
/// (429); one that is gone is noticed earlier, by its connection.
pub(super) const ANSWER: Duration = Duration::from_secs(30);
/// How long one page of a list may take in all.
const WHOLE: Duration = Duration::from_secs(300);
/// So much is read of an answer that refuses, or that nobody needs, and for so long.
const SHORT: (usize, Duration) = (64 << 10, Duration::from_secs(10));

/// Something that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// With its query.
    pub(super) path: String,
    /// What is to be created, if anything.
    pub(super) body: Option<Bytes>,
}

/// Where requests go.
pub(super) trait Api {
    /// Sends a request. There is an answer, or none, after [`ANSWER`]; one that refuses is an error.
    async fn send(&self, call: Call) -> Result<Answer, ApiError>;

    /// Tells when the credentials may be other ones, also to who begins to wait afterwards.
    fn credentials(&self) -> watch::Receiver<()>;

    /// Tells when requests go to another server from now on, also to who begins to wait afterwards. Versions of one mean nothing
    /// to the other.
    fn moves(&self) -> watch::Receiver<()>;

    /// Who was asked when there was this error: the server, and the files of the credentials where they are at fault.
    fn about(&self, error: &ApiError) -> String;
}

/// Why a request has failed, or a watch has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    #[error("{0}")]
    Refused(Refusal),
    /// The connection cannot be made, or broke.
    #[error("{0}")]
    Io(String),
    /// One side does not trust the other, or it is no TLS.
    #[error("{0}")]
    Tls(String),
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// An answer of another kind, or one that cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// The credentials cannot be read.
    #[error("{0}")]
    Access(String),
    #[error("the server ended it at once")]
    Short,
}

impl From<ListError> for ApiError {
    fn from(error: ListError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl ApiError {
    /// Whether the server itself said so.
    pub(super) const fn is_answer(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Unreadable(_) | Self::Short)
    }

    pub(super) const fn code(&self) -> Option<u16> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }

    /// Whether the server refuses who asks, or that so much is asked, whatever it is.
    pub(super) fn is_of_asker(&self) -> bool {
        self.code()
            .is_some_and(|code| matches!(code, 401 | 403 | 429))
    }

    /// Whether it belongs to the life of a watch: the server no longer knows the version that it had come to.
    pub(super) fn is_expired(&self) -> bool {
        self.code() == Some(410)
    }
}

/// At the end of time it is now.
pub(super) fn in_future(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

pub(super) type Body = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// The rest of an answer that does not refuse.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    whole: Instant,
}

impl Answer {
    /// An answer whose beginning is there.
    pub(super) async fn of(response: Response<Body>) -> Result<Self, ApiError> {
        let (head, body) = response.into_parts();
        let mut answer = Self {
            body,
            whole: in_future(WHOLE),
        };
        let header = |name| head.headers.get(name)?.to_str().ok();
        if !head.status.is_success() {
            let text = answer.start().await;
            let mut refusal = Refusal::read(&text).unwrap_or_else(|| no_status(head.status, &text));
            refusal.code = head.status.as_u16();
            let seconds = header(RETRY_AFTER).and_then(|text| text.parse().ok());
            refusal.retry_after = seconds.map(Duration::from_secs).or(refusal.retry_after);
            return Err(ApiError::Refused(refusal));
        }
        match header(CONTENT_TYPE) {
            Some(other) if !other.starts_with("application/json") => {
                let text = answer.start().await;
                let start = start_of(&String::from_utf8_lossy(&text));
                let other = start_of(other);
                let problem =
                    format!("the answer is of type {other}, not application/json: {start}");
                Err(ApiError::Unreadable(problem))
            }
            _ => Ok(answer),
        }
    }

    /// Its next bytes; none at its end. For what has an end of its own.
    pub(super) async fn next_in_time(&mut self) -> Result<Option<Bytes>, ApiError> {
        let until = self.whole.min(in_future(ANSWER));
        match timeout_at(until, self.next()).await {
            Ok(next) => next,
            Err(_) if until == self.whole => Err(ApiError::Silent(WHOLE)),
            Err(_) => Err(ApiError::Silent(ANSWER)),
        }
    }

    /// Its next bytes; none at its end. For a watch, which may be silent.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| ApiError::Io(with_causes(&*error)))?;
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
    }

    /// Lets it come to its end, so that the connection serves again. One that is long is broken off.
    pub(super) async fn finish(mut self) {
        self.start().await;
    }

    /// As much as tells what it is.
    async fn start(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        let reading = async {
            while let Ok(Some(bytes)) = self.next().await {
                text.extend_from_slice(&bytes);
                if text.len() > SHORT.0 {
                    break;
                }
            }
        };
        // Use what has arrived.
        let _ = timeout(SHORT.1, reading).await;
        text.truncate(SHORT.0);
        text
    }
}

fn no_status(status: StatusCode, text: &[u8]) -> Refusal {
    let text = start_of(&String::from_utf8_lossy(text));
    Refusal {
        code: status.as_u16(),
        reason: status.canonical_reason().unwrap_or("unknown").to_owned(),
        message: if text.is_empty() {
            "refused".to_owned()
        } else {
            text
        },
        ..Refusal::default()
    }
}

/// With nothing but a code.
#[cfg(test)]
pub(super) fn refused(code: u16) -> ApiError {
    ApiError::Refused(Refusal {
        code,
        ..Refusal::default()
    })
}
