//! Where requests go, and what they are made with, in the words of a log: never a secret.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::api::ApiError;

/// What of the credentials something belongs to, by the name that a kubeconfig has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Kubeconfig,
    Authority,
    Certificate,
    Key,
    Token,
    Plugin,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Kubeconfig => "kubeconfig",
            Self::Authority => "certificate-authority",
            Self::Certificate => "client-certificate",
            Self::Key => "client-key",
            Self::Token => "tokenFile",
            Self::Plugin => "exec",
        }
    }

    /// Whether it may be what is wrong when there is such an error.
    fn may_cause(self, error: &ApiError) -> bool {
        match self {
            Self::Kubeconfig => false,
            Self::Authority | Self::Key => matches!(error, ApiError::Tls(_)),
            Self::Token => error.code() == Some(401),
            Self::Certificate | Self::Plugin => {
                matches!(error, ApiError::Tls(_)) || error.code() == Some(401)
            }
        }
    }
}

/// A server, the proxy on the way to it, and what the credentials come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) server: String,
    pub(super) proxy: Option<String>,
    pub(super) parts: Vec<(Part, PathBuf)>,
}

impl Origin {
    /// Who was asked when there was this error, with the files that may be at fault.
    pub(super) fn about(&self, error: &ApiError) -> String {
        let mut text = format!("server {}", self.server);
        if let Some(proxy) = &self.proxy {
            // A String takes everything.
            let _ = write!(text, " by proxy {proxy}");
        }
        let is_of_credentials = matches!(error, ApiError::Tls(_)) || error.code() == Some(401);
        if !is_of_credentials {
            return text;
        }
        let suspects = self.parts.iter().filter(|(part, _)| part.may_cause(error));
        let mut suspects: Vec<_> = suspects.collect();
        if suspects.is_empty() {
            // Then they are in the kubeconfig itself.
            suspects.extend(self.parts.first());
        }
        let named = suspects.iter().map(|(part, path)| {
            let (name, path) = (part.name(), path.display());
            format!("{name}: {path}")
        });
        let named: Vec<String> = named.collect();
        if !named.is_empty() {
            let _ = write!(text, " ({})", named.join(", "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::api::refused;
    use super::*;

    #[test]
    fn the_server_is_named_and_the_files_that_may_be_at_fault() {
        let mut origin = Origin {
            server: "https://10.0.0.1:6443/".to_owned(),
            proxy: None,
            parts: [
                (Part::Kubeconfig, "/k"),
                (Part::Authority, "/ca"),
                (Part::Certificate, "/crt"),
                (Part::Key, "/key"),
                (Part::Token, "/token"),
            ]
            .map(|(part, path)| (part, path.into()))
            .into(),
        };
        let server = "server https://10.0.0.1:6443/";
        let tls = ApiError::Tls("expired".to_owned());
        for (error, files) in [
            (ApiError::Io("refused".to_owned()), ""),
            (refused(403), ""),
            (
                refused(401),
                " (client-certificate: /crt, tokenFile: /token)",
            ),
            (
                tls.clone(),
                " (certificate-authority: /ca, client-certificate: /crt, client-key: /key)",
            ),
        ] {
            assert_eq!(origin.about(&error), format!("{server}{files}"));
        }
        origin.parts.truncate(1);
        origin.proxy = Some("http://proxy:3128/".to_owned());
        for error in [refused(401), tls] {
            let told = origin.about(&error);
            assert_eq!(
                told,
                format!("{server} by proxy http://proxy:3128/ (kubeconfig: /k)")
            );
        }
    }
}
