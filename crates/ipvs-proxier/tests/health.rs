//! Health over HTTP, beside what the real kube-proxy answered.
#![cfg(feature = "health")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use ipvs_codec::Family;
use ipvs_model::input::Manifest;
use ipvs_model::{Config, Model, NodePortAddresses};
use ipvs_proxier::{Health, HealthServer, Listener, Metrics, Moment, Serve, Status};

const PERIOD: Duration = Duration::from_secs(3);

/// Ports that nobody has, on an address that no other test uses.
fn free_ports<const N: usize>(ip: &str) -> [SocketAddr; N] {
    let listeners = [(); N].map(|()| TcpListener::bind((ip, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

/// Asks until somebody listens.
fn ask(address: SocketAddr, path: &str) -> String {
    let start = Instant::now();
    loop {
        if let Ok(mut stream) = TcpStream::connect(address) {
            let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            return text;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "nobody listens");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn take(model: &mut Model, json: &str) {
    let manifest: Manifest = serde_json::from_str(json).unwrap();
    let changes = manifest.into_changes().unwrap();
    changes.into_iter().for_each(|change| model.change(change));
    model.plan(&ipvs_model::Known::default());
}

/// A node with a Service `default/etp` that a load balancer asks for.
fn model(port: u16) -> Model {
    let mut model = Model::new(Config {
        node_name: "node-0".into(),
        node_port_addresses: NodePortAddresses::Cidrs(vec!["127.0.0.0/8".parse().unwrap()]),
        ..Config::default()
    });
    model.change(ipvs_model::input::Change::NodeAddresses(vec![
        "127.0.0.2".parse().unwrap(),
    ]));
    let service = format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "etp"}}, "spec": {{"type": "LoadBalancer",
             "clusterIP": "10.96.0.10", "externalTrafficPolicy": "Local", "healthCheckNodePort": {port},
             "ports": [{{"name": "a", "port": 80}}, {{"name": "b", "port": 81}}]}}}}"#
    );
    take(&mut model, &service);
    take(&mut model, NODE);
    model
}

fn start(health: Option<SocketAddr>, metrics: Option<SocketAddr>) -> HealthServer {
    let serve = Serve {
        health: Health::new(Family::ALL.to_vec(), PERIOD),
        metrics: Metrics::new(&Family::ALL, SystemTime::now()),
        configuration: r#"{"kubeproxy.config.k8s.io":{}}"#.to_owned(),
        health_address: health,
        metrics_address: metrics,
    };
    HealthServer::start(serve).unwrap()
}

const NODE: &str = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-0"}}"#;

fn slice(model: &mut Model, conditions: &str) {
    let json = format!(
        r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {{"name": "etp-1", "labels": {{"kubernetes.io/service-name": "etp"}}}},
             "ports": [{{"name": "a", "port": 8080}}, {{"name": "b", "port": 8081}}],
             "endpoints": [{{"addresses": ["10.244.0.5"], "nodeName": "node-0", "conditions": {{{conditions}}}}},
                           {{"addresses": ["10.244.1.5"], "nodeName": "node-1"}}]}}"#
    );
    take(model, &json);
}

/// Status line, headers but for the date, and body.
fn parts(answer: &str) -> (String, Vec<String>, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines().map(str::to_owned);
    let status = lines.next().unwrap();
    let is_ours = |line: &String| line.starts_with("Content") || line.starts_with("X-");
    let mut headers: Vec<String> = lines.filter(is_ours).collect();
    headers.sort();
    (status, headers, body.to_owned())
}

fn waiting_since(moment: Option<Moment>) -> Status {
    let mut status = Status::default();
    status.waiting_since = moment.map(|moment| moment.steady);
    status.last_sync = Some(SystemTime::now());
    status
}

/// The clock on the wall was set back since.
fn long_ago() -> Moment {
    let now = Moment::now();
    Moment {
        wall: now.wall + PERIOD * 100,
        steady: now.steady.checked_sub(PERIOD * 3).unwrap(),
    }
}

#[test]
fn row_145_load_balancers_are_told_of_ready_endpoints_on_this_node() {
    let [address] = free_ports("127.0.0.2");
    let mut model = model(address.port());
    let server = start(None, None);
    slice(&mut model, "");
    server.follow(&Status::default(), &model);
    let (status, headers, body) = parts(&ask(address, "/anything"));
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(
        headers,
        [
            "Content-Length: 114",
            "Content-Type: application/json",
            "X-Content-Type-Options: nosniff",
            "X-Load-Balancing-Endpoint-Weight: 1",
        ]
    );
    let wanted = "{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"etp\"\n\t},\n\
                  \t\"localEndpoints\": 1,\n\t\"serviceProxyHealthy\": true\n}";
    assert_eq!(body, wanted, "as the real one answered");
    let going = r#""ready": false, "serving": true, "terminating": true"#;
    slice(&mut model, going);
    server.follow(&Status::default(), &model);
    let (status, headers, _) = parts(&ask(address, "/"));
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(headers.contains(&"X-Load-Balancing-Endpoint-Weight: 0".to_owned()));
    slice(&mut model, "");
    let long_ago = long_ago();
    server.follow(&Status::default(), &model);
    server.update(|health| health.follow(&waiting_since(Some(long_ago))));
    let (status, headers, body) = parts(&ask(address, "/"));
    assert_eq!(
        status, "HTTP/1.1 503 Service Unavailable",
        "the proxier hangs"
    );
    assert!(headers.contains(&"X-Load-Balancing-Endpoint-Weight: 1".to_owned()));
    assert!(body.contains("\"serviceProxyHealthy\": false"));
}

