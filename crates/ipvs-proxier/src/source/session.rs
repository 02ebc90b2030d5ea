//! Requests to the API server with credentials that may change while they are used.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Uri};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use tracing::{info, warn};

use super::access::{Access, ClusterError, with_causes, without_user};
use super::api::{ANSWER, Answer, Api, ApiError, Call};
use super::credential_files::CredentialFiles;
use super::credential_reader::CredentialReader;
use super::link::Link;
use super::origin::Origin;
use super::plugin_run::PluginRun;
use super::reporter::{Reporter, Said};
use crate::api_observer::{ApiObserver, ApiRequest};

/// Other requests wait so long for the first one of a connection. If it has no answer by then, they need not share its fate.
const FIRST: Duration = Duration::from_secs(2);

/// Sends requests, and keeps what they are sent with.
pub(super) struct Session {
    access: Access,
    observer: Arc<dyn ApiObserver>,
    reporter: Reporter,
    agent: HeaderValue,
    held: Mutex<Held>,
    /// Changes whenever files that belong to the credentials may have changed.
    changed: watch::Sender<()>,
    /// Who was asked last.
    asked: std::sync::Mutex<Arc<Origin>>,
    /// Whether the server answered last.
    connected: Arc<AtomicBool>,
    /// Changes when another server is to be asked.
    moved: watch::Sender<()>,
}

#[derive(Debug)]
struct Held {
    link: Arc<Link>,
    files: CredentialFiles,
    reader: CredentialReader,
    plugin: PluginRun,
    /// When they could not be had last.
    failed: Option<Instant>,
    /// What is wrong with the credentials, so that it is logged once.
    problem: Option<String>,
}

impl Session {
    /// Reads the credentials, and runs their plugin. Nothing is connected to yet.
    ///
    /// # Errors
    /// [`ClusterError::Access`] when they cannot be used: better to end than to wait for what never comes.
    pub(super) async fn open(
        access: Access,
        observer: Arc<dyn ApiObserver>,
        reporter: Reporter,
        connected: Arc<AtomicBool>,
    ) -> Result<Self, ClusterError> {
        let agent =
            HeaderValue::try_from(access.user_agent()).map_err(|error| access.unusable(&error))?;
        let mut reader = CredentialReader::default();
        let mut plugin = PluginRun::default();
        let opened = Link::open(&access, None, &mut reader, &mut plugin).await?;
        let nothing = || access.wrong("nothing was read".to_owned());
        let link = opened.ok_or_else(nothing)?;
        let changed = watch::Sender::new(());
        let files = CredentialFiles::follow(&link.credentials.files, &changed)?;
        Ok(Self {
            access,
            observer,
            reporter,
            agent,
            asked: std::sync::Mutex::new(Arc::clone(&link.credentials.origin)),
            held: Mutex::new(Held {
                link: Arc::new(link),
                files,
                reader,
                plugin,
                failed: None,
                problem: None,
            }),
            changed,
            connected,
            moved: watch::Sender::new(()),
        })
    }

    /// The credentials as they are now. Those that cannot be read leave the last ones in force.
    async fn link(&self) -> Arc<Link> {
        let begin = Instant::now();
        let mut held = self.held.lock().await;
        // Somebody else has tried meanwhile, which may have taken as long as a plugin may.
        if held.failed.is_some_and(|at| at >= begin) {
            return Arc::clone(&held.link);
        }
        let has_changed = held.files.have_changed();
        if has_changed || held.problem.is_some() || held.link.is_spent() {
            match self.renew(&mut held).await {
                Err(error) => {
                    held.failed = Some(Instant::now());
                    let problem = error.to_string();
                    if held.problem.as_ref() != Some(&problem) {
                        warn!("credentials: {problem}; the last good ones stay in force");
                        let told = Said::Credentials(Some(problem.clone()));
                        self.reporter.say(told);
                        held.problem = Some(problem);
                    }
                }
                Ok(false) => {}
                Ok(true) => {
                    if has_changed {
                        info!("credentials: read again, as their files have changed");
                    }
                    if held.problem.take().is_some() {
                        self.reporter.say(Said::Credentials(None));
                    }
                }
            }
        }
        Arc::clone(&held.link)
    }

    /// Reads credentials again as soon as they change: while all watches live nothing else asks for them.
    pub(super) async fn follow_credentials(&self) -> ! {
        let mut changed = self.changed.subscribe();
        loop {
            self.link().await;
            // Its sender is here: there is no end.
            let _ = changed.changed().await;
        }
    }

