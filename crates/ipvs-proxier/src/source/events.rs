//! Notices as Events of the cluster.

use std::time::Duration;

use hyper::body::Bytes;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::api::{Api, ApiError, Call};
use super::back_off::BackOff;
use super::polled::{About, Notice};

/// How often one event is tried, as client-go does.
const TRIES: u32 = 12;
/// The same is not published again for so long.
const ONCE_IN: Duration = Duration::from_secs(360);
/// So many are remembered for that.
const REMEMBERED: usize = 256;
/// As kube-proxy: who looks for its events finds ours.
const CONTROLLER: &str = "kube-proxy";
/// The longest note that the API takes, in bytes.
const NOTE: usize = 1024;

/// Sends each notice as it comes. One that the server does not take is gone: it is in the log of who told it.
pub(super) async fn publish(api: &impl Api, mut notices: Receiver<Notice>) {
    let mut published: Vec<(Notice, Instant)> = Vec::new();
    while let Some(notice) = notices.recv().await {
        published.retain(|(_, at)| at.elapsed() < ONCE_IN);
        if published.iter().any(|(other, _)| *other == notice) {
            continue;
        }
        if let Err(error) = send(api, &notice).await {
            let (reason, about) = (notice.reason, api.about(&error));
            warn!("event {reason}: {about}: {error}; it is dropped");
        }
        published.truncate(REMEMBERED.saturating_sub(1));
        published.insert(0, (notice, Instant::now()));
    }
}

/// Tries again where that may help.
async fn send(api: &impl Api, notice: &Notice) -> Result<(), ApiError> {
    let mut back_off = BackOff::default();
    let call = call(notice, Timestamp::now())?;
    let mut tries: u32 = 1;
    loop {
        let error = match api.send(call.clone()).await {
            Ok(answer) => {
                answer.finish().await;
                return Ok(());
            }
            // It came, but the answer got lost.
            Err(error) if tries > 1 && error.code() == Some(409) => return Ok(()),
            Err(error) => error,
        };
        let may_pass = match &error {
            ApiError::Refused(refusal) => matches!(refusal.code, 401 | 429 | 500..),
            _ => true,
        };
        if !may_pass || tries >= TRIES {
            return Err(error);
        }
        tries = tries.saturating_add(1);
        sleep(back_off.wait(&error, fastrand::f64())).await;
    }
}

fn call(notice: &Notice, now: Timestamp) -> Result<Call, ApiError> {
    let about = reference(&notice.about);
    let namespace = about.namespace.clone();
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    let name = about.name.as_deref().unwrap_or(CONTROLLER);
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let event = Event {
        metadata: ObjectMeta {
            // Unique, as client-go makes them: the API has no other use for it.
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(format!("{CONTROLLER}-{host}")),
        type_: Some(
            if notice.is_warning {
                "Warning"
            } else {
                "Normal"
            }
            .to_owned(),
        ),
        reason: Some(notice.reason.to_owned()),
        action: Some(notice.action.to_owned()),
        note: Some(shortened(&notice.note)).filter(|note| !note.is_empty()),
        regarding: Some(about),
        ..Event::default()
    };
    let body = serde_json::to_vec(&event);
    let body = body.map_err(|error| ApiError::Unreadable(error.to_string()))?;
    Ok(Call {
        path: format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events"),
        body: Some(Bytes::from(body)),
    })
}

fn shortened(note: &str) -> String {
    let mut end = note.len().min(NOTE);
    while !note.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    note.get(..end).unwrap_or_default().to_owned()
}

fn reference(about: &About) -> ObjectReference {
    match about {
        // kube-proxy takes the name for the UID of its node, and so do those who look for its events.
        About::Node(name) => ObjectReference {
            kind: Some("Node".to_owned()),
            uid: Some(name.clone()),
            name: Some(name.clone()),
            ..ObjectReference::default()
        },
        About::Service(name) => ObjectReference {
            kind: Some("Service".to_owned()),
            api_version: Some("v1".to_owned()),
            namespace: Some(name.namespace.as_ref().to_owned()),
            name: Some(name.name.as_ref().to_owned()),
            ..ObjectReference::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::stream::unfold;
    use http_body_util::{BodyExt as _, StreamBody};
    use hyper::Response;
    use hyper::body::Frame;
    use tokio::sync::watch;

    use super::super::api::Answer;
    use super::*;

    /// A server whose answers have no end.
    struct Endless {
        /// Between two parts of 1 KiB.
        pause: Duration,
        sent: Arc<AtomicUsize>,
    }

    impl Api for Endless {
        async fn send(&self, _: Call) -> Result<Answer, ApiError> {
            let (pause, sent) = (self.pause, Arc::clone(&self.sent));
            let body = unfold(sent, move |sent| async move {
                sleep(pause).await;
                sent.fetch_add(1, Ordering::Relaxed);
                Some((Ok(Frame::data(Bytes::from(vec![b' '; 1024]))), sent))
            });
            Answer::of(Response::new(StreamBody::new(body).boxed_unsync())).await
        }

        fn credentials(&self) -> watch::Receiver<()> {
            watch::channel(()).1
        }

        fn moves(&self) -> watch::Receiver<()> {
            watch::channel(()).1
        }

        fn about(&self, _: &ApiError) -> String {
            String::new()
        }
    }

    #[test]
    fn an_answer_to_an_event_without_an_end_is_broken_off() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        for (pause, seconds) in [(0, 0), (5, 10)] {
            let server = Endless {
                pause: Duration::from_secs(pause),
                sent: Arc::default(),
            };
            let notice = Notice {
                about: About::Node("n1".to_owned()),
                is_warning: false,
                reason: "Test",
                action: "Test",
                note: String::new(),
            };
            let took = runtime.block_on(async {
                let begin = Instant::now();
                send(&server, &notice).await.unwrap();
                begin.elapsed()
            });
            assert_eq!(took.as_secs(), seconds);
            assert!(server.sent.load(Ordering::Relaxed) <= 65);
        }
    }
}
