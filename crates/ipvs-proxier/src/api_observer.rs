use std::fmt::Debug;
use std::time::Duration;

/// A request to the Kubernetes API that is over, as far as the head of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiRequest<'a> {
    /// As `GET`.
    pub method: &'a str,
    /// Of the server, with its port.
    pub host: &'a str,
    /// The status of the answer; `None` where there was none.
    pub code: Option<u16>,
    /// From the request to the head of the answer.
    pub took: Duration,
}

/// Learns of every request to the Kubernetes API, on the thread of the client. `Metrics` counts them; `()` does nothing.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use ipvs_proxier::{ApiObserver, ApiRequest};
///
/// #[derive(Debug, Default)]
/// struct Unanswered(AtomicUsize);
///
/// impl ApiObserver for Unanswered {
///     fn requested(&self, request: &ApiRequest<'_>) {
///         self.0.fetch_add(usize::from(request.code.is_none()), Ordering::Relaxed);
///     }
/// }
/// ```
pub trait ApiObserver: Debug + Send + Sync {
    /// A request is over. It must not take long.
    fn requested(&self, request: &ApiRequest<'_>);
}

impl ApiObserver for () {
    fn requested(&self, _: &ApiRequest<'_>) {}
}