    /// Whether there are others now: a plugin may still be under way.
    async fn renew(&self, held: &mut Held) -> Result<bool, ClusterError> {
        let Held {
            link,
            reader,
            plugin,
            ..
        } = held;
        let opened = Link::open(&self.access, Some(link), reader, plugin).await?;
        let Some(link) = opened else {
            return Ok(false);
        };
        if !held.files.are(&link.credentials.files) {
            held.files = CredentialFiles::follow(&link.credentials.files, &self.changed)?;
        }
        let before = std::mem::replace(&mut held.link, Arc::new(link));
        let [from, to] = [&before, &held.link].map(|link| &link.credentials.config.cluster_url);
        if from != to {
            let [from, to] = [from, to].map(|url| without_user(&url.to_string()));
            info!("another server: {to} instead of {from}; listing everything anew");
            self.moved.send_replace(());
        }
        Ok(true)
    }

    fn request(&self, link: &Link, call: Call) -> Result<Request<Full<Bytes>>, ApiError> {
        let base = &link.credentials.config.cluster_url;
        let wrong = |error: hyper::http::Error| ApiError::Access(error.to_string());
        let prefix = base.path().trim_end_matches('/');
        let uri = Uri::builder()
            .scheme(base.scheme_str().unwrap_or("https"))
            .authority(base.authority().map_or("", host_of))
            .path_and_query(format!("{prefix}{}", call.path))
            .build()
            .map_err(wrong)?;
        let mut request = Request::new(Full::new(call.body.clone().unwrap_or_default()));
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.clone_from(&link.credentials.headers);
        headers.insert(USER_AGENT, self.agent.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if call.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.method_mut() = Method::POST;
        }
        Ok(request)
    }

    async fn exchange(&self, link: &Link, call: Call) -> Result<Answer, ApiError> {
        let request = self.request(link, call)?;
        let method = request.method().clone();
        let authority = request.uri().authority().cloned();
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) =
            Arc::clone(&link.credentials.origin);
        let begin = Instant::now();
        let response = timeout(ANSWER, link.connection.request(request)).await;
        self.observer.requested(&ApiRequest {
            method: method.as_str(),
            host: authority
                .as_ref()
                .map_or("", |authority| authority.as_str()),
            code: match &response {
                Ok(Ok(response)) => Some(response.status().as_u16()),
                _ => None,
            },
            took: begin.elapsed(),
        });
        let response = response
            .map_err(|_elapsed| ApiError::Silent(ANSWER))?
            .map_err(|error| {
                let text = with_causes(&error);
                if is_of_tls(&error) {
                    ApiError::Tls(text)
                } else {
                    ApiError::Io(text)
                }
            })?;
        if !self.connected.swap(true, Ordering::Relaxed) {
            info!("the Kubernetes API answers");
        }
        Answer::of(response.map(|body| body.map_err(Into::into).boxed_unsync())).await
    }
}

impl Api for Session {
    async fn send(&self, call: Call) -> Result<Answer, ApiError> {
        let mut link = self.link().await;
        let opened = Arc::clone(&link);
        let mut first = None;
        if !link.is_open.load(Ordering::Relaxed) {
            first = timeout(FIRST, opened.first.lock()).await.ok();
            // Who was first may have found that it will not do.
            link = self.link().await;
        }
        let answer = self.exchange(&link, call).await;
        drop(first);
        let error = answer.as_ref().err();
        let is_answer = error.is_none_or(ApiError::is_answer);
        link.is_open.store(is_answer, Ordering::Relaxed);
        if let Some(error) = error {
            // Who is not known asks with what is in the files then, and who gets no answer perhaps another server.
            if error.code() == Some(401) {
                link.is_refused.store(true, Ordering::Relaxed);
            } else if matches!(error, ApiError::Silent(_)) {
                link.is_silent.store(true, Ordering::Relaxed);
            }
        }
        if !is_answer {
            self.connected.store(false, Ordering::Relaxed);
        }
        answer
    }

    fn credentials(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn moves(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    fn about(&self, error: &ApiError) -> String {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.about(error)
    }
}

/// Host and port, without a user.
fn host_of(authority: &Authority) -> &str {
    let text = authority.as_str();
    text.rsplit_once('@').map_or(text, |(_secret, host)| host)
}

/// Whether TLS says so: certificates that do not suit, or no TLS at all.
fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    if io.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData) {
        return true;
    }
    // What an error of input and output holds is not its source, but has one.
    let held = io.and_then(io::Error::get_ref);
    match held {
        Some(held) => is_of_tls(held),
        None => error.source().is_some_and(is_of_tls),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::SystemTime;

    use ipvs_test_support::{ApiServer, Authority, TlsServer};

    use super::super::link::EARLIER;
    use super::super::reporter::reporter;
    use super::*;

    /// What an error of a request says of who was asked, and the error.
    fn told(access: Access) -> (String, ApiError) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        let (reporter, _said) = reporter(|| {});
        runtime.block_on(async {
            let connected = Arc::new(AtomicBool::new(false));
            let session = Session::open(access, Arc::new(()), reporter, connected);
            let session = session.await.unwrap();
            let call = Call {
                path: "/api/v1/nodes".to_owned(),
                body: None,
            };
            let error = session.send(call).await.unwrap_err();
            (session.about(&error), error)
        })
    }

