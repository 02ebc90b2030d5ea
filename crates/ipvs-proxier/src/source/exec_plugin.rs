//! Credentials from a program: `exec` of a kubeconfig.

use std::fmt;
use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use futures_util::future::{Either, select};
use k8s_openapi::jiff::Timestamp;
use kube::config::ExecConfig;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::api_object::start_of;
use super::yaml::read_yaml;
use crate::own_processes;

/// A plugin asks servers in the network, which takes seconds. One that hangs is killed.
const LONGEST: Duration = Duration::from_secs(60);
/// A credential has some kilobytes. More of standard output, or of standard error, in bytes, is none.
const MOST: u64 = 1 << 20;
/// What a plugin has written is there when it has ended. Who it has left behind may keep its output open for ever.
const LAST_WORDS: Duration = Duration::from_millis(200);

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
    #[error("exec: apiVersion: {0}: expected client.authentication.k8s.io/v1 or …/v1beta1")]
    Version(String),
    #[error("exec: {0}")]
    Ended(tokio::task::JoinError),
    #[error("{command}: cannot be run: {error}")]
    Start { command: String, error: io::Error },
    #[error("{command}: no answer after {} s; it was killed", LONGEST.as_secs())]
    Silent { command: String },
    #[error("{command}: it writes more than {MOST} bytes; it was killed")]
    TooMuch { command: String },
    /// Its standard output may hold secrets, and is not told.
    #[error("{command}: {status}: {said}")]
    Failed {
        command: String,
        status: ExitStatus,
        said: String,
    },
    #[error("{command}: its output is no ExecCredential: {reason}")]
    Output { command: String, reason: String },
}

/// Those that are spoken, as client-go does.
const VERSIONS: [&str; 2] = [
    "client.authentication.k8s.io/v1",
    "client.authentication.k8s.io/v1beta1",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    api_version: String,
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
    run_within(LONGEST, config).await
}

async fn run_within(
    longest: Duration,
    config: &ExecConfig,
) -> Result<PluginCredential, PluginError> {
    let command = config.command.clone().ok_or(PluginError::NoCommand)?;
    let version = config.api_version.as_deref().unwrap_or("(none)");
    if !VERSIONS.contains(&version) {
        return Err(PluginError::Version(start_of(version)));
    }
    let wrong = |command, error| PluginError::Start { command, error };
    let mut plugin = match Plugin::start(&command, config) {
        Ok(plugin) => plugin,
        Err(error) => return Err(wrong(command, error)),
    };
    // Whatever ends this before its end kills it.
    let output = match timeout(longest, plugin.output()).await {
        Ok(Ok(Some(output))) => output,
        Ok(Ok(None)) => return Err(PluginError::TooMuch { command }),
        Ok(Err(error)) => return Err(wrong(command, error)),
        Err(_) => return Err(PluginError::Silent { command }),
    };
    if !output.status.success() {
        return Err(PluginError::Failed {
            command,
            status: output.status,
            said: start_of(&String::from_utf8_lossy(&output.stderr)),
        });
    }
    read(version, &output.stdout).map_err(|reason| PluginError::Output { command, reason })
}

