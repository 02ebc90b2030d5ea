//! Who the client is and whom it trusts: a kubeconfig, or the service account of the pod, with the files that they name.

use std::error::Error;
use std::fmt;
use std::hash::{DefaultHasher, Hasher as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use kube::Config;
use kube::config::{
    AuthInfo, Cluster, ExecConfig, Kubeconfig, KubeconfigError, NamedAuthInfo, NamedCluster,
    NamedContext,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::access::{Access, ClusterError, unusable, with_causes};
use crate::files::{file_text, read_file};

const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Longer files, in bytes, are no credentials.
pub(super) const LONGEST: u64 = 1 << 20;

/// What a connection is made with, all of it in memory.
pub(super) struct Credentials {
    /// The server, whom to trust, and the client's certificate.
    pub(super) config: Config,
    /// `Authorization`, where it needs no plugin, and whom to impersonate.
    pub(super) headers: HeaderMap,
    /// The program that knows more.
    pub(super) plugin: Option<ExecConfig>,
    /// What was read: when one of them changes all are read again.
    pub(super) files: Vec<FileRead>,
}

/// A file of which the contents were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileRead {
    pub(super) path: PathBuf,
    /// By which other contents are told.
    pub(super) digest: u64,
}

impl FileRead {
    fn new(path: &Path, text: &[u8]) -> Self {
        Self {
            path: path.to_owned(),
            digest: digest(text),
        }
    }
}

pub(super) fn digest(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text);
    hasher.finish()
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Credentials");
        text.field("files", &self.files).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads everything that the access names.
    pub(super) fn read(access: &Access) -> Result<Self, ClusterError> {
        let mut files = Vec::new();
        let kubeconfig = match (&access.kubeconfig, &access.master) {
            (Some(path), _) => {
                kubeconfig(path, &mut files).map_err(|reason| ClusterError::Access {
                    what: access.name(),
                    reason,
                })?
            }
            (None, Some(url)) => of_server(url.clone(), AuthInfo::default(), None),
            (None, None) => {
                service_account(Path::new(SERVICE_ACCOUNT), |name| std::env::var(name).ok())
                    .map_err(|reason| ClusterError::Access {
                        what: access.name(),
                        reason,
                    })?
            }
        };
        let wrong = |reason: String| ClusterError::Access {
            what: access.name(),
            reason,
        };
        let folder = access.kubeconfig.as_deref().and_then(Path::parent);
        let folder = folder.unwrap_or_else(|| Path::new(""));
        let kubeconfig = with_files(kubeconfig, folder, &mut files).map_err(wrong)?;
        let mut config =
            Config::try_from(kubeconfig).map_err(|error| unusable(access.name(), &error))?;
        if let (Some(_), Some(master)) = (&access.kubeconfig, &access.master) {
            let url = master.parse();
            config.cluster_url = url.map_err(|error| unusable(access.name(), &error))?;
        }
        if config.cluster_url.scheme_str() == Some("http") {
            // Otherwise the client reads all that the system trusts, which is hundreds of files.
            config.root_cert.get_or_insert_default();
        }
        if let Some(provider) = &config.auth_info.auth_provider {
            return Err(wrong(format!(
                "auth-provider: {}: Kubernetes removed them in 1.26; use an exec plugin or a token",
                provider.name
            )));
        }
        let headers = headers_of(&config.auth_info).map_err(wrong)?;
        let plugin = config.auth_info.exec.take();
        let has_own = headers.contains_key(AUTHORIZATION);
        Ok(Self {
            config,
            headers,
            plugin: plugin.filter(|_| !has_own),
            files,
        })
    }

    /// Takes a certificate and its key, as PEM.
    pub(super) fn set_identity(&mut self, certificate: &str, key: &str) {
        let user = &mut self.config.auth_info;
        user.client_certificate_data = Some(BASE64_STANDARD.encode(certificate));
        user.client_key_data = Some(BASE64_STANDARD.encode(key).into());
    }

    /// Takes a token.
    pub(super) fn set_token(&mut self, token: &str) -> Result<(), String> {
        self.headers.insert(AUTHORIZATION, bearer(token)?);
        Ok(())
    }

    /// Whether a connection by the other ones would be a connection by these: to the same server, by the same certificate,
    /// with the same trust. A token belongs to a request.
    pub(super) fn is_same_connection(&self, other: &Self) -> bool {
        let key = |config: &Config| {
            let key = config.auth_info.client_key_data.clone();
            key.map(|key| key.expose_secret().to_owned())
        };
        let (this, other) = (&self.config, &other.config);
        this.cluster_url == other.cluster_url
            && this.root_cert == other.root_cert
            && this.accept_invalid_certs == other.accept_invalid_certs
            && this.tls_server_name == other.tls_server_name
            && this.auth_info.client_certificate_data == other.auth_info.client_certificate_data
            && key(this) == key(other)
    }
}

