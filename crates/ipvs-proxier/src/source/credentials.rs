//! Who the client is and whom it trusts: what a connection is made with, and its requests.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};
use kube::Config;
use kube::config::{AuthInfo, ExecConfig};
use secrecy::ExposeSecret as _;

use super::access::{Access, ClusterError, with_clear_user, without_user};
use super::credential_files::FileRead;
use super::credential_headers::{bearer, headers_of};
use super::kubeconfig::{kubeconfig, of_server, service_account, with_files};
use super::origin::{Origin, Part};
use super::proxy::{Proxy, with_explicit_port};

const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What a connection is made with, all of it in memory.
pub(super) struct Credentials {
    /// The server, whom to trust, and the client's certificate.
    pub(super) config: Config,
    /// On the way to the server.
    pub(super) proxy: Option<Proxy>,
    /// `Authorization`, where it needs no plugin, and whom to impersonate.
    pub(super) headers: HeaderMap,
    /// The program that knows more.
    pub(super) plugin: Option<ExecConfig>,
    /// What was read: when one of them changes all are read again.
    pub(super) files: Vec<FileRead>,
    /// In the words of a log.
    pub(super) origin: Arc<Origin>,
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
        let wrong = |reason: String| access.wrong(reason);
        let kubeconfig = match (&access.kubeconfig, &access.master) {
            (Some(path), _) => kubeconfig(path, &mut files).map_err(wrong)?,
            (None, Some(url)) => of_server(url.clone(), AuthInfo::default(), None),
            (None, None) => {
                service_account(Path::new(SERVICE_ACCOUNT), |name| std::env::var(name).ok())
                    .map_err(wrong)?
            }
        };
        let folder = access.kubeconfig.as_deref().and_then(Path::parent);
        let folder = folder.unwrap_or_else(|| Path::new(""));
        let (kubeconfig, proxy) = with_files(kubeconfig, folder, &mut files).map_err(wrong)?;
        let mut config = Config::try_from(kubeconfig).map_err(|error| access.unusable(&error))?;
        if let (Some(_), Some(master)) = (&access.kubeconfig, &access.master) {
            let clear = with_clear_user(master);
            let clear = clear.map_err(|problem| wrong(format!("--master: {problem}")))?;
            let url = clear.parse();
            config.cluster_url = url.map_err(|error| access.unusable(&error))?;
        }
        let proxy = match proxy {
            Some(proxy) => Some(proxy),
            None => Proxy::of_environment(|name| std::env::var(name).ok(), &config.cluster_url)
                .map_err(wrong)?,
        };
        if proxy.is_some() {
            config.cluster_url = with_explicit_port(config.cluster_url);
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
        let plugin = plugin.filter(|_| !has_own);
        let parts = files.iter().map(|file| (file.part, file.path.clone()));
        let command = plugin.as_ref().and_then(|plugin| plugin.command.as_ref());
        let command = command.map(|command| (Part::Plugin, PathBuf::from(command)));
        let origin = Origin {
            server: without_user(&config.cluster_url.to_string()),
            proxy: proxy.as_ref().map(Proxy::name),
            parts: parts.chain(command).collect(),
        };
        Ok(Self {
            config,
            proxy,
            headers,
            plugin,
            files,
            origin: Arc::new(origin),
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
        let other_proxy = &other.proxy;
        let (this, other) = (&self.config, &other.config);
        self.proxy == *other_proxy
            && this.cluster_url == other.cluster_url
            && this.root_cert == other.root_cert
            && this.accept_invalid_certs == other.accept_invalid_certs
            && this.tls_server_name == other.tls_server_name
            && this.auth_info.client_certificate_data == other.auth_info.client_certificate_data
            && key(this) == key(other)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::super::credential_files::LONGEST;
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
            b"clusters: [{name: a, cluster: {proxy-url: 'ftp://me:hidden@proxy'}}]\n\
            contexts: [{name: a, context: {cluster: a}}]\ncurrent-context: a\n",
        );
        assert!(
            proxy.contains("proxy-url: ") && !proxy.contains("hidden"),
            "{proxy}"
        );
    }

    #[test]
    fn a_user_of_a_server_is_never_taken_for_its_host() {
        let folder = tempfile::tempdir().unwrap();
        let good = kubeconfig(folder.path(), "{}");
        for url in ["https://me:12/hidden@host", "https://me:12#hidden@host"] {
            let master = Some(url.to_owned());
            let alone = Access {
                master: master.clone(),
                ..Access::default()
            };
            let beside = Access {
                master,
                ..good.clone()
            };
            for access in [alone, beside] {
                let told = Credentials::read(&access).unwrap_err().to_string();
                assert!(told.contains("an @ comes after the host"), "{told}");
                assert!(!told.contains("me:") && !told.contains("hid"), "{told}");
            }
        }
        let access = Access {
            master: Some("https://me:p@ss@host:1".to_owned()),
            ..good
        };
        let credentials = Credentials::read(&access).unwrap();
        assert_eq!(credentials.config.cluster_url.host(), Some("host"));
        assert_eq!(credentials.origin.server, "https://host:1/");
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