    /// It gives a token that is good for half a minute, and hangs when it is asked again, as is due at once.
    #[test]
    fn a_plugin_that_hangs_holds_up_no_request_whose_credentials_are_good() {
        let api = ApiServer::start().unwrap();
        api.know_only(&["one"]);
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let soon = SystemTime::now() + EARLIER / 2;
        let credential = format!(
            r#"{{"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1",
                "status": {{"token": "one", "expirationTimestamp": "{}"}}}}"#,
            humantime::format_rfc3339_seconds(soon)
        );
        fs::write(at("credential"), credential).unwrap();
        let script = format!(
            "cd {} && mkdir first 2>/dev/null && exec cat credential; echo $$ > id; exec sleep 1000",
            folder.path().display()
        );
        let text = format!(
            "{{current-context: a, contexts: [{{name: a, context: {{cluster: a, user: a}}}}], \
             clusters: [{{name: a, cluster: {{server: '{}'}}}}], \
             users: [{{name: a, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, \
             args: [-c, '{script}'], interactiveMode: Never}}}}}}]}}",
            api.url()
        );
        fs::write(at("kubeconfig"), text).unwrap();
        let access = Access {
            kubeconfig: Some(at("kubeconfig")),
            ..Access::default()
        };
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        let (reporter, _said) = reporter(|| {});
        let id = runtime.block_on(async {
            let connected = Arc::new(AtomicBool::new(false));
            let session = Session::open(access, Arc::new(()), reporter, connected);
            let session = session.await.unwrap();
            let mut sent = 0;
            loop {
                let call = Call {
                    path: "/api/v1/nodes".to_owned(),
                    body: None,
                };
                // Less than the plugin may take.
                let answer = timeout(EARLIER / 2, session.send(call)).await;
                answer.unwrap().unwrap().finish().await;
                sent += 1;
                let id = fs::read_to_string(at("id")).unwrap_or_default();
                match id.strip_suffix('\n') {
                    Some(id) if sent > 3 => break id.to_owned(),
                    _ => {}
                }
            }
        });
        drop(runtime);
        let stat = format!("/proc/{id}/stat");
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn an_error_names_the_server_and_the_file_that_is_at_fault() {
        let api = ApiServer::start().unwrap();
        api.know_only(&["other"]);
        let authority = Authority::new().unwrap();
        let identity = authority.issue("127.0.0.1").unwrap();
        let tls = TlsServer::start(api.address(), &identity, &authority).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("token"), "hidden\n").unwrap();
        let by = |server: &str, authority: &Authority| {
            fs::write(at("ca.crt"), authority.pem()).unwrap();
            let text = format!(
                "{{current-context: a, contexts: [{{name: a, context: {{cluster: a, user: a}}}}], \
                 clusters: [{{name: a, cluster: {{server: '{server}', certificate-authority: ca.crt}}}}], \
                 users: [{{name: a, user: {{tokenFile: token}}}}]}}"
            );
            fs::write(at("kubeconfig"), text).unwrap();
            told(Access {
                kubeconfig: Some(at("kubeconfig")),
                ..Access::default()
            })
        };
        let (token, ca) = (at("token"), at("ca.crt"));
        let address = tls.address();
        let good = format!("https://me:hidden@{address}");
        let (about, error) = by(&good, &authority);
        let expected = format!("server https://{address}/ (tokenFile: {})", token.display());
        assert_eq!((about, error.code()), (expected, Some(401)));
        let (about, error) = by(&good, &Authority::new().unwrap());
        let expected = format!(
            "server https://{address}/ (certificate-authority: {})",
            ca.display()
        );
        assert_eq!(about, expected, "{error}");
        assert!(matches!(error, ApiError::Tls(_)), "{error}");
        let (about, error) = by("http://127.0.0.1:1", &authority);
        assert_eq!(about, "server http://127.0.0.1:1/");
        assert!(matches!(error, ApiError::Io(_)), "{error}");
    }
}
