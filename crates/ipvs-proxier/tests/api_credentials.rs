//! Credentials that are rotated while connections live, and after the server has forgotten the old ones.
#![cfg(feature = "kube")]

mod follower;

use std::fs;
use std::path::Path;
use std::thread;

use follower::{A, B, Follower, NODE, kubeconfig, service, slice};
use ipvs_test_support::{ApiServer, Authority, Identity, Relay, TlsServer};

const WEB: &str = "10.96.0.10";

fn api() -> ApiServer {
    let api = ApiServer::start().unwrap();
    for object in [service("web", WEB), slice(A), NODE.into()] {
        api.put(&object).unwrap();
    }
    api
}

/// Something new, which only comes to who is let in.
fn comes_through(follower: &mut Follower, endpoints: &str, when: &str) {
    follower.server.put(&slice(endpoints)).unwrap();
    let wanted = if endpoints == A {
        "10.244.0.1:8080"
    } else {
        "10.244.0.2:8080"
    };
    follower.until(when, |follower| {
        follower.real_servers(WEB).unwrap() == [wanted]
    });
}

/// Whoever follows is refused, and says so.
fn is_refused(follower: &mut Follower) {
    let before = follower.server.requests().len();
    follower.server.end_watches();
    follower.until("refused", |follower| {
        follower.server.requests().len() >= before + 3
    });
    assert!(follower.serves(WEB), "the last state stays");
}

fn rename(folder: &Path, name: &str, text: &str) {
    let new = folder.join(".new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, folder.join(name)).unwrap();
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
}

/// How a file is written: in place or by renaming.
const WAYS: [fn(&Path, &str, &str); 2] = [rename, write];

/// A token in a file that ends in a newline, as `echo` makes it.
#[test]
fn a_token_is_rotated_while_connections_live_and_after_the_old_one_is_forgotten() {
    for way in WAYS {
        let server = api();
        server.know_only(&["one"]);
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "token", "one\n");
        let cluster = format!("{{server: '{}'}}", server.url());
        let access = kubeconfig(folder.path(), &cluster, "{tokenFile: token}");
        let mut follower = Follower::by(server, &access);
        follower.until("listed", |follower| follower.serves(WEB));
        // In time.
        way(folder.path(), "token", "two\n");
        follower.server.know_only(&["one", "two"]);
        while !follower.server.tokens().contains("two") {
            follower.server.end_watches();
            follower.step();
            thread::sleep(std::time::Duration::from_millis(50));
        }
        follower.server.know_only(&["two"]);
        comes_through(&mut follower, B, "rotated in time");
        // Too late.
        follower.server.know_only(&["three"]);
        is_refused(&mut follower);
        way(folder.path(), "token", "three\n");
        comes_through(&mut follower, A, "rotated too late");
        // What is no token leaves the last one in force.
        write(folder.path(), "token", "\n");
        follower.server.end_watches();
        comes_through(&mut follower, B, "no token");
    }
}

#[test]
fn a_kubeconfig_is_read_again_when_it_changes() {
    let server = api();
    server.know_only(&["one"]);
    let folder = tempfile::tempdir().unwrap();
    let cluster = format!("{{server: '{}'}}", server.url());
    let access = kubeconfig(folder.path(), &cluster, "{token: one}");
    let mut follower = Follower::by(server, &access);
    follower.until("listed", |follower| follower.serves(WEB));
    follower.server.know_only(&["two"]);
    is_refused(&mut follower);
    kubeconfig(folder.path(), &cluster, "{token: two}");
    comes_through(&mut follower, B, "another token");
    // Not read as one, or in the middle of being written.
    write(folder.path(), "kubeconfig", "clusters: {");
    follower.server.end_watches();
    comes_through(&mut follower, A, "no kubeconfig");
    // Another server, which knows the same.
    let relay = Relay::start(follower.server.address()).unwrap();
    let cluster = format!("{{server: 'http://{}'}}", relay.address());
    kubeconfig(folder.path(), &cluster, "{token: two}");
    while relay.connections() == 0 {
        follower.server.end_watches();
        follower.step();
        thread::sleep(std::time::Duration::from_millis(50));
    }
    comes_through(&mut follower, B, "another server");
}