/// Reads a kubeconfig. What is wrong with it is told by its place alone: both the lines and the values that an error of the
/// parser shows may hold tokens and keys.
fn kubeconfig(path: &Path, files: &mut Vec<FileRead>) -> Result<Kubeconfig, String> {
    let bytes = read_file(path, LONGEST).map_err(|error| error.to_string())?;
    let text = file_text(&bytes).map_err(|error| error.to_string())?;
    let kubeconfig = Kubeconfig::from_yaml(text).map_err(|error| match error {
        KubeconfigError::Parse(error) => {
            let place = error.location().map_or_else(String::new, |place| {
                format!("line {}, column {}: ", place.line(), place.column())
            });
            format!("{place}this is no kubeconfig (the text is not shown, it may hold secrets)")
        }
        other => with_causes(&other),
    })?;
    files.push(FileRead::new(path, &bytes));
    Ok(kubeconfig)
}

/// A kubeconfig with one server and one user.
fn of_server(url: String, user: AuthInfo, authority: Option<PathBuf>) -> Kubeconfig {
    let name = || "default".to_owned();
    let cluster = Cluster {
        server: Some(url),
        certificate_authority: authority.map(|path| path.display().to_string()),
        ..Cluster::default()
    };
    let context = kube::config::Context {
        cluster: name(),
        user: Some(name()),
        ..Default::default()
    };
    Kubeconfig {
        clusters: vec![NamedCluster {
            name: name(),
            cluster: Some(cluster),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: name(),
            auth_info: Some(user),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: name(),
            context: Some(context),
            ..NamedContext::default()
        }],
        current_context: Some(name()),
        ..Kubeconfig::default()
    }
}

/// The service account of a pod, as a kubeconfig.
fn service_account(
    folder: &Path,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Kubeconfig, String> {
    let known = |name: &str| {
        variable(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            format!("{name} is not set: neither --kubeconfig nor --master is given, and this is no pod")
        })
    };
    let host = known("KUBERNETES_SERVICE_HOST")?;
    let port = known("KUBERNETES_SERVICE_PORT")?;
    let host = match host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host,
    };
    let user = AuthInfo {
        token_file: Some(folder.join("token").display().to_string()),
        ..AuthInfo::default()
    };
    let url = format!("https://{host}:{port}");
    Ok(of_server(url, user, Some(folder.join("ca.crt"))))
}

/// The chosen server and user alone, with the contents of their files in place of the names, which are relative to a folder.
fn with_files(
    kubeconfig: Kubeconfig,
    folder: &Path,
    files: &mut Vec<FileRead>,
) -> Result<Kubeconfig, String> {
    let current = kubeconfig.current_context.as_deref().unwrap_or_default();
    let mut contexts = kubeconfig.contexts.iter();
    let context = contexts.find(|context| context.name == current);
    let context = context.and_then(|context| context.context.clone());
    // What is missing is told by whoever reads it.
    let Some(context) = context else {
        return Ok(kubeconfig);
    };
    let mut chosen = kubeconfig;
    for named in &mut chosen.clusters {
        if let (true, Some(cluster)) = (named.name == context.cluster, &mut named.cluster) {
            cluster_files(cluster, folder, files)?;
        }
    }
    for named in &mut chosen.auth_infos {
        if let (true, Some(user)) = (
            Some(&named.name) == context.user.as_ref(),
            &mut named.auth_info,
        ) {
            user_files(user, folder, files)?;
        }
    }
    Ok(chosen)
}

