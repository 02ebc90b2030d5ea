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

/// A URL as it may be shown: without the user and the password that it may have, and without its query.
///
/// What a user that is not escaped may go on with (`/`, `?`, `#`, `@`) is not shown either: the host begins after the last `@`.
///
/// ```
/// assert_eq!(ipvs_proxier::without_user("https://me:hid#den@host:6443/a"), "https://host:6443/a");
/// ```
#[must_use]
pub fn without_user(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        // Not one of the query of something without a scheme, or of a password.
        Some((scheme, rest)) if scheme.chars().all(is_of_scheme) => (scheme, rest),
        _ => ("", url),
    };
    let host = rest.rsplit_once('@').map_or(rest, |(_secret, host)| host);
    let end = host.find(['?', '#']).unwrap_or(host.len());
    let host = host.get(..end).unwrap_or_default();
    if scheme.is_empty() {
        return host.to_owned();
    }
    format!("{scheme}://{host}")
}

fn is_of_scheme(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')
}

/// The URL of a server or a proxy as others read it: a user that is there ends at the last `@` of the authority, whose other
/// ones are escaped.
///
/// # Errors
/// When it may have a user that goes on where others begin with the path: they would take a part of the password for the
/// host, and show it. The error shows nothing of it.
pub(super) fn with_clear_user(url: &str) -> Result<String, &'static str> {
    let begin = url.find("://").map_or(0, |at| at.saturating_add(3));
    let (scheme, rest) = url.split_at_checked(begin).unwrap_or(("", url));
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if behind.contains('@') {
        return Err(
            "an @ comes after the host: in a user or a password write / ? # as %2F %3F %23, in a path write @ as %40",
        );
    }
    Ok(match authority.rsplit_once('@') {
        None => url.to_owned(),
        Some((user, host)) => format!("{scheme}{}@{host}{behind}", user.replace('@', "%40")),
    })
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
            ("https://me:hid#den@host/a", "https://host/a"),
            ("https://me:hid?den@host/a", "https://host/a"),
            ("https://me:12/hidden@host", "https://host"),
            ("https://me:hid://den@host", "https://host"),
            ("me:hid://den@host", "host"),
            ("https://host/a?token=hidden", "https://host/a"),
            ("https://host/a#hidden", "https://host/a"),
        ] {
            assert_eq!(without_user(url), shown);
        }
    }

    #[test]
    fn a_user_ends_at_the_last_at_of_the_authority_or_is_refused() {
        for (url, read) in [
            ("https://host/a", "https://host/a"),
            ("http://me:p@ss@host:1/a", "http://me:p%40ss@host:1/a"),
            ("me@b:p@ss@host", "me%40b:p%40ss@host"),
        ] {
            assert_eq!(with_clear_user(url).as_deref(), Ok(read));
        }
        for url in [
            "http://me:1/den@host",
            "http://me:1#den@host",
            "http://me:1?den@host",
            "me:1/den@host",
            "http://me:1\\den@host",
        ] {
            assert!(with_clear_user(url).is_err(), "{url}");
        }
    }
}
