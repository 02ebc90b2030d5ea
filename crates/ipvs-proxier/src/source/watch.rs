//! Lists and watches: what the client's thread does.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use kube::client::ClientBuilder;
use kube::core::Status;
use kube::runtime::utils::Backoff as _;
use kube::runtime::watcher::{self, DefaultBackoff, Event, watcher};
use kube::{Api, Client, Config};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;
use tower::buffer::error::{Closed, ServiceError};
use tower::util::MapResponseLayer;
use tracing::{info, warn};

use super::access::with_causes;
use super::events::publish;
use super::objects::{Object, Objects, Watched};
use super::polled::Notice;
use super::reporter::Reporter;

const NOT_OURS: &str = "!service.kubernetes.io/service-proxy-name";
const NOT_HEADLESS: &str = "!service.kubernetes.io/headless";

/// Objects that are listed at once. With twice as many, as is usual, the text of a page and what is read of it make the
/// allocator ask for memory, and give it back, page after page.
const PAGE: u32 = 250;

/// Which Nodes are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nodes {
    /// The one of this name: this node's.
    Only(String),
    /// All: for weights by node, and where the addresses of other nodes are protected.
    All,
}

/// A client that notes whether the server answers.
pub(super) fn client(config: Config, reporter: &Reporter) -> kube::Result<Client> {
    let builder = ClientBuilder::try_from(config)?;
    Ok(builder.with_layer(&answers(reporter)).build())
}

/// Lists and watches for ever. Says why it has ended all the same: with one kind of objects less, nothing is right.
pub(super) async fn watch(
    client: Client,
    nodes: Nodes,
    reporter: Reporter,
    notices: UnboundedReceiver<Notice>,
) -> String {
    // In pages, and of the newest version: one from a cache could lead back in time, and take away what lives.
    let newest = || watcher::Config::default().page_size(PAGE);
    let own = match nodes {
        Nodes::Only(name) => newest().fields(&format!("metadata.name={name}")),
        Nodes::All => newest(),
    };
    let services = newest().labels(NOT_OURS);
    let not_headless = services.clone().fields("spec.clusterIP!=None");
    let slices = newest().labels(NOT_HEADLESS);
    let nobody = async {
        publish(&client, notices).await;
        "nobody follows it any more".to_owned()
    };
    first([
        Box::pin(follow::<core::Service>(
            &client,
            not_headless,
            Some(services),
            &reporter,
        )),
        Box::pin(follow::<discovery::EndpointSlice>(
            &client, slices, None, &reporter,
        )),
        Box::pin(follow::<core::Node>(&client, own, None, &reporter)),
        Box::pin(nobody),
    ])
    .await
}

