//! A proxy on the way to the API server: `proxy-url` of a kubeconfig, or the environment's.

use hyper::Uri;
use hyper::http::uri::Scheme;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use super::access::{with_clear_user, without_user};

/// What SOCKS listens on where a URL says no port.
const SOCKS_PORT: u16 = 1080;

/// A proxy, with the user and the password that it asks for. Neither is ever shown.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    uri: Uri,
    intercept: Intercept,
}

/// How a proxy is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP's `CONNECT`.
    Http,
    /// The same by TLS.
    Https,
    Socks5,
}

impl PartialEq for Proxy {
    fn eq(&self, other: &Self) -> bool {
        let parts = |proxy: &Self| {
            let basic = proxy.intercept.basic_auth().cloned();
            let raw = proxy.intercept.raw_auth();
            let raw = raw.map(|(user, password)| (user.to_owned(), password.to_owned()));
            (proxy.uri.clone(), basic, raw)
        };
        parts(self) == parts(other)
    }
}

impl Proxy {
    /// That of a URL. `source` says where it stands.
    ///
    /// # Errors
    /// For what is no such URL. It is not shown: it may hold a password.
    pub(super) fn of_url(source: &str, url: &str) -> Result<Self, String> {
        let url = with_clear_user(url).map_err(|problem| format!("{source}: {problem}"))?;
        let any = Uri::from_static("http://host/");
        let found = Matcher::builder().all(url).build().intercept(&any);
        let proxy = found.and_then(|intercept| {
            let uri = intercept.uri().clone();
            let uri = match protocol(&uri)? {
                Protocol::Socks5 => with_port(uri, SOCKS_PORT)?,
                Protocol::Http | Protocol::Https => uri,
            };
            Some(Self { uri, intercept })
        });
        proxy.ok_or_else(|| {
            format!(
                "{source}: not the URL of a proxy: expected http://, https:// or socks5://HOST:PORT"
            )
        })
    }

    /// That of the environment for a server, as Go's programs choose it (but that `.x` in `NO_PROXY` is `x` too): none for this machine itself, nor for what `NO_PROXY`
    /// names.
    ///
    /// # Errors
    /// For a value that is no URL of a proxy.
    pub(super) fn of_environment(
        variable: impl Fn(&str) -> Option<String>,
        server: &Uri,
    ) -> Result<Option<Self>, String> {
        let (upper, lower) = match server.scheme_str() {
            Some("http") => ("HTTP_PROXY", "http_proxy"),
            _ => ("HTTPS_PROXY", "https_proxy"),
        };
        let value = |name| Some((name, variable(name).filter(|value| !value.is_empty())?));
        let Some((name, url)) = value(upper).or_else(|| value(lower)) else {
            return Ok(None);
        };
        let host = server.host().unwrap_or_default();
        let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        if host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback()) {
            return Ok(None);
        }
        let none = value("NO_PROXY").or_else(|| value("no_proxy"));
        let none = none.map_or_else(String::new, |(_, none)| none);
        let usual = if upper == "HTTP_PROXY" { 80 } else { 443 };
        let port = server.port_u16().unwrap_or(usual);
        let names = none
            .split(',')
            .filter_map(|name| of_port(name.trim(), port));
        let names: Vec<&str> = names.collect();
        // Also for a server that is named by its address.
        if names.contains(&"*") {
            return Ok(None);
        }
        let none = names.join(",");
        let all = Matcher::builder().all("http://proxy/").no(none).build();
        if all.intercept(server).is_none() {
            return Ok(None);
        }
        Self::of_url(name, &url).map(Some)
    }

    pub(super) const fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) fn protocol(&self) -> Protocol {
        // It has been looked at.
        protocol(&self.uri).unwrap_or(Protocol::Http)
    }

    pub(super) const fn credentials(&self) -> &Intercept {
        &self.intercept
    }

    /// For a log.
    pub(super) fn name(&self) -> String {
        without_user(&self.uri.to_string())
    }
}

/// A name of `NO_PROXY` without its port, if it has none or this one.
fn of_port(name: &str, port: u16) -> Option<&str> {
    match name.rsplit_once(':') {
        // Not the last part of an IPv6 address.
        Some((host, number)) if !host.contains(':') || host.ends_with(']') => {
            let is_this = number.parse().is_ok_and(|number: u16| number == port);
            is_this.then(|| host.trim_matches(['[', ']']))
        }
        _ => Some(name.trim_matches(['[', ']'])),
    }
}

fn protocol(uri: &Uri) -> Option<Protocol> {
    match uri.scheme_str()? {
        "http" => Some(Protocol::Http),
        "https" => Some(Protocol::Https),
        "socks5" | "socks5h" => Some(Protocol::Socks5),
        _ => None,
    }
}

/// A proxy is told the port of the server, and takes that of TLS where none is said.
pub(super) fn with_explicit_port(server: Uri) -> Uri {
    if server.scheme() != Some(&Scheme::HTTP) {
        return server;
    }
    with_port(server.clone(), 80).unwrap_or(server)
}

