//! A kubeconfig, or the service account of the pod as one, with the contents of the files that it names.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kube::config::{AuthInfo, Cluster, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext};
use secrecy::SecretString;

use super::access::{with_causes, with_clear_user};
use super::credential_files::{FileRead, LONGEST};
use super::credential_headers::bearer;
use super::origin::Part;
use super::proxy::Proxy;
use super::yaml::read_yamls;
use crate::files::{file_text, read_file};

/// Reads a kubeconfig. What is wrong with it is told by its place alone: both the lines and the values that an error of the
/// parser shows may hold tokens and keys.
pub(super) fn kubeconfig(path: &Path, files: &mut Vec<FileRead>) -> Result<Kubeconfig, String> {
    let bytes = read_file(path, LONGEST).map_err(|error| error.to_string())?;
    let text = file_text(&bytes).map_err(|error| error.to_string())?;
    let hidden = "this is no kubeconfig (the text is not shown, it may hold secrets)";
    let documents = read_yamls(text).map_err(|error| error.without_values(hidden))?;
    let merged = documents
        .into_iter()
        .try_fold(Kubeconfig::default(), Kubeconfig::merge);
    let kubeconfig = merged.map_err(|error| with_causes(&error))?;
    files.push(FileRead::new(Part::Kubeconfig, path, &bytes));
    Ok(kubeconfig)
}

/// A kubeconfig with one server and one user.
pub(super) fn of_server(url: String, user: AuthInfo, authority: Option<PathBuf>) -> Kubeconfig {
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
pub(super) fn service_account(
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

/// The chosen server and user alone, with the contents of their files in place of the names, which are relative to a folder;
/// and the proxy that the kubeconfig names, which is no longer in it.
pub(super) fn with_files(
    kubeconfig: Kubeconfig,
    folder: &Path,
    files: &mut Vec<FileRead>,
) -> Result<(Kubeconfig, Option<Proxy>), String> {
    let current = kubeconfig.current_context.as_deref().unwrap_or_default();
    let mut contexts = kubeconfig.contexts.iter();
    let context = contexts.find(|context| context.name == current);
    let context = context.and_then(|context| context.context.clone());
    // What is missing is told by whoever reads it.
    let Some(context) = context else {
        return Ok((kubeconfig, None));
    };
    let mut proxy = None;
    let mut chosen = kubeconfig;
    for named in &mut chosen.clusters {
        if let (true, Some(cluster)) = (named.name == context.cluster, &mut named.cluster) {
            cluster_files(cluster, folder, files)?;
            if let Some(server) = &mut cluster.server {
                *server =
                    with_clear_user(server).map_err(|problem| format!("server: {problem}"))?;
            }
            let url = cluster.proxy_url.take().filter(|url| !url.is_empty());
            let named = url.map(|url| Proxy::of_url("proxy-url", &url));
            proxy = proxy.or(named.transpose()?);
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
    Ok((chosen, proxy))
}

fn cluster_files(
    cluster: &mut Cluster,
    folder: &Path,
    files: &mut Vec<FileRead>,
) -> Result<(), String> {
    let path = cluster.certificate_authority.take();
    if let (None, Some(path)) = (&cluster.certificate_authority_data, path) {
        let text = contents(Part::Authority, &folder.join(path), files)?;
        cluster.certificate_authority_data = Some(BASE64_STANDARD.encode(text));
    }
    Ok(())
}

fn user_files(user: &mut AuthInfo, folder: &Path, files: &mut Vec<FileRead>) -> Result<(), String> {
    if let (None, Some(path)) = (
        &user.client_certificate_data,
        user.client_certificate.take(),
    ) {
        let text = contents(Part::Certificate, &folder.join(path), files)?;
        user.client_certificate_data = Some(BASE64_STANDARD.encode(text));
    }
    if let (None, Some(path)) = (&user.client_key_data, user.client_key.take()) {
        let text = contents(Part::Key, &folder.join(path), files)?;
        user.client_key_data = Some(BASE64_STANDARD.encode(text).into());
    }
    // It takes precedence over a token, which may be the one that it was made with.
    if let Some(path) = user.token_file.take() {
        let path = folder.join(path);
        let text = contents(Part::Token, &path, files)?;
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

fn contents(part: Part, path: &Path, files: &mut Vec<FileRead>) -> Result<Vec<u8>, String> {
    let name = path.display();
    let text = read_file(path, LONGEST).map_err(|error| format!("{name}: {error}"))?;
    if text.trim_ascii().is_empty() {
        return Err(format!("{name}: empty"));
    }
    files.push(FileRead::new(part, path, &text));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
