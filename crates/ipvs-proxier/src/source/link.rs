//! One state of the credentials, and the connection that requests share by them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;

use super::access::{Access, ClusterError};
use super::connection::{Connection, connection};
use super::credential_reader::CredentialReader;
use super::credentials::Credentials;
use super::exec_plugin::PluginCredential;
use super::plugin_run::PluginRun;

/// Before what a plugin gave expires.
pub(super) const EARLIER: Duration = Duration::from_secs(60);
/// One state of the credentials, and a connection by them.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) credentials: Credentials,
    /// What the plugin gave.
    given: Option<Arc<PluginCredential>>,
    /// Whether the server does not know who asks.
    pub(super) is_refused: AtomicBool,
    /// Whether a request was never answered: the next connection may lead to another server.
    pub(super) is_silent: AtomicBool,
    /// Whether the connection has been used. Until then one request goes before the others, which share it if they can.
    pub(super) is_open: AtomicBool,
    pub(super) first: Mutex<()>,
}

impl Link {
    /// Whether something of it has to be another one for the next request.
    pub(super) fn is_spent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed) || !self.is_known()
    }

    /// Whether the server let it in when it was asked last, and what the plugin gave is good for a while.
    fn is_known(&self) -> bool {
        self.is_known_for(EARLIER)
    }

    fn is_known_for(&self, time: Duration) -> bool {
        let now = SystemTime::now().checked_add(time);
        let is_good = |at: SystemTime| now.is_some_and(|now| now < at);
        let given = self.given.as_ref();
        let expires = given.and_then(|given| given.expires);
        !self.is_refused.load(Ordering::Relaxed) && expires.is_none_or(is_good)
    }

    /// Reads the credentials. The connection stays where it is the same one, and did answer. Nothing where the last ones will do
    /// until the plugin has ended.
    pub(super) async fn open(
        access: &Access,
        last: Option<&Arc<Self>>,
        reader: &mut CredentialReader,
        run: &mut PluginRun,
    ) -> Result<Option<Self>, ClusterError> {
        let wrong = |reason: String| access.wrong(reason);
        let mut credentials = reader.read(access).await?;
        // The same plugin would give the same again.
        let same = last.filter(|last| last.credentials.files == credentials.files);
        let known = same.filter(|last| last.is_known());
        let given = match (&credentials.plugin, known) {
            (None, _) => None,
            (Some(_), Some(last)) => last.given.clone(),
            (Some(plugin), None) => {
                run.start(plugin, &credentials.files);
                let good = same.filter(|last| last.is_known_for(Duration::ZERO));
                let ended = match good {
                    Some(_) => run.ended(),
                    None => Some(run.end().await),
                };
                match (ended, good) {
                    (Some(given), _) => {
                        Some(Arc::new(given.map_err(|error| wrong(error.to_string()))?))
                    }
                    (None, Some(last)) if last.is_silent.load(Ordering::Relaxed) => {
                        last.given.clone()
                    }
                    (None, _) => return Ok(None),
                }
            }
        };
        if let Some(given) = &given {
            if let Some((certificate, key)) = &given.identity {
                credentials.set_identity(certificate, key);
            }
            if let Some(token) = &given.token {
                credentials.set_token(token.trim()).map_err(wrong)?;
            }
        }
        let does_answer = |link: &&Arc<Self>| {
            let spent = [&link.is_silent, &link.is_refused];
            spent
                .iter()
                .all(|is_spent| !is_spent.load(Ordering::Relaxed))
        };
        let kept = last
            .filter(|link| does_answer(link) && credentials.is_same_connection(&link.credentials));
        let connection = match kept {
            Some(link) => link.connection.clone(),
            None => connection(&credentials.config, credentials.proxy.as_ref())
                .map_err(|error| access.unusable(&*error))?,
        };
        Ok(Some(Self {
            connection,
            credentials,
            given,
            is_refused: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
            is_open: AtomicBool::new(false),
            first: Mutex::default(),
        }))
    }
}