fn with_port(uri: Uri, port: u16) -> Option<Uri> {
    if uri.port().is_some() {
        return Some(uri);
    }
    let mut parts = uri.into_parts();
    let authority = format!("{}:{port}", parts.authority?);
    parts.authority = Some(authority.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(server: &'static str, variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let variable = |name: &str| {
            let known = variables.iter().find(|(known, _)| *known == name);
            known.map(|(_, value)| (*value).to_owned())
        };
        let proxy = Proxy::of_environment(variable, &Uri::from_static(server))?;
        Ok(proxy.map(|proxy| proxy.name()))
    }

    #[test]
    fn the_environment_names_a_proxy_for_each_scheme() {
        let (https, http) = (("HTTPS_PROXY", "proxy:1"), ("http_proxy", "http://other:2"));
        let both = [https, http];
        let proxy = |name: &str| Ok(Some(name.to_owned()));
        assert_eq!(of("https://10.96.0.1/", &both), proxy("http://proxy:1/"));
        assert_eq!(of("http://10.96.0.1/", &both), proxy("http://other:2/"));
        assert_eq!(of("http://10.96.0.1/", &[https]), Ok(None));
        assert_eq!(of("https://10.96.0.1/", &[("HTTPS_PROXY", "")]), Ok(None));
        for server in [
            "https://localhost:6443/",
            "https://127.0.0.9/",
            "https://[::1]/",
        ] {
            assert_eq!(of(server, &both), Ok(None), "{server}");
        }
        for (no, is_direct) in [
            ("*", true),
            ("other, * ", true),
            ("10.96.0.1:443", true),
            ("10.96.0.1:6443", false),
            ("10.96.0.1", true),
            ("[fd00::1]:443", false),
        ] {
            let direct = of("https://10.96.0.1/", &[https, ("NO_PROXY", no)]);
            assert_eq!(direct.unwrap().is_none(), is_direct, "{no}");
        }
        let no = (
            "NO_PROXY",
            "10.0.0.0/8, .cluster.local,fd00::/8,api.example:6443,[fe00::1]:6443",
        );
        for (server, is_direct) in [
            ("https://api.example:6443/", true),
            ("https://api.example/", false),
            ("https://[fe00::1]:6443/", true),
            ("https://[fe00::1]/", false),
            ("https://10.96.0.1/", true),
            ("https://api.cluster.local/", true),
            ("https://[fd00::1]/", true),
            ("https://11.0.0.1/", false),
        ] {
            assert_eq!(
                of(server, &[https, no]).unwrap().is_none(),
                is_direct,
                "{server}"
            );
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_its_secret() {
        for url in [
            "ftp://a:hidden@b",
            "socks4://hidden@b",
            "http://",
            "hidden b",
            "http://hid den",
        ] {
            let told = Proxy::of_url("proxy-url", url).unwrap_err();
            assert!(
                told.starts_with("proxy-url: not the URL of a proxy") && !told.contains("hid"),
                "{told}"
            );
            assert!(of("https://10.0.0.1/", &[("https_proxy", url)]).is_err());
        }
        for url in [
            "http://me:12/hidden@proxy:1",
            "socks5://me:12#hidden@proxy",
            "https://me:12?hidden@proxy",
            "me:12/hidden@proxy",
        ] {
            let told = Proxy::of_url("proxy-url", url).unwrap_err();
            assert!(
                told.starts_with("proxy-url: an @ comes after the host"),
                "{told}"
            );
            assert!(!told.contains("me:") && !told.contains("hid"), "{told}");
        }
        let whole = Proxy::of_url("proxy-url", "socks5://me@b:p@ss@proxy:1").unwrap();
        assert_eq!(whole.name(), "socks5://proxy:1/");
        assert_eq!(whole.credentials().raw_auth(), Some(("me@b", "p@ss")));
        let proxy = Proxy::of_url("proxy-url", "http://me:hidden@proxy:1").unwrap();
        assert!(!format!("{proxy:?} {}", proxy.name()).contains("hidden"));
        assert!(proxy.credentials().basic_auth().is_some());
        let socks = Proxy::of_url("proxy-url", "socks5://proxy").unwrap();
        assert_eq!(
            (socks.name().as_str(), socks.protocol()),
            ("socks5://proxy:1080/", Protocol::Socks5)
        );
        let other = Proxy::of_url("proxy-url", "http://me:other@proxy:1").unwrap();
        assert!(proxy != other && proxy == proxy.clone());
    }

    #[test]
    fn a_proxy_is_told_the_port() {
        for (server, with) in [
            ("http://host/a", "http://host:80/a"),
            ("http://[fd00::1]/", "http://[fd00::1]:80/"),
            ("http://host:1/", "http://host:1/"),
            ("https://host/", "https://host/"),
        ] {
            assert_eq!(with_explicit_port(Uri::from_static(server)), with);
        }
    }
}
