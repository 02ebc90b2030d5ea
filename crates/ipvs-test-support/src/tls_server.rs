use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Who signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// As PEM.
    pub certificate: String,
    /// As PEM.
    pub key: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer })
    }

    /// Its certificate, as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Signs a new certificate for a name or an address.
    ///
    /// # Errors
    /// When it is neither.
    pub fn issue(&self, name: &str) -> Result<Identity> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// A server before another one, which it asks: with certificates, by HTTP/2 or HTTP/1.1 as the client wants.
#[derive(Debug, Clone)]
pub struct TlsServer {
    address: SocketAddr,
    behind: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    config: Option<Arc<ServerConfig>>,
    /// Certificates that are let in, as DER; everybody, if none.
    known: Option<BTreeSet<Vec<u8>>>,
    versions: BTreeSet<String>,
}

impl TlsServer {
    /// Serves on a free port of 127.0.0.1 until the process ends, as `identity`, which may be another one later. Clients show
    /// certificates of this authority, or none.
    ///
    /// # Errors
    /// When nothing can be bound, or the certificates are none.
    pub fn start(behind: SocketAddr, identity: &Identity, clients: &Authority) -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
        listener.set_nonblocking(true)?;
        let server = Self {
            address: listener.local_addr()?,
            behind,
            state: Arc::default(),
        };
        server.show(identity, clients)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let serving = server.clone();
        thread::spawn(move || runtime.block_on(serving.accept(listener)));
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The versions of HTTP that were spoken.
    #[must_use]
    pub fn versions(&self) -> BTreeSet<String> {
        self.state().versions.clone()
    }

    /// Shows another certificate to new connections.
    ///
    /// # Errors
    /// When the certificates are none.
    pub fn show(&self, identity: &Identity, clients: &Authority) -> Result<()> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(clients.pem().as_bytes())?)?;
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
            .allow_unauthenticated()
            .build()?;
        let mut config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(
                    identity.certificate.as_bytes(),
                )?],
                PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?,
            )?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        self.state().config = Some(Arc::new(config));
        Ok(())
    }

    /// Lets in who shows one of these certificates, and refuses everybody else from now on (401), on connections that are there
    /// too.
    ///
    /// # Errors
    /// When one is none.
    pub fn know_only(&self, identities: &[&Identity]) -> Result<()> {
        let der = |identity: &&Identity| {
            let der = CertificateDer::from_pem_slice(identity.certificate.as_bytes())?;
            anyhow::Ok(der.to_vec())
        };
        let known: Result<_> = identities.iter().map(der).collect();
        self.state().known = Some(known?);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn accept(self, listener: std::net::TcpListener) {
        let Ok(listener) = TcpListener::from_std(listener) else {
            return;
        };
        while let Ok((stream, _)) = listener.accept().await {
            let server = self.clone();
            tokio::spawn(async move { server.serve(stream).await });
        }
    }

    async fn serve(self, stream: TcpStream) {
        let config = self.state().config.clone();
        let Some(config) = config else { return };
        let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else {
            return;
        };
        let certificates = stream.get_ref().1.peer_certificates();
        let shown = certificates.and_then(|all| all.first().map(|one| one.to_vec()));
        let answer = service_fn(|request| {
            let is_known = self.meets(&shown, &request);
            self.clone().answer(is_known, request)
        });
        let builder = auto::Builder::new(TokioExecutor::new());
        // The client went, or never spoke HTTP.
        let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
    }

    fn meets(&self, shown: &Option<Vec<u8>>, request: &Request<Incoming>) -> bool {
        let mut state = self.state();
        state.versions.insert(format!("{:?}", request.version()));
        let known = state.known.as_ref();
        known.is_none_or(|known| shown.as_ref().is_some_and(|shown| known.contains(shown)))
    }

    async fn answer(
        self,
        is_known: bool,
        request: Request<Incoming>,
    ) -> Result<Response<BoxBody<Bytes, hyper::Error>>, Infallible> {
        let answered = if is_known {
            self.pass_on(request).await
        } else {
            Ok(refusal(401, "Unauthorized"))
        };
        Ok(answered.unwrap_or_else(|_| refusal(502, "BadGateway")))
    }

    async fn pass_on(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<BoxBody<Bytes, hyper::Error>>> {
        let stream = TcpStream::connect(self.behind).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let (head, body) = request.into_parts();
        let body = Full::new(body.collect().await?.to_bytes());
        let target = head.uri.path_and_query().context("no path")?.as_str();
        let mut request = Request::builder().method(head.method).uri(target);
        for (name, value) in &head.headers {
            request = request.header(name, value);
        }
        let response = sender.send_request(request.body(body)?).await?;
        let (mut head, body) = response.into_parts();
        // It belongs to the connection behind.
        head.headers.remove("transfer-encoding");
        Ok(Response::from_parts(head, body.boxed()))
    }
}

fn refusal(code: u16, reason: &str) -> Response<BoxBody<Bytes, hyper::Error>> {
    let text = format!(
        r#"{{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": {code}, "reason": "{reason}", "message": "as the test wants it"}}"#
    );
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {});
    let mut response = Response::new(body.boxed());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or_default();
    response
}
