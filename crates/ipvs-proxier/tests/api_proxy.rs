//! An API server that is reached by a proxy.
#![cfg(feature = "kube")]

mod follower;

use std::io::{BufRead as _, BufReader, Read as _, Write as _, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use follower::{A, B, Follower, NODE, kubeconfig, service, slice};
use ipvs_test_support::{ApiServer, Authority, TlsServer};

const WEB: &str = "10.96.0.10";

/// A proxy for this machine, which says what it was asked for.
struct Proxy {
    address: SocketAddr,
    asked: Receiver<String>,
}

impl Proxy {
    fn start(serve: fn(TcpStream, &Sender<String>) -> std::io::Result<()>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = channel();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, sender) = (client.unwrap(), sender.clone());
                // A connection that breaks is one.
                thread::spawn(move || serve(client, &sender));
            }
        });
        Self { address, asked }
    }
}

/// Both ways, until one of them ends.
fn relay(client: TcpStream, server: TcpStream) -> std::io::Result<()> {
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = copy(&mut from_client, &mut to_server);
        to_server.shutdown(Shutdown::Both)
    });
    let (mut from_server, mut to_client) = (server, client);
    copy(&mut from_server, &mut to_client)?;
    to_client.shutdown(Shutdown::Both)
}

fn by_connect(client: TcpStream, asked: &Sender<String>) -> std::io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let head: Vec<String> = lines
        .by_ref()
        .map_while(|line| line.ok().filter(|line| !line.is_empty()))
        .collect();
    let _ = asked.send(head.join("\n"));
    let mut client = client;
    if !head.contains(&"Proxy-Authorization: Basic bWU6aGlkZGVu".to_owned()) {
        return client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    }
    let server = TcpStream::connect(head[0].split(' ').nth(1).unwrap())?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    relay(client, server)
}

/// Asks for no user, or does not speak.
fn by_socks(client: TcpStream, asked: &Sender<String>) -> std::io::Result<()> {
    by_socks_of(0, client, asked)
}

/// Asks for a user, or does not speak.
fn by_socks_with_user(client: TcpStream, asked: &Sender<String>) -> std::io::Result<()> {
    by_socks_of(2, client, asked)
}

/// For a server that is an IPv4 address.
fn by_socks_of(method: u8, mut client: TcpStream, asked: &Sender<String>) -> std::io::Result<()> {
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting)?;
    let mut offered = vec![0; greeting[1].into()];
    client.read_exact(&mut offered)?;
    if !offered.contains(&method) {
        return client.write_all(&[5, 0xff]);
    }
    client.write_all(&[5, method])?;
    if method == 2 {
        let mut user = [0; 12];
        client.read_exact(&mut user)?;
        assert_eq!(user, *b"\x01\x02me\x07hid@den");
        client.write_all(&[1, 0])?;
    }
    let mut wanted = [0; 10];
    client.read_exact(&mut wanted)?;
    let [_, _, _, 1, a, b, c, d, high, low] = wanted else {
        return Ok(());
    };
    let server = SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])));
    let _ = asked.send(server.to_string());
    let to_server = TcpStream::connect(server)?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    relay(client, to_server)
}

fn api() -> ApiServer {
    let api = ApiServer::start().unwrap();
    for object in [service("web", WEB), slice(A), NODE.into()] {
        api.put(&object).unwrap();
    }
    api
}

fn comes_through(follower: &mut Follower) {
    follower.until("listed", |follower| follower.serves(WEB));
    follower.server.put(&slice(B)).unwrap();
    follower.until("watched", |follower| {
        follower.real_servers(WEB).unwrap() == ["10.244.0.2:8080"]
    });
}

#[test]
fn a_server_is_reached_by_the_proxy_that_the_kubeconfig_names() {
    for (scheme, serve) in [
        ("http://me:hidden@", by_connect as fn(_, &_) -> _),
        ("socks5://", by_socks),
        ("socks5://me:hid@den@", by_socks_with_user),
        ("socks5://me:hid@den@", by_socks),
    ] {
        let proxy = Proxy::start(serve);
        let api = api();
        let authority = Authority::new().unwrap();
        let identity = authority.issue("127.0.0.1").unwrap();
        let tls = TlsServer::start(api.address(), &identity, &authority).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), authority.pem()).unwrap();
        let (server, by) = (tls.address(), proxy.address);
        let cluster = format!(
            "{{server: 'https://{server}', certificate-authority: ca.crt, proxy-url: '{scheme}{by}'}}"
        );
        let access = kubeconfig(folder.path(), &cluster, "{token: abc}");
        let mut follower = Follower::by(api, &access);
        comes_through(&mut follower);
        let asked = proxy.asked.recv().unwrap();
        assert!(asked.contains(&server.to_string()), "{asked}");
        assert_eq!(tls.versions().into_iter().collect::<Vec<_>>(), ["HTTP/2.0"]);
    }
}

#[test]
fn a_server_without_tls_too() {
    let proxy = Proxy::start(by_connect);
    let api = api();
    let folder = tempfile::tempdir().unwrap();
    let (server, by) = (api.address(), proxy.address);
    let cluster = format!("{{server: 'http://{server}', proxy-url: 'http://me:hidden@{by}'}}");
    let access = kubeconfig(folder.path(), &cluster, "{token: abc}");
    comes_through(&mut Follower::by(api, &access));
    assert!(
        proxy
            .asked
            .recv()
            .unwrap()
            .starts_with(&format!("CONNECT {server} "))
    );
}