fn cluster_files(
    cluster: &mut Cluster,
    folder: &Path,
    files: &mut Vec<FileRead>,
) -> Result<(), String> {
    if cluster
        .proxy_url
        .as_ref()
        .is_some_and(|url| !url.is_empty())
    {
        // It may hold a password.
        return Err("proxy-url: only direct connections are supported".to_owned());
    }
    let path = cluster.certificate_authority.take();
    if let (None, Some(path)) = (&cluster.certificate_authority_data, path) {
        let text = contents(&folder.join(path), files)?;
        cluster.certificate_authority_data = Some(BASE64_STANDARD.encode(text));
    }
    Ok(())
}

fn user_files(user: &mut AuthInfo, folder: &Path, files: &mut Vec<FileRead>) -> Result<(), String> {
    if let (None, Some(path)) = (
        &user.client_certificate_data,
        user.client_certificate.take(),
    ) {
        let text = contents(&folder.join(path), files)?;
        user.client_certificate_data = Some(BASE64_STANDARD.encode(text));
    }
    if let (None, Some(path)) = (&user.client_key_data, user.client_key.take()) {
        let text = contents(&folder.join(path), files)?;
        user.client_key_data = Some(BASE64_STANDARD.encode(text).into());
    }
    if let (None, Some(path)) = (&user.token, user.token_file.take()) {
        let path = folder.join(path);
        let text = contents(&path, files)?;
        let path = path.display();
        let text = String::from_utf8(text).map_err(|_secret| format!("{path}: no text"))?;
        let token = text.trim();
        bearer(token).map_err(|reason| format!("{path}: {reason}"))?;
        user.token = Some(SecretString::from(token));
    }
    let command = user.exec.as_mut().and_then(|exec| exec.command.as_mut());
    if let Some(command) = command.filter(|command| command.contains('/'))
        && let Some(path) = folder.join(&*command).to_str().map(str::to_owned)
    {
        // Others are looked up in `PATH`.
        *command = path;
    }
    Ok(())
}

fn contents(path: &Path, files: &mut Vec<FileRead>) -> Result<Vec<u8>, String> {
    let name = path.display();
    let text = read_file(path, LONGEST).map_err(|error| format!("{name}: {error}"))?;
    if text.trim_ascii().is_empty() {
        return Err(format!("{name}: empty"));
    }
    files.push(FileRead::new(path, &text));
    Ok(text)
}

fn headers_of(user: &AuthInfo) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let own = match (&user.token, &user.username, &user.password) {
        (Some(token), ..) => Some(bearer(token.expose_secret().trim())?),
        (None, Some(name), Some(password)) => {
            let pair = format!("{name}:{}", password.expose_secret());
            Some(secret(&format!("Basic {}", BASE64_STANDARD.encode(pair)))?)
        }
        _ => None,
    };
    headers.extend(own.map(|value| (AUTHORIZATION, value)));
    let mut add = |name: &str, value: &str| {
        let wrong = |error: &dyn Error| format!("{name}: {value}: {}", with_causes(error));
        let header = HeaderName::try_from(name).map_err(|error| wrong(&error))?;
        let value = HeaderValue::try_from(value).map_err(|error| wrong(&error))?;
        headers.append(header, value);
        Ok::<(), String>(())
    };
    if let Some(name) = &user.impersonate {
        add("Impersonate-User", name)?;
    }
    if let Some(uid) = &user.impersonate_uid {
        add("Impersonate-Uid", uid)?;
    }
    for group in user.impersonate_groups.iter().flatten() {
        add("Impersonate-Group", group)?;
    }
    for (key, values) in user.impersonate_user_extra.iter().flatten() {
        for value in values {
            add(&format!("Impersonate-Extra-{key}"), value)?;
        }
    }
    Ok(headers)
}