/// Nothing ends the watches of the first server, and the versions of the second one are lower.
#[test]
fn another_server_in_a_kubeconfig_is_listed_anew_at_once() {
    let (first, second) = (api(), ApiServer::start().unwrap());
    for object in [service("web", "10.96.0.20"), NODE.into()] {
        second.put(&object).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let of = |server: &ApiServer| format!("{{server: '{}'}}", server.url());
    let access = kubeconfig(folder.path(), &of(&first), "{}");
    let mut follower = Follower::by(first, &access);
    follower.until("listed", |follower| follower.serves(WEB));
    kubeconfig(folder.path(), &of(&second), "{}");
    follower.until("the other server", |follower| {
        follower.serves("10.96.0.20") && !follower.serves(WEB)
    });
    // News of it come.
    second.put(&service("more", "10.96.0.21")).unwrap();
    follower.until("its news", |follower| follower.serves("10.96.0.21"));
}

#[test]
fn a_plugin_is_run_again_when_what_it_gave_expires_or_is_refused() {
    let server = api();
    let folder = tempfile::tempdir().unwrap();
    let give = |token: &str, expires: &str| {
        let text = format!(
            r#"{{"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": {{"token": "{token}"{expires}}}}}"#
        );
        rename(folder.path(), "credential", &text);
    };
    let path = folder.path().join("credential");
    let user = format!(
        "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: cat, args: ['{}'], interactiveMode: Never}}}}",
        path.display()
    );
    let cluster = format!("{{server: '{}'}}", server.url());
    let access = kubeconfig(folder.path(), &cluster, &user);
    server.know_only(&["one"]);
    give("one", "");
    let mut follower = Follower::by(server, &access);
    follower.until("listed", |follower| follower.serves(WEB));
    follower.server.know_only(&["two"]);
    is_refused(&mut follower);
    give("two", r#", "expirationTimestamp": "2020-01-01T00:00:00Z""#);
    comes_through(&mut follower, B, "refused");
    give("three", "");
    follower.server.know_only(&["two", "three"]);
    while !follower.server.tokens().contains("three") {
        follower.server.end_watches();
        follower.step();
        thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn certificates_of_client_and_authority_are_rotated_too() {
    let api = api();
    let old = Authority::new().unwrap();
    let server = TlsServer::start(api.address(), &old.issue("127.0.0.1").unwrap(), &old).unwrap();
    let relay = Relay::start(server.address()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let put = |identity: &Identity, way: fn(&Path, &str, &str)| {
        // One after the other: in between they do not belong together.
        way(folder.path(), "client.crt", &identity.certificate);
        thread::sleep(std::time::Duration::from_millis(700));
        way(folder.path(), "client.key", &identity.key);
    };
    let one = old.issue("one").unwrap();
    server.know_only(&[&one]).unwrap();
    put(&one, write);
    write(folder.path(), "ca.crt", &old.pem());
    let cluster = format!(
        "{{server: 'https://{}', certificate-authority: ca.crt}}",
        relay.address()
    );
    let user = "{client-certificate: client.crt, client-key: client.key}";
    let access = kubeconfig(folder.path(), &cluster, user);
    let mut follower = Follower::by(api, &access);
    follower.until("listed", |follower| follower.serves(WEB));
    for (way, endpoints) in WAYS.into_iter().zip([B, A]) {
        let two = old.issue("two").unwrap();
        server.know_only(&[&two]).unwrap();
        let before = relay.connections();
        follower.server.end_watches();
        follower.until("refused", |_| relay.connections() > before);
        put(&two, way);
        comes_through(&mut follower, endpoints, "another certificate");
    }
    // Another authority, while the connection lives; then that dies.
    let new = Authority::new().unwrap();
    let comes = |follower: &mut Follower, last: u8| {
        let ip = format!("10.96.0.{last}");
        follower
            .server
            .put(&service(&format!("s{last}"), &ip))
            .unwrap();
        follower.until("it lives", |follower| follower.serves(&ip));
    };
    // By a list perhaps, then by a watch.
    comes(&mut follower, 11);
    comes(&mut follower, 12);
    write(folder.path(), "ca.crt", &new.pem());
    comes(&mut follower, 13);
    server.show(&new.issue("127.0.0.1").unwrap(), &old).unwrap();
    relay.lose(Some(server.address()));
    comes_through(&mut follower, B, "another authority");
}