/// What a plugin has written, and how it ended.
struct Output {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// A plugin that runs, in a process group of its own. If it is dropped before its end, the group is killed: the plugin, and
/// what it has started, as a shell does.
struct Plugin {
    child: Child,
    /// Its number, also when it has ended.
    number: u32,
}

impl Drop for Plugin {
    fn drop(&mut self) {
        own_processes::ended(self.number);
        // None once it has ended and nobody else can have its number yet.
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            // It may have ended just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Plugin {
    fn start(name: &str, config: &ExecConfig) -> io::Result<Self> {
        let cluster = config
            .cluster
            .as_ref()
            .filter(|_| config.provide_cluster_info);
        let spec = match cluster {
            Some(cluster) => json!({"interactive": false, "cluster": cluster}),
            None => json!({"interactive": false}),
        };
        let info =
            json!({"kind": "ExecCredential", "apiVersion": config.api_version, "spec": spec});
        let mut command = Command::new(name);
        command
            .args(config.args.iter().flatten())
            .env("KUBERNETES_EXEC_INFO", info.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        for variable in config.env.iter().flatten() {
            if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
                command.env(name, value);
            }
        }
        let child = own_processes::start(|| command.spawn(), Child::id)?;
        let number = child.id().unwrap_or_default();
        Ok(Self { child, number })
    }

    /// Waits for its end. Nothing where it writes too much.
    async fn output(&mut self) -> io::Result<Option<Output>> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (out, err) = (self.child.stdout.take(), self.child.stderr.take());
        let status = {
            let reading = async {
                let both = (read_most(out, &mut stdout), read_most(err, &mut stderr));
                let (mut out, mut err) = (pin!(both.0), pin!(both.1));
                // As soon as one of them is too much.
                match select(out.as_mut(), err.as_mut()).await {
                    Either::Left((Ok(Amount::All), _)) => err.await,
                    Either::Right((Ok(Amount::All), _)) => out.await,
                    Either::Left((amount, _)) | Either::Right((amount, _)) => amount,
                }
            };
            let mut reading = pin!(reading);
            let ending = pin!(self.child.wait());
            match select(reading.as_mut(), ending).await {
                Either::Left((amount, ending)) => match amount? {
                    Amount::TooMuch => return Ok(None),
                    Amount::All => ending.await?,
                },
                Either::Right((status, _)) => {
                    let status = status?;
                    match timeout(LAST_WORDS, reading).await {
                        Ok(Ok(Amount::TooMuch)) => return Ok(None),
                        Ok(Err(error)) => return Err(error),
                        // Use what has arrived.
                        Ok(Ok(Amount::All)) | Err(_) => status,
                    }
                }
            }
        };
        Ok(Some(Output {
            status,
            stdout,
            stderr,
        }))
    }
}

enum Amount {
    All,
    TooMuch,
}

/// Reads to the end, or until it is too much.
async fn read_most(
    stream: Option<impl AsyncRead + Unpin>,
    into: &mut Vec<u8>,
) -> io::Result<Amount> {
    let Some(stream) = stream else {
        return Ok(Amount::All);
    };
    let mut stream = stream.take(MOST.saturating_add(1));
    stream.read_to_end(into).await?;
    Ok(if stream.limit() == 0 {
        Amount::TooMuch
    } else {
        Amount::All
    })
}

/// JSON, or YAML as other clients take it too.
fn read(version: &str, output: &[u8]) -> Result<PluginCredential, String> {
    let text = std::str::from_utf8(output).map_err(|error| error.to_string())?;
    let credential: ExecCredential =
        read_yaml(text).map_err(|error| error.without_values("it cannot be read as such"))?;
    // What is there instead may be a secret.
    if credential.kind != "ExecCredential" {
        return Err("its kind is another one, or missing".to_owned());
    }
    if credential.api_version != version {
        return Err(format!(
            "its apiVersion is not {version}, which the kubeconfig says, or missing"
        ));
    }
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

    fn shell(script: &str) -> ExecConfig {
        ExecConfig {
            command: Some("sh".to_owned()),
            args: Some(vec!["-c".to_owned(), script.to_owned()]),
            api_version: Some("client.authentication.k8s.io/v1".to_owned()),
            ..ExecConfig::default()
        }
    }

    fn run_shell(script: &str) -> Result<PluginCredential, PluginError> {
        run_shell_within(LONGEST, script)
    }

    fn run_shell_within(longest: Duration, script: &str) -> Result<PluginCredential, PluginError> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(run_within(longest, &shell(script)))
    }