/// The result of the one that ends first.
async fn first(mut all: [Pin<Box<dyn Future<Output = String> + '_>>; 4]) -> String {
    poll_fn(|context| {
        let mut polled = all.iter_mut().map(|one| one.as_mut().poll(context));
        polled.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

/// Sees every answer of the server. A watch that goes on after an interruption says nothing before the next event.
fn answers<T>(
    reporter: &Reporter,
) -> MapResponseLayer<impl Fn(T) -> T + Clone + Send + Sync + 'static> {
    let connected = Arc::clone(&reporter.connected);
    MapResponseLayer::new(move |response| {
        if !connected.swap(true, Ordering::Relaxed) {
            info!("the Kubernetes API answers");
        }
        response
    })
}

/// Follows the objects that are selected, or more where the server is too old to select them. Says why it cannot go on.
async fn follow<K: Watched>(
    client: &Client,
    selected: watcher::Config,
    mut more: Option<watcher::Config>,
    reporter: &Reporter,
) -> String {
    let begin = |config| Box::pin(watcher(Api::<Object<K>>::all(client.clone()), config));
    let mut stream = begin(selected);
    let mut objects = Objects::default();
    let mut patience = Patience::default();
    let mut last = None;
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => {
                if patience.heard(&event) {
                    last = None;
                }
                objects.take(event, reporter);
            }
            Err(error) => {
                let trouble = Trouble::of(&error);
                if is_worker_gone(&error) {
                    return trouble.words;
                }
                if trouble.code == Some(400)
                    && let Some(config) = more.take()
                {
                    info!("{}s: {}; asking for more of them", K::NAME, trouble.words);
                    stream = begin(config);
                    continue;
                }
                if !trouble.is_answer {
                    reporter.connected.store(false, Ordering::Relaxed);
                }
                // Said once, not each time that it is tried again.
                if last.as_ref() != Some(&trouble) {
                    trouble.tell(K::NAME);
                }
                sleep(patience.wait(&trouble)).await;
                last = Some(trouble);
            }
        }
    }
    format!("the watch of {}s is over", K::NAME)
}

/// Whether the task through which the client sends its requests is gone: every request to come will fail.
fn is_worker_gone(error: &watcher::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<Closed>() || error.is::<ServiceError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Waits longer after each failure, by chance some more than others. Less long than other clients of Kubernetes: traffic
/// depends on it.
#[derive(Default)]
struct Patience {
    waits: DefaultBackoff,
    /// Whether the server did not answer last.
    is_away: bool,
}

const LONGEST: Duration = Duration::from_secs(10);

impl Patience {
    /// Whether the server is well. That a list begins does not show it: the watcher says so before it asks, and a server
    /// that refuses it would be asked every second by every node.
    fn heard<K>(&mut self, event: &Event<K>) -> bool {
        let is_well = !matches!(event, Event::Init);
        if is_well {
            self.waits.reset();
        }
        is_well
    }

    fn wait(&mut self, trouble: &Trouble) -> Duration {
        // One that has just started knows nobody yet, but will in a moment.
        let starts = self.is_away && matches!(trouble.code, Some(401 | 403));
        if trouble.is_usual() || starts {
            self.waits.reset();
        }
        self.is_away = !trouble.is_answer;
        self.waits.next().map_or(LONGEST, |wait| wait.min(LONGEST))
    }
}

/// Why a list or a watch has ended.
#[derive(Debug, PartialEq, Eq)]
struct Trouble {
    words: String,
    /// Whether the server itself said so.
    is_answer: bool,
    code: Option<u16>,
}

impl Trouble {
    fn of(error: &watcher::Error) -> Self {
        use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
        let (doing, cause) = match error {
            WatchError(status) => return Self::answered("watch", status),
            InitialListFailed(cause) => ("list", cause),
            WatchStartFailed(cause) | WatchFailed(cause) => ("watch", cause),
            other => {
                return Self {
                    words: other.to_string(),
                    is_answer: true,
                    code: None,
                };
            }
        };
        if let kube::Error::Api(status) = cause {
            return Self::answered(doing, status);
        }
        Self {
            words: format!("{doing}: {}", with_causes(cause)),
            is_answer: false,
            code: None,
        }
    }

    fn answered(doing: &str, status: &Status) -> Self {
        let Status {
            message,
            reason,
            code,
            ..
        } = status;
        let remedy = match code {
            401 => ": are the credentials of the kubeconfig, or the token of the pod, still good?",
            403 => ": bind the account to a ClusterRole that allows it",
            404 => ": is the server older than Kubernetes 1.21?",
            _ => "",
        };
        Self {
            words: format!("{doing}: {message} ({code} {reason}){remedy}"),
            is_answer: true,
            code: Some(*code),
        }
    }

    /// Whether it belongs to the life of a watch: the server no longer knows the version that it had come to.
    fn is_usual(&self) -> bool {
        self.code == Some(410)
    }

    fn tell(&self, kind: &str) {
        if self.is_usual() {
            info!("{kind}s: {}; listing them anew", self.words);
        } else {
            warn!("{kind}s: {}; trying again", self.words);
        }
    }
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt as _;
    use tower::buffer::Buffer;

    use super::*;

    #[test]
    fn a_server_that_refuses_is_asked_less_and_less_often() {
        let refused = Trouble::of(&watcher::Error::NoResourceVersion);
        let mut patience = Patience::default();
        let mut waits = (0..6).map(|_| {
            // Before each try.
            patience.heard(&Event::<()>::Init);
            patience.wait(&refused).as_secs_f64()
        });
        for least in [0.8, 1.6, 3.2, 6.4, 10.0, 10.0] {
            let wait = waits.next().unwrap();
            assert!((least..=10.0).contains(&wait), "{wait} s, not {least}");
        }
        patience.heard(&Event::<()>::InitDone);
        assert!(patience.wait(&refused).as_secs_f64() < 1.7, "it lists");
        let trouble = |is_answer, code| Trouble {
            words: String::new(),
            is_answer,
            code,
        };
        for _ in 0..5 {
            patience.wait(&trouble(false, None));
        }
        let forbidden = trouble(true, Some(403));
        assert!(patience.wait(&forbidden).as_secs_f64() < 1.7, "it starts");
        assert!(patience.wait(&forbidden).as_secs_f64() > 1.5, "still 403");
        patience.wait(&refused);
        let expired = Trouble {
            code: Some(410),
            ..refused
        };
        assert!(patience.wait(&expired).as_secs_f64() < 1.7, "it is well");
    }

    /// It is as good as dead, and would be asked for ever.
    #[test]
    fn a_client_without_its_worker_is_over() {
        let service = tower::service_fn(|(): ()| async { Ok::<(), tower::BoxError>(()) });
        let (mut buffer, worker) = Buffer::pair(service, 1);
        drop(worker);
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let asked = runtime.unwrap().block_on(async {
            let ready = buffer.ready().await;
            ready.map(|_| ())
        });
        let error = kube::Error::Service(asked.unwrap_err());
        assert!(is_worker_gone(&watcher::Error::WatchFailed(error)));
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = kube::Error::Service(refused.into());
        assert!(!is_worker_gone(&watcher::Error::WatchFailed(error)));
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_server_with_what_helps() {
        let refused = |code, reason: &str, message: &str| {
            let status = Status::failure(message, reason).with_code(code);
            Trouble::of(&watcher::Error::WatchStartFailed(kube::Error::Api(
                status.boxed(),
            )))
        };
        let forbidden = refused(403, "Forbidden", "services is forbidden");
        let words = "watch: services is forbidden (403 Forbidden): bind the account to a ClusterRole that allows it";
        assert_eq!(
            (forbidden.words.as_str(), forbidden.is_answer),
            (words, true)
        );
        assert!(refused(410, "Expired", "too old resource version").is_usual());
    }
}
