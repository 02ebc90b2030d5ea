//! How the API server is connected to, so that a connection that is dead is never waited for.

use std::error::Error;
use std::time::Duration;

use http_body_util::Full;
use hyper::Uri;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::Config;
use kube::client::ConfigExt as _;
use tokio::net::TcpStream;
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt as _, service_fn};

use super::proxy::{Protocol, Proxy};

/// TCP, or TLS to a proxy.
type Transport = MaybeHttpsStream<TokioIo<TcpStream>>;
type Stream = MaybeHttpsStream<Transport>;
type Connector<S> = BoxCloneSyncService<Uri, S, BoxError>;
pub(super) type Connection = Client<Connector<Stream>, Full<Bytes>>;

/// A connection that brought nothing for so long is asked whether it lives: by a ping of HTTP/2, which the server itself
/// answers, also behind a relay, and by a probe of TCP, which the next hop answers.
const SILENT: Duration = Duration::from_secs(6);
/// What a ping, or bytes that were sent, may take to be answered. Together: a dead connection is noticed after 17 s.
const UNANSWERED: Duration = Duration::from_secs(11);
/// Between probes of TCP, and how many.
const PROBES: (Duration, u32) = (Duration::from_secs(3), 3);
/// For all addresses that a name has, with the handshake of TLS.
const CONNECT: Duration = Duration::from_secs(15);
/// A name can have several servers: one that does not answer leaves time for the others.
const CONNECT_TCP: Duration = Duration::from_secs(9);

/// Connects when there is something to send, and again when a connection is gone. One connection of HTTP/2 does for
/// everything.
pub(super) fn connection(
    config: &Config,
    proxy: Option<&Proxy>,
) -> Result<Connection, Box<dyn Error + Send + Sync>> {
    let transport = match proxy {
        None => plain(tcp()),
        Some(proxy) => by_proxy(config, proxy)?,
    };
    let mut tls = HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config()?)
        .https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name.clone().try_into()?;
        tls = tls.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let connector = tls.enable_all_versions().wrap_connector(transport);
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        // A connection of HTTP/2 looks idle to the pool while watches are open on it.
        .pool_idle_timeout(None)
        .pool_max_idle_per_host(1)
        .http2_keep_alive_interval(SILENT)
        .http2_keep_alive_timeout(UNANSWERED);
    Ok(builder.build(BoxCloneSyncService::new(Timeout::new(connector, CONNECT))))
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TCP));
    tcp.set_keepalive(Some(SILENT));
    tcp.set_keepalive_interval(Some(PROBES.0));
    tcp.set_keepalive_retries(Some(PROBES.1));
    tcp.set_tcp_user_timeout(Some(UNANSWERED));
    tcp
}

/// A connector of TCP among those that may use TLS.
fn plain<C>(connector: C) -> Connector<Transport>
where
    C: Service<Uri, Response = TokioIo<TcpStream>> + Clone + Send + Sync + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send,
{
    BoxCloneSyncService::new(
        connector
            .map_response(MaybeHttpsStream::Http)
            .map_err(Into::into),
    )
}

/// A proxy by TLS is trusted as the server is, as client-go does.
fn by_proxy(
    config: &Config,
    proxy: &Proxy,
) -> Result<Connector<Transport>, Box<dyn Error + Send + Sync>> {
    let (uri, credentials) = (proxy.uri().clone(), proxy.credentials());
    let basic = credentials.basic_auth().cloned();
    Ok(match proxy.protocol() {
        Protocol::Http => plain(with_auth(Tunnel::new(uri, tcp()), basic)),
        Protocol::Https => {
            let tls = HttpsConnectorBuilder::new()
                .with_tls_config(config.rustls_client_config()?)
                .https_only()
                .enable_http1()
                .wrap_connector(tcp());
            let tunnel = with_auth(Tunnel::new(uri, tls), basic);
            BoxCloneSyncService::new(tunnel.map_err(Into::into))
        }
        Protocol::Socks5 => {
            let socks = SocksV5::new(uri, tcp());
            let Some((user, password)) = credentials.raw_auth() else {
                return Ok(plain(socks));
            };
            let by_user = socks.clone();
            let by_user = by_user.with_auth(user.to_owned(), password.to_owned());
            first_or(plain(by_user), plain(socks))
        }
    })
}

/// By the second one where the first one fails; the error is that of the first. A proxy of SOCKS may want no user although
/// there is one, and is offered one method at a time.
fn first_or(first: Connector<Transport>, second: Connector<Transport>) -> Connector<Transport> {
    BoxCloneSyncService::new(service_fn(move |uri: Uri| {
        let (first, second) = (first.clone(), second.clone());
        async move {
            match first.oneshot(uri.clone()).await {
                Ok(transport) => Ok(transport),
                Err(error) => second.oneshot(uri).await.map_err(|_second| error),
            }
        }
    }))
}

fn with_auth<C>(tunnel: Tunnel<C>, auth: Option<HeaderValue>) -> Tunnel<C> {
    match auth {
        Some(auth) => tunnel.with_auth(auth),
        None => tunnel,
    }
}
