//! Notices as Events of the cluster.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc::UnboundedReceiver;
use tracing::debug;

use super::polled::{About, Notice};

/// Sends each notice as it comes. One that the server does not take is gone: it is in the log of who told it.
pub(super) async fn publish(client: &Client, mut notices: UnboundedReceiver<Notice>) {
    let reporter = Reporter {
        controller: "kube-proxy".to_owned(),
        instance: None,
    };
    let recorder = Recorder::new(client.clone(), reporter);
    while let Some(notice) = notices.recv().await {
        let event = Event {
            type_: if notice.is_warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: notice.reason.to_owned(),
            note: Some(notice.note).filter(|note| !note.is_empty()),
            action: notice.action.to_owned(),
            secondary: None,
        };
        let about = reference(notice.about);
        if let Err(error) = recorder.publish(&event, &about).await {
            debug!("event {}: {error}", event.reason);
        }
    }
}

fn reference(about: About) -> ObjectReference {
    match about {
        // kube-proxy takes the name for the UID of its node, and so do those who look for its events.
        About::Node(name) => ObjectReference {
            kind: Some("Node".to_owned()),
            uid: Some(name.clone()),
            name: Some(name),
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