#[test]
fn row_140_to_143_the_proxiers_own_health() {
    let [proxier, mode, check] = free_ports("127.0.0.3");
    let mut model = model(check.port());
    let server = start(Some(proxier), Some(mode));
    let status = |path| parts(&ask(proxier, path)).0;
    let body = |path| -> serde_json::Value {
        serde_json::from_str(&parts(&ask(proxier, path)).2).unwrap()
    };
    assert_eq!(
        status("/healthz"),
        "HTTP/1.1 503 Service Unavailable",
        "no Node yet"
    );
    assert_eq!(status("/livez"), "HTTP/1.1 200 OK");
    server.follow(&Status::default(), &model);
    server.update(|health| health.follow(&waiting_since(None)));
    assert_eq!(status("/healthz"), "HTTP/1.1 200 OK");
    let healthz = body("/healthz");
    assert_eq!(healthz["nodeEligible"], true);
    assert_eq!(healthz["status"]["IPv6"]["healthy"], true);
    assert!(healthz["lastUpdated"].as_str().unwrap().ends_with('Z'));
    assert_eq!(body("/livez").get("nodeEligible"), None);
    let long_ago = long_ago();
    server.update(|health| health.follow(&waiting_since(Some(long_ago))));
    assert_eq!(status("/livez"), "HTTP/1.1 503 Service Unavailable");
    assert_eq!(body("/healthz")["healthy"], false);
    server.update(|health| health.follow(&waiting_since(None)));
    assert_eq!(status("/livez"), "HTTP/1.1 200 OK");
    for going in [
        r#""spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}, "metadata": {"name": "node-0"}"#,
        r#""metadata": {"name": "node-0", "deletionTimestamp": "2026-01-01T00:00:00Z"}"#,
    ] {
        take(&mut model, NODE);
        take(
            &mut model,
            &format!(r#"{{"apiVersion": "v1", "kind": "Node", {going}}}"#),
        );
        server.follow(&Status::default(), &model);
        assert_eq!(
            status("/healthz"),
            "HTTP/1.1 503 Service Unavailable",
            "{going}"
        );
        assert_eq!(body("/healthz")["healthy"], true);
        assert_eq!(status("/livez"), "HTTP/1.1 200 OK");
    }
    assert_eq!(parts(&ask(mode, "/proxyMode")).2, "ipvs");
    assert_eq!(parts(&ask(mode, "/healthz")).2, "ok");
    assert!(ask(mode, "/configz").ends_with(r#"{"kubeproxy.config.k8s.io":{}}"#));
    let metrics = ask(mode, "/metrics");
    let asked = "kubeproxy_proxy_healthz_total{code=\"503\"} ";
    assert!(metrics.contains(asked), "{metrics}");
    let indicators = ask(mode, "/metrics/slis");
    for value in ["type=\"healthz\"} 0\n", "type=\"livez\"} 1\n"] {
        assert!(indicators.contains(value), "{indicators}");
    }
    assert!(ask(proxier, "/other").starts_with("HTTP/1.1 404"));
}

#[test]
fn row_144_nothing_listens_where_no_address_is_given() {
    let [health, metrics] = free_ports("127.0.0.4");
    let _server = start(None, Some(metrics));
    assert!(ask(metrics, "/healthz").ends_with("ok"));
    assert!(TcpStream::connect(health).is_err());
}

/// The port is tried again until it is free; others are served meanwhile.
#[test]
fn row_146_a_port_that_is_taken_is_told_and_others_are_served() {
    let [health, check] = free_ports("127.0.0.2");
    let holder = TcpListener::bind(check).unwrap();
    let mut model = model(check.port());
    slice(&mut model, "");
    let server = start(Some(health), None);
    server.follow(&Status::default(), &model);
    let start = Instant::now();
    let failure = loop {
        if let Some(failure) = server.failures().next() {
            break failure;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "not told");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(failure.address, check);
    assert!(matches!(failure.what, Listener::Service(name) if name.to_string() == "default/etp"));
    assert!(ask(health, "/livez").starts_with("HTTP/1.1 200"));
    drop(holder);
    assert!(ask(check, "/").starts_with("HTTP/1.1 200"));
}
