//! The Kubernetes API as a source, against a server in this process.
#![cfg(feature = "kube")]

mod follower;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use follower::{A, B, Follower, NODE, PATIENCE, kubeconfig, service, slice};
use ipvs_proxier::{
    About, Access, ApiObserver, ApiRequest, Cluster, ClusterError, Nodes, Notice, Source as _,
    Trigger,
};
use ipvs_test_support::{ApiServer, Fault};

#[test]
fn row_149_objects_are_listed_completely_and_then_followed() {
    let objects = [service("web", "10.96.0.10"), slice(A), NODE.into()];
    let mut follower = Follower::new(&objects);
    assert!(!follower.cluster.is_complete(), "nothing is known yet");
    follower.until("listed", |follower| follower.serves("10.96.0.10"));
    assert_eq!(
        follower.real_servers("10.96.0.10").unwrap(),
        ["10.244.0.1:8080"],
        "one sync, with everything"
    );
    follower.server.put(&slice(&format!("{A}, {B}"))).unwrap();
    follower.until("another endpoint", |follower| {
        follower.real_servers("10.96.0.10").unwrap().len() == 2
    });
    follower.server.put(&service("new", "10.96.0.11")).unwrap();
    follower.until("another service", |follower| follower.serves("10.96.0.11"));
    follower.server.delete("Service", "new", true);
    follower.until("a service less", |follower| !follower.serves("10.96.0.11"));
    let asked = follower.server.requests().join("\n");
    for words in [
        "/api/v1/services?",
        "fieldSelector=spec.clusterIP%21%3DNone",
        "labelSelector=%21service.kubernetes.io%2Fservice-proxy-name",
        "/apis/discovery.k8s.io/v1/endpointslices?",
        "labelSelector=%21service.kubernetes.io%2Fheadless",
        "fieldSelector=metadata.name%3Dn1",
        "allowWatchBookmarks=true",
    ] {
        assert!(asked.contains(words), "{words} in\n{asked}");
    }
}

#[test]
fn the_client_says_what_it_is() {
    let server = ApiServer::start().unwrap();
    server.put(NODE).unwrap();
    let access = Access {
        master: Some(server.url()),
        program: Some("kube-proxy-ipvs/1.2.3".to_owned()),
        ..Access::default()
    };
    let mut follower = Follower::by(server, &access);
    follower.until("listed", |follower| follower.cluster.is_complete());
    for agent in follower.server.agents() {
        assert!(
            agent.starts_with("kube-proxy-ipvs/1.2.3 (linux/"),
            "{agent}"
        );
        assert!(agent.contains(") ipvs-proxier/"), "{agent}");
    }
}

/// Each kind of objects is asked for before the first request is given up, and asked for again.
#[test]
fn a_first_request_without_an_answer_holds_up_no_other() {
    let server = ApiServer::start().unwrap();
    server.set_fault(Some(Fault::Swallowed));
    let mut follower = Follower::of(server);
    let kinds = ["/services?", "/endpointslices?", "/nodes?"];
    let is_asked = |asked: &[String], kind: &str| asked.iter().any(|path| path.contains(kind));
    follower.until("all are asked for", |follower| {
        let asked = follower.server.requests();
        kinds.iter().all(|kind| is_asked(&asked, kind))
    });
    let asked = follower.server.requests();
    assert_eq!(asked.len(), kinds.len(), "{asked:?}");
}

/// Method, host and status of a request.
type Seen = (String, String, Option<u16>);

#[derive(Debug, Clone, Default)]
struct Observer(Arc<Mutex<BTreeSet<Seen>>>);

impl ApiObserver for Observer {
    fn requested(&self, request: &ApiRequest<'_>) {
        let ApiRequest {
            method, host, code, ..
        } = *request;
        let seen = (method.to_owned(), host.to_owned(), code);
        self.0.lock().unwrap().insert(seen);
    }
}

