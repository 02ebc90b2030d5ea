//! How the API server is reached.

use std::error::Error;
use std::path::PathBuf;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

/// How to reach the API server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// A kubeconfig file: certificates, tokens and exec plugins.
    pub kubeconfig: Option<PathBuf>,
    /// The server's URL, instead of the kubeconfig's. Without either, the service account of the pod is used.
    pub master: Option<String>,
}

impl Access {
    /// What an error is about.
    pub(super) fn name(&self) -> String {
        match (&self.kubeconfig, &self.master) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(url)) => server(url),
            (None, None) => "service account".to_owned(),
        }
    }
}

/// Why the API cannot be used. Problems that may pass, as a server that is away, are none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The kubeconfig, or the service account, cannot be used.
    #[error("{what}: {reason}")]
    Access {
        /// The file, the server, or `service account`.
        what: String,
        /// Why.
        reason: String,
    },
    /// No thread for the client.
    #[error("cannot start the client: {0}")]
    Start(#[from] std::io::Error),
}

pub(super) async fn configuration(access: &Access) -> Result<Config, ClusterError> {
    let mut config = match (&access.kubeconfig, &access.master) {
        (Some(path), _) => {
            let file =
                Kubeconfig::read_from(path).map_err(|error| unusable(access.name(), &error))?;
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(file, &options).await;
            config.map_err(|error| unusable(access.name(), &error))?
        }
        (None, Some(_)) => Config::new(Default::default()),
        (None, None) => Config::incluster().map_err(|error| unusable(access.name(), &error))?,
    };
    if let Some(master) = &access.master {
        config.cluster_url = match master.parse() {
            Ok(url) => url,
            Err(error) => return Err(unusable(server(master), &error)),
        };
    }
    if config.cluster_url.scheme_str() == Some("http") {
        // Otherwise the client reads all that the system trusts, which is hundreds of files.
        config.root_cert.get_or_insert_default();
    }
    Ok(config)
}

fn server(url: &str) -> String {
    format!("server {url}")
}

pub(super) fn unusable(what: String, error: &dyn Error) -> ClusterError {
    ClusterError::Access {
        what,
        reason: with_causes(error),
    }
}

/// An error and its causes, each once: some say theirs themselves.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
