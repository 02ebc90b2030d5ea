//! Connections that die without a word, by HTTP/2 and TLS, with several servers behind one address.
#![cfg(feature = "kube")]

mod follower;

use std::thread;
use std::time::{Duration, Instant};

use follower::{A, B, Follower, NODE, kubeconfig, service, slice};
use ipvs_proxier::Source as _;
use ipvs_test_support::{ApiServer, Authority, Fault, Relay, TlsServer};
use tempfile::TempDir;

const WEB: &str = "10.96.0.10";

/// Two servers of one cluster behind one address, and who follows them.
struct Lab {
    follower: Follower,
    relay: Relay,
    servers: [TlsServer; 2],
    _folder: TempDir,
}

impl Lab {
    fn new(fault: Option<Fault>) -> Self {
        let api = ApiServer::start().unwrap();
        for object in [service("web", WEB), slice(A), NODE.into()] {
            api.put(&object).unwrap();
        }
        api.set_fault(fault);
        let authority = Authority::new().unwrap();
        let servers = [(); 2].map(|()| {
            let identity = authority.issue("127.0.0.1").unwrap();
            TlsServer::start(api.address(), &identity, &authority).unwrap()
        });
        let relay = Relay::start(servers[0].address()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), authority.pem()).unwrap();
        let server = relay.address();
        let cluster = format!("{{server: 'https://{server}', certificate-authority: ca.crt}}");
        let access = kubeconfig(folder.path(), &cluster, "{token: abc}");
        Self {
            follower: Follower::by(api, &access),
            relay,
            servers,
            _folder: folder,
        }
    }

    /// The connection dies; the address leads to the other server from now on.
    fn lose(&self) {
        self.relay.lose(Some(self.servers[1].address()));
    }

    fn asked(&self, words: &str) -> bool {
        let asked = self.follower.server.requests();
        asked.iter().any(|target| target.contains(words))
    }

    /// What is new comes through the other server.
    fn comes_through(&mut self, when: &str) {
        self.follower.server.put(&slice(B)).unwrap();
        let start = Instant::now();
        self.follower.until(when, |follower| {
            follower
                .real_servers(WEB)
                .is_some_and(|servers| servers == ["10.244.0.2:8080"])
        });
        println!("{when}: {:.1} s", start.elapsed().as_secs_f64());
        assert!(!self.servers[1].versions().is_empty());
    }
}

fn dead_at_watch() {
    let mut lab = Lab::new(None);
    lab.follower
        .until("listed", |follower| follower.serves(WEB));
    let versions: Vec<String> = lab.servers[0].versions().into_iter().collect();
    assert_eq!(versions, ["HTTP/2.0"]);
    assert_eq!(lab.relay.connections(), 1, "one does for everything");
    lab.lose();
    lab.comes_through("dead at watch");
}

fn dead_at_list() {
    let mut lab = Lab::new(Some(Fault::Slow(Duration::from_secs(2))));
    lab.follower.until("it asks", |_| true);
    while lab.relay.connections() == 0 || lab.servers[0].versions().is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    lab.lose();
    lab.follower.server.set_fault(None);
    assert!(!lab.follower.cluster.is_complete());
    lab.comes_through("dead at list");
}

fn dead_after_410() {
    let mut lab = Lab::new(None);
    lab.follower
        .until("listed", |follower| follower.serves(WEB));
    while !lab.asked("watch=true") {
        thread::sleep(Duration::from_millis(5));
    }
    lab.follower.server.forget_versions();
    // Before it is listed anew.
    lab.lose();
    lab.comes_through("dead after 410");
}

fn dead_while_connecting() {
    let mut lab = Lab::new(None);
    lab.relay.lose(None);
    // Perhaps it has connected already: it dies either way.
    let before = lab.relay.connections();
    lab.follower.until("it tries", |_| true);
    while lab.relay.connections() == before {
        thread::sleep(Duration::from_millis(20));
    }
    lab.lose();
    lab.comes_through("dead while connecting");
}

#[test]
fn a_connection_that_dies_is_noticed_whatever_it_was_in_and_another_server_is_asked() {
    thread::scope(|scope| {
        for test in [
            dead_at_watch,
            dead_at_list,
            dead_after_410,
            dead_while_connecting,
        ] {
            scope.spawn(test);
        }
    });
}
