//! Credentials from a program: `exec` of a kubeconfig.

use std::fmt;
use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime};

use k8s_openapi::jiff::Timestamp;
use kube::config::ExecConfig;
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use super::api_object::start_of;

/// A plugin asks servers in the network, which takes seconds. One that hangs is killed.
const LONGEST: Duration = Duration::from_secs(60);

/// What a plugin gives.
pub(super) struct PluginCredential {
    pub(super) token: Option<String>,
    /// Certificate and key, as PEM.
    pub(super) identity: Option<(String, String)>,
    pub(super) expires: Option<SystemTime>,
}

impl fmt::Debug for PluginCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expires, .. } = self;
        let mut text = f.debug_struct("PluginCredential");
        text.field("expires", expires).finish_non_exhaustive()
    }
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum PluginError {
    #[error("exec: no command")]
    NoCommand,
    #[error("{command}: cannot be run: {error}")]
    Start {
        command: String,
        error: std::io::Error,
    },
    #[error("{command}: no answer after {} s; it was killed", LONGEST.as_secs())]
    Silent { command: String },
    /// Its standard output may hold secrets, and is not told.
    #[error("{command}: {status}: {said}")]
    Failed {
        command: String,
        status: std::process::ExitStatus,
        said: String,
    },
    #[error("{command}: its output is no ExecCredential: {reason}")]
    Output { command: String, reason: String },
}

#[derive(Deserialize)]
struct ExecCredential {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<String>,
}

/// Runs it to its end, or to the longest that it may take.
pub(super) async fn run(config: &ExecConfig) -> Result<PluginCredential, PluginError> {
    let command = config.command.clone().ok_or(PluginError::NoCommand)?;
    let output = match timeout(LONGEST, started(&command, config)).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(PluginError::Start { command, error }),
        // It is killed as it is dropped.
        Err(_) => return Err(PluginError::Silent { command }),
    };
    if !output.status.success() {
        return Err(PluginError::Failed {
            command,
            status: output.status,
            said: start_of(&String::from_utf8_lossy(&output.stderr)),
        });
    }
    read(&output.stdout).map_err(|reason| PluginError::Output { command, reason })
}

async fn started(name: &str, config: &ExecConfig) -> std::io::Result<Output> {
    let cluster = config
        .cluster
        .as_ref()
        .filter(|_| config.provide_cluster_info);
    let spec = match cluster {
        Some(cluster) => json!({"interactive": false, "cluster": cluster}),
        None => json!({"interactive": false}),
    };
    let info = json!({"kind": "ExecCredential", "apiVersion": config.api_version, "spec": spec});
    let mut command = Command::new(name);
    command
        .args(config.args.iter().flatten())
        .env("KUBERNETES_EXEC_INFO", info.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    for variable in config.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            command.env(name, value);
        }
    }
    command.output().await
}

/// JSON, or YAML as other clients take it too.
fn read(output: &[u8]) -> Result<PluginCredential, String> {
    let text = std::str::from_utf8(output).map_err(|error| error.to_string())?;
    // Its errors would show what is in it.
    let credential: ExecCredential =
        serde_saphyr::from_str(text).map_err(|_secret| "it cannot be read as such".to_owned())?;
    let status = credential.status.ok_or("it has no status")?;
    let identity = match (status.client_certificate_data, status.client_key_data) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err("certificate and key come together".to_owned()),
    };
    let token = status.token.filter(|token| !token.is_empty());
    if token.is_none() && identity.is_none() {
        return Err("it has neither token nor certificate".to_owned());
    }
    let expires = match status.expiration_timestamp {
        None => None,
        Some(time) => {
            let wrong = |error| format!("expirationTimestamp: {time}: {error}");
            Some(time.parse::<Timestamp>().map_err(wrong)?.into())
        }
    };
    Ok(PluginCredential {
        token,
        identity,
        expires,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_shell(script: &str) -> Result<PluginCredential, PluginError> {
        let config = ExecConfig {
            command: Some("sh".to_owned()),
            args: Some(vec!["-c".to_owned(), script.to_owned()]),
            api_version: Some("client.authentication.k8s.io/v1".to_owned()),
            ..ExecConfig::default()
        };
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(run(&config))
    }

    #[test]
    fn its_token_and_its_time_are_read() {
        let credential = run_shell(
            r#"case "$KUBERNETES_EXEC_INFO" in *client.authentication.k8s.io/v1*) ;; *) exit 3;; esac
            echo '{"kind": "ExecCredential", "status": {"token": "abc", "expirationTimestamp": "1970-01-01T01:00:09+01:00"}}'"#,
        )
        .unwrap();
        assert_eq!(credential.token.as_deref(), Some("abc"));
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
        assert_eq!(credential.expires, Some(at));
        assert!(!format!("{credential:?}").contains("abc"));
    }

    #[test]
    fn what_is_wrong_with_it_never_shows_a_secret() {
        let told = |script: &str| run_shell(script).unwrap_err().to_string();
        let failed = told("echo secret; echo no network >&2; exit 4");
        assert_eq!(failed, "sh: exit status: 4: no network");
        for script in [
            "echo secret",
            "echo '{\"status\": {\"token\": [secret]}}'",
            "echo '{\"status\": {\"clientKeyData\": \"secret\"}}'",
            "echo '{\"status\": {}}'",
            "echo '{}'",
            "echo '{\"status\": {\"token\": \"secret\", \"expirationTimestamp\": \"soon\"}}'",
        ] {
            let text = told(script);
            assert!(
                text.starts_with("sh: its output is no ExecCredential: "),
                "{text}"
            );
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
