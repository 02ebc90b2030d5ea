//! How the API server is reached.

use std::error::Error;
use std::path::PathBuf;

use crate::platform::architecture;

/// How to reach the API server: directly, or by the proxy that the kubeconfig (`proxy-url`) or the environment names
/// (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, in capitals or not).
///
/// The kubeconfig and every file that it names are read again when they change, and after a 401; a plugin (`exec`) runs again
/// before what it gave expires. What cannot be read then leaves the last good one in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// A kubeconfig file: certificates, tokens and exec plugins.
    pub kubeconfig: Option<PathBuf>,
    /// The server's URL, instead of the kubeconfig's. Without either, the service account of the pod is used.
    pub master: Option<String>,
    /// As what the client introduces itself, as `name/version`; `ipvs-proxier` and its version otherwise.
    pub program: Option<String>,
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

    /// That it cannot be used, and why.
    pub(super) fn wrong(&self, reason: String) -> ClusterError {
        ClusterError::Access {
            what: self.name(),
            reason,
        }
    }

    /// The same, by an error with its causes.
    pub(super) fn unusable(&self, error: &dyn Error) -> ClusterError {
        self.wrong(with_causes(error))
    }

    /// As `kube-proxy-ipvs/0.1.0 (linux/amd64) ipvs-proxier/0.1.0`.
    pub(super) fn user_agent(&self) -> String {
        let library = concat!("ipvs-proxier/", env!("CARGO_PKG_VERSION"));
        let architecture = architecture();
        match &self.program {
            Some(program) => format!("{program} (linux/{architecture}) {library}"),
            None => format!("{library} (linux/{architecture})"),
        }
    }
}

/// Why the API cannot be used. A server that is temporarily unreachable is not an error.
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

fn server(url: &str) -> String {
    format!("server {}", without_user(url))
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

/// A URL without the user and the password that it may have.
pub(super) fn without_user(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let Some((_secret, host)) = rest.rsplit_once('@') else {
        return url.to_owned();
    };
    if scheme.is_empty() {
        return host.to_owned();
    }
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_of_a_url_is_never_shown() {
        for (url, shown) in [
            ("https://10.0.0.1:6443/a", "https://10.0.0.1:6443/a"),
            ("https://me:hidden@host:1/a", "https://host:1/a"),
            ("https://me:hid/d@en@host", "https://host"),
            ("me:hidden@host", "host"),
            ("host", "host"),
        ] {
            assert_eq!(without_user(url), shown);
        }
    }
}