    #[test]
    fn its_token_and_its_time_are_read() {
        let credential = run_shell(
            r#"case "$KUBERNETES_EXEC_INFO" in *client.authentication.k8s.io/v1*) ;; *) exit 3;; esac
            echo '{"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": {"token": "abc", "expirationTimestamp": "1970-01-01T01:00:09+01:00"}}'"#,
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
            "echo '{\"kind\": \"ExecCredential\", \"apiVersion\": \"client.authentication.k8s.io/v1\", \"status\": {\"token\": [secret]}}'",
            "echo '{\"kind\": \"ExecCredential\", \"apiVersion\": \"client.authentication.k8s.io/v1\", \"status\": {\"clientKeyData\": \"secret\"}}'",
            "echo '{\"kind\": \"ExecCredential\", \"apiVersion\": \"client.authentication.k8s.io/v1\", \"status\": {}}'",
            "echo '{}'",
            "echo '{\"kind\": \"secret\", \"apiVersion\": \"secret\", \"status\": {\"token\": \"secret\"}}'",
            "echo '{\"kind\": \"ExecCredential\", \"apiVersion\": \"client.authentication.k8s.io/v1\", \"status\": {\"token\": \"secret\", \"expirationTimestamp\": \"soon\"}}'",
        ] {
            let text = told(script);
            assert!(
                text.starts_with("sh: its output is no ExecCredential: "),
                "{text}"
            );
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn another_kind_or_version_is_none() {
        let told = |kind: &str, version: &str| {
            let script = format!(
                r#"echo '{{"kind": "{kind}", "apiVersion": "client.authentication.k8s.io/{version}", "status": {{"token": "abc"}}}}'"#
            );
            run_shell(&script).map_err(|error| error.to_string())
        };
        assert!(told("ExecCredential", "v1").is_ok());
        for (kind, version, reason) in [
            ("ExecCredential", "v1beta1", "its apiVersion is not"),
            ("TokenReview", "v1", "its kind is another one"),
            ("", "v1", "its kind is another one"),
        ] {
            let told = told(kind, version).unwrap_err();
            assert!(told.contains(reason), "{told}");
        }
        for version in [
            None,
            Some("client.authentication.k8s.io/v1alpha1".to_owned()),
        ] {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            let config = ExecConfig {
                api_version: version,
                ..shell("exit 1")
            };
            let told = runtime.block_on(run(&config)).unwrap_err().to_string();
            assert!(told.starts_with("exec: apiVersion: "), "{told}");
        }
    }

    /// `yes`, or a plugin that logs for ever.
    #[test]
    fn no_more_is_taken_than_a_credential_can_have() {
        for script in [
            "yes secret",
            "yes secret >&2",
            "yes secret & yes secret >&2",
        ] {
            let told = run_shell(script).unwrap_err().to_string();
            assert_eq!(told, "sh: it writes more than 1048576 bytes; it was killed");
        }
        let most = "head -c 1000000 /dev/zero | tr '\\0' x >&2; echo '{\"kind\": \"ExecCredential\", \"apiVersion\": \"client.authentication.k8s.io/v1\", \"status\": {\"token\": \"abc\"}}'";
        assert_eq!(run_shell(most).unwrap().token.as_deref(), Some("abc"));
    }

    /// A process that a plugin has started, by its number in a file.
    fn started(path: &std::path::Path) -> i32 {
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if let Some(id) = text.strip_suffix('\n') {
                return id.parse().unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// It leaves a process behind, which has its output open.
    #[test]
    fn only_the_plugin_itself_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id");
        let script = format!(
            r#"sleep 1000 & echo $! > {}; echo '{{"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": {{"token": "abc"}}}}'"#,
            path.display()
        );
        let credential = run_shell(&script).unwrap();
        assert_eq!(credential.token.as_deref(), Some("abc"));
        let left = Pid::from_raw(started(&path)).unwrap();
        rustix::process::kill_process(left, Signal::KILL).unwrap();
    }

    #[test]
    fn what_a_plugin_has_started_ends_with_it_when_its_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id");
        let script = format!("sleep 1000 & echo $! > {}; wait", path.display());
        let told = run_shell_within(Duration::ZERO, "sleep 1000").unwrap_err();
        assert!(matches!(told, PluginError::Silent { .. }), "{told}");
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(async {
            let mut plugin = Plugin::start("sh", &shell(&script)).unwrap();
            let output = Box::pin(plugin.output());
            let started = tokio::task::spawn_blocking({
                let path = path.clone();
                move || started(&path)
            });
            // As when its time is over: what waits for it is dropped.
            assert!(matches!(select(output, started).await, Either::Right(_)));
        });
        let stat = format!("/proc/{}/stat", started(&path));
        let is_alive = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        while is_alive() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