fn bearer(token: &str) -> Result<HeaderValue, String> {
    if token.is_empty() {
        return Err("an empty token".to_owned());
    }
    secret(&format!("Bearer {token}"))
}

/// Nothing of it is told.
fn secret(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_secret| "a token has no line ends and no control characters in it".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn kubeconfig(folder: &Path, user: &str) -> Access {
        let path = folder.join("kubeconfig");
        let text = format!(
            "current-context: lab\nclusters:\n- name: lab\n  cluster: {{server: 'https://10.0.0.1'}}\n\
             contexts:\n- name: lab\n  context: {{cluster: lab, user: me}}\nusers:\n- name: me\n  user: {user}\n\
             - name: other\n  user: {{tokenFile: /no/such/file}}\n"
        );
        fs::write(&path, text).unwrap();
        Access {
            kubeconfig: Some(path),
            ..Access::default()
        }
    }

    #[test]
    fn a_token_file_may_end_in_a_newline() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let access = kubeconfig(folder.path(), "{tokenFile: token}");
        for text in ["abc", "abc\n", " abc\r\n\n"] {
            fs::write(&file, text).unwrap();
            let credentials = Credentials::read(&access).unwrap();
            assert_eq!(credentials.headers[AUTHORIZATION], "Bearer abc");
            let read = credentials.files.iter().map(|file| file.path.clone());
            let read: Vec<_> = read.collect();
            assert_eq!(read, [folder.path().join("kubeconfig"), file.clone()]);
        }
        assert!(!format!("{:?}", Credentials::read(&access).unwrap()).contains("abc"));
    }

    #[test]
    fn what_is_wrong_with_a_file_names_it_and_never_shows_a_token() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let access = kubeconfig(folder.path(), "{tokenFile: token}");
        let told = || Credentials::read(&access).unwrap_err().to_string();
        let path = file.display().to_string();
        assert!(
            told().contains(&format!("{path}: cannot open it: No such file")),
            "{}",
            told()
        );
        for (text, reason) in [
            ("".as_bytes(), "empty"),
            (b"\n", "empty"),
            (
                b"sec\nret",
                "a token has no line ends and no control characters in it",
            ),
            (
                b"secret\x00",
                "a token has no line ends and no control characters in it",
            ),
            (b"secret\xff", "no text"),
        ] {
            fs::write(&file, text).unwrap();
            let told = told();
            assert!(told.ends_with(&format!("{path}: {reason}")), "{told}");
            assert!(!told.contains("secret"), "{told}");
        }
        let long = fs::File::create(&file).unwrap();
        long.set_len(LONGEST + 1).unwrap();
        assert!(
            told().contains("it has more than 1048576 bytes"),
            "{}",
            told()
        );
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(
            told().contains("it is a folder: only regular files"),
            "{}",
            told()
        );
    }

    /// The parser would show the lines around, or the value.
    #[test]
    fn a_kubeconfig_that_does_not_parse_is_told_by_line_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        for user in [
            "{token: hidden, client-key-data: [}",
            "{exec: hidden}",
            "{token: hidden, token: hidden}",
            "{token: hidden, exec: {args: hidden}}\n  b: c",
            "{token: *hidden}",
        ] {
            let access = kubeconfig(folder.path(), user);
            let told = Credentials::read(&access).unwrap_err().to_string();
            assert!(
                told.starts_with(&format!("{}: line 1", access.name())),
                "{told}"
            );
            assert!(!told.contains("hidden"), "{told}");
            assert_eq!(told.lines().count(), 1, "{told}");
        }
        let access = kubeconfig(folder.path(), "{}");
        let path = access.kubeconfig.as_ref().unwrap();
        let told = |text: &[u8]| {
            fs::write(path, text).unwrap();
            Credentials::read(&access).unwrap_err().to_string()
        };
        let encoded = told(b"users: \xffhidden");
        assert!(
            encoded.ends_with("line 1 has bytes that are no UTF-8"),
            "{encoded}"
        );
        let proxy = told(
            b"clusters: [{name: a, cluster: {proxy-url: 'http://me:hidden@proxy'}}]\n\
            contexts: [{name: a, context: {cluster: a}}]\ncurrent-context: a\n",
        );
        assert!(
            proxy.contains("proxy-url: ") && !proxy.contains("hidden"),
            "{proxy}"
        );
    }

    #[test]
    fn nothing_is_read_that_has_no_end_or_never_begins() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        let long = folder.path().join("long");
        fs::File::create(&long)
            .unwrap()
            .set_len(LONGEST + 1)
            .unwrap();
        for (path, reason) in [
            (Path::new("/dev/zero"), "only regular files"),
            (&fifo, "only regular files"),
            (&long, "it has more than 1048576 bytes"),
        ] {
            let access = Access {
                kubeconfig: Some(path.to_owned()),
                ..Access::default()
            };
            let user = format!("{{tokenFile: '{}'}}", path.display());
            for access in [access, kubeconfig(folder.path(), &user)] {
                let told = Credentials::read(&access).unwrap_err().to_string();
                assert!(told.contains(reason), "{told}");
            }
        }
    }

    #[test]
    fn a_plugin_beside_the_kubeconfig_is_found() {
        let folder = tempfile::tempdir().unwrap();
        for (command, found) in [
            ("./plugin", folder.path().join("./plugin")),
            ("/bin/plugin", "/bin/plugin".into()),
            ("plugin", "plugin".into()),
        ] {
            let user = format!(
                "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: {command}, interactiveMode: Never}}}}"
            );
            let credentials = Credentials::read(&kubeconfig(folder.path(), &user)).unwrap();
            let plugin = credentials.plugin.unwrap();
            assert_eq!(plugin.command.as_deref(), found.to_str());
        }
    }

    #[test]
    fn a_service_account_is_a_kubeconfig() {
        let of = |host: &str| {
            let host = host.to_owned();
            let account = service_account(Path::new("/sa"), move |name| match name {
                "KUBERNETES_SERVICE_HOST" => Some(host.clone()),
                _ => Some("443".to_owned()),
            });
            let account = account.unwrap();
            let cluster = account.clusters[0].cluster.clone().unwrap();
            let user = account.auth_infos[0].auth_info.clone().unwrap();
            assert_eq!(cluster.certificate_authority.as_deref(), Some("/sa/ca.crt"));
            assert_eq!(user.token_file.as_deref(), Some("/sa/token"));
            cluster.server.unwrap()
        };
        assert_eq!(of("10.96.0.1"), "https://10.96.0.1:443");
        assert_eq!(of("fd00::1"), "https://[fd00::1]:443");
        let error = service_account(Path::new("/sa"), |_| None).unwrap_err();
        assert!(
            error.contains("KUBERNETES_SERVICE_HOST is not set"),
            "{error}"
        );
    }

    #[test]
    fn impersonation_basic_and_what_is_not_supported() {
        let folder = tempfile::tempdir().unwrap();
        let read = |user: &str| Credentials::read(&kubeconfig(folder.path(), user));
        let credentials = read("{username: a, password: b, as: me, as-groups: [x, y]}").unwrap();
        assert_eq!(credentials.headers[AUTHORIZATION], "Basic YTpi");
        assert_eq!(credentials.headers["impersonate-user"], "me");
        let groups = credentials.headers.get_all("impersonate-group");
        assert_eq!(groups.iter().count(), 2);
        let error = read("{auth-provider: {name: gcp}}").unwrap_err();
        assert!(error.to_string().contains("auth-provider: gcp"), "{error}");
    }
}