#[test]
fn every_request_is_observed() {
    let server = ApiServer::start().unwrap();
    server.set_away(true);
    let access = Access {
        master: Some(server.url()),
        ..Access::default()
    };
    let observer = Observer::default();
    let mut cluster =
        Cluster::connect_observed(&access, Nodes::All, observer.clone(), || {}).unwrap();
    let host = server.address().to_string();
    let until = |method: &str, code: Option<u16>| {
        let wanted = (method.to_owned(), host.clone(), code);
        let start = Instant::now();
        while !observer.0.lock().unwrap().contains(&wanted) {
            assert!(start.elapsed() < PATIENCE, "no {wanted:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    until("GET", None);
    server.set_away(false);
    until("GET", Some(200));
    cluster.tell(Notice {
        about: About::Node("n1".into()),
        is_warning: false,
        reason: "Starting",
        action: "StartKubeProxy",
        note: String::new(),
    });
    until("POST", Some(201));
    server.know_only(&[]);
    server.end_watches();
    until("GET", Some(401));
}

/// The selector by cluster IP is younger than the objects.
#[test]
fn an_old_server_is_asked_for_headless_services_too() {
    let server = ApiServer::start().unwrap();
    server.set_fault(Some(Fault::Old));
    for object in [
        service("none", "None"),
        service("web", "10.96.0.10"),
        slice(A),
        NODE.into(),
    ] {
        server.put(&object).unwrap();
    }
    let mut follower = Follower::of(server);
    follower.until("listed", |follower| follower.serves("10.96.0.10"));
    follower.server.put(&service("new", "10.96.0.11")).unwrap();
    follower.until("watched", |follower| follower.serves("10.96.0.11"));
    assert_eq!(follower.problems, [""; 0]);
    assert_eq!(follower.node.plane().state().virtual_servers.len(), 2);
}

#[test]
fn after_410_everything_is_listed_again_and_nothing_goes_in_between() {
    let objects = [
        service("web", "10.96.0.10"),
        service("old", "10.96.0.11"),
        slice(A),
        NODE.into(),
    ];
    let mut follower = Follower::new(&objects);
    follower.until("listed", |follower| follower.serves("10.96.0.11"));
    // It goes without anybody being told.
    follower.server.delete("Service", "old", false);
    follower.server.forget_versions();
    follower.until("listed again", |follower| {
        assert!(follower.serves("10.96.0.10"), "what stays is never removed");
        !follower.serves("10.96.0.11")
    });
    follower.server.put(&slice(B)).unwrap();
    follower.until("watched again", |follower| {
        follower.real_servers("10.96.0.10").unwrap() == ["10.244.0.2:8080"]
    });
}

#[test]
fn while_the_server_is_away_the_last_state_stays() {
    let objects = [service("web", "10.96.0.10"), slice(A), NODE.into()];
    let mut follower = Follower::new(&objects);
    follower.until("listed", |follower| follower.serves("10.96.0.10"));
    follower.server.set_away(true);
    follower.until("noticed", |follower| !follower.cluster.is_connected());
    assert!(follower.serves("10.96.0.10"));
    assert!(follower.cluster.is_complete());
    follower.server.put(&slice(&format!("{A}, {B}"))).unwrap();
    follower.server.set_away(false);
    follower.until("back", |follower| {
        follower.real_servers("10.96.0.10").unwrap().len() == 2
    });
    follower.until("all watches are back", |follower| {
        follower.cluster.is_connected()
    });
}

#[test]
fn an_impossible_object_changes_nothing_and_is_named() {
    let objects = [service("web", "10.96.0.10"), slice(A), NODE.into()];
    let mut follower = Follower::new(&objects);
    follower.until("listed", |follower| follower.serves("10.96.0.10"));
    let broken = service("web", "10.96.0.10").replace(r#""port": 80"#, r#""port": 70000"#);
    follower.server.put(&broken).unwrap();
    follower.until("named", |follower| !follower.problems.is_empty());
    assert_eq!(
        follower.problems,
        ["Service ns/web: spec.ports[0].port: 70000: a port is 1 to 65535"]
    );
    assert!(follower.serves("10.96.0.10"));
}

#[test]
fn access_that_cannot_be_used_says_why() {
    let connect = |kubeconfig: &str| {
        let access = Access {
            kubeconfig: Some(kubeconfig.into()),
            ..Access::default()
        };
        Cluster::connect(&access, Nodes::All, || {}).unwrap_err()
    };
    let error = connect("/no/such/kubeconfig");
    assert!(matches!(error, ClusterError::Access { .. }));
    let text = error.to_string();
    assert!(
        text.starts_with("/no/such/kubeconfig: ") && text.contains("No such file"),
        "{text}"
    );
    // What is no certificate would never connect: better to end than to wait for it.
    let folder = tempfile::tempdir().unwrap();
    let user = "{client-certificate-data: bm9uZQ==, client-key-data: bm9uZQ==}";
    let access = kubeconfig(folder.path(), "{server: 'https://127.0.0.1'}", user);
    let text = connect(access.kubeconfig.unwrap().to_str().unwrap()).to_string();
    assert!(text.contains("key"), "{text}");
}

#[test]
fn row_026_notices_become_events() {
    let mut follower = Follower::new(&[NODE.into()]);
    follower.cluster.tell(Notice {
        about: About::Node("n1".into()),
        is_warning: true,
        reason: "IPVSDeprecation",
        action: "StartKubeProxy",
        note: "going".into(),
    });
    follower.until("an event", |follower| !follower.server.events().is_empty());
    let event = &follower.server.events()[0];
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["reason"], "IPVSDeprecation");
    assert_eq!(event["regarding"]["kind"], "Node");
    assert_eq!(event["regarding"]["name"], "n1");
    assert_eq!(event["reportingController"], "kube-proxy");
    let instance = event["reportingInstance"].as_str().unwrap();
    assert!(instance.starts_with("kube-proxy-"), "{instance}");
    let asked = follower.server.requests();
    assert!(asked.contains(&"/apis/events.k8s.io/v1/namespaces/default/events".to_owned()));
}

#[test]
fn row_148_a_trigger_counts_once_however_often_its_slice_comes() {
    let time = "2026-01-02T03:04:05.678901234Z";
    let annotated = |endpoints: &str, time: &str| {
        let annotations = format!(
            r#""metadata": {{"annotations": {{"endpoints.kubernetes.io/last-change-trigger-time": "{time}"}}, "#
        );
        slice(endpoints).replacen(r#""metadata": {"#, &annotations, 1)
    };
    let objects = [
        service("web", "10.96.0.10"),
        annotated(A, time),
        NODE.into(),
    ];
    let mut follower = Follower::new(&objects);
    let trigger = |time: &str| Trigger {
        family: ipvs_codec::Family::Ipv4,
        at: humantime::parse_rfc3339(time).unwrap(),
    };
    follower.until("listed", |follower| follower.serves("10.96.0.10"));
    assert_eq!(follower.triggers, [trigger(time)]);
    let both = format!("{A}, {B}");
    follower.server.put(&annotated(&both, time)).unwrap();
    follower.until("another endpoint", |follower| {
        follower.real_servers("10.96.0.10").unwrap().len() == 2
    });
    assert_eq!(follower.triggers.len(), 1);
    let later = "2026-01-02T03:04:06Z";
    follower.server.put(&annotated(B, later)).unwrap();
    follower.until("an endpoint less", |follower| follower.triggers.len() == 2);
    assert_eq!(follower.triggers[1], trigger(later));
}

#[test]
fn a_kubeconfig_is_read_with_its_token_or_its_plugin() {
    let server = ApiServer::start().unwrap();
    for object in [service("web", "10.96.0.10"), slice(A), NODE.into()] {
        server.put(&object).unwrap();
    }
    let credential = r#"{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "def"}}"#;
    let plugin = format!(
        "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: echo, args: ['{credential}'], \
         interactiveMode: Never}}}}"
    );
    for (user, token) in [("{token: abc}", "abc"), (plugin.as_str(), "def")] {
        let folder = tempfile::tempdir().unwrap();
        let access = kubeconfig(
            folder.path(),
            &format!("{{server: '{}'}}", server.url()),
            user,
        );
        let mut cluster = Cluster::connect(&access, Nodes::All, || {}).unwrap();
        let start = Instant::now();
        let mut changes = 0;
        while !cluster.is_complete() {
            assert!(start.elapsed() < PATIENCE, "not in time");
            std::thread::sleep(Duration::from_millis(20));
            changes += cluster.poll().changes.len();
        }
        assert_eq!(changes, 3);
        assert!(
            server.tokens().contains(token),
            "{token} in {:?}",
            server.tokens()
        );
    }
}

/// A source that is dead is not one without news.
#[test]
fn a_client_whose_thread_dies_says_so() {
    let server = ApiServer::start().unwrap();
    server.put(NODE).unwrap();
    let access = Access {
        master: Some(server.url()),
        ..Access::default()
    };
    // The client's thread calls it.
    let wake = || panic!("a fault of who is woken");
    let mut cluster = Cluster::connect(&access, Nodes::Only("n1".into()), wake).unwrap();
    let start = Instant::now();
    let ended = loop {
        if let Some(ended) = cluster.poll().ended {
            break ended;
        }
        assert!(start.elapsed() < PATIENCE, "nobody says so");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(
        ended,
        "the client of the Kubernetes API has ended: its thread panicked: a fault of who is woken"
    );
    assert_eq!(cluster.poll().ended, Some(ended), "and again");
}
