//! Health over HTTP, beside what the real kube-proxy answered.
#![cfg(feature = "health")]

use std::collections::BTreeMap;
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
            let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
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
        flags: BTreeMap::from([("proxy-mode", "ipvs"), ("v", "2")].map(both_owned)),
        version: "0.1.0".to_owned(),
        health_address: health,
        metrics_address: metrics,
    };
    HealthServer::start(serve).unwrap()
}

fn both_owned((flag, value): (&str, &str)) -> (String, String) {
    (flag.to_owned(), value.to_owned())
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

/// The head and the body of the next answer on a connection that stays open.
fn next_answer(stream: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

fn connect(address: SocketAddr) -> TcpStream {
    ask(address, "/livez");
    let stream = TcpStream::connect(address).unwrap();
    // Longer than anything that is waited for.
    stream
        .set_read_timeout(Some(Duration::from_secs(120)))
        .unwrap();
    stream
}

/// Connections that rest and requests that never end do so by themselves; what is asked in time is answered, on the same
/// connection. So is a request that is longer than any that makes sense, with a refusal.
#[test]
fn a_connection_serves_many_requests_and_ends_when_it_rests() {
    let [health] = free_ports("127.0.0.5");
    let _server = start(Some(health), None);
    let mut stream = connect(health);
    let mut half = connect(health);
    half.write_all(b"GET /livez HTTP/1.1\r\nHost: no").unwrap();
    let mut silent = connect(health);
    for _ in 0..3 {
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nHost: node\r\n\r\n")
            .unwrap();
        let (head, body) = next_answer(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && !head.contains("Connection: close"));
        assert!(body.contains("\"healthy\":true"), "{body}");
    }
    let mut long = connect(health);
    let mut refused = String::new();
    let request = format!("GET /livez HTTP/1.1\r\nHost: {}", "x".repeat(1 << 20));
    // It is refused before all of it is there.
    let _ = long.write_all(request.as_bytes());
    let _ = long.read_to_string(&mut refused);
    assert!(!refused.contains("200 OK"), "{refused}");
    for connection in [&mut stream, &mut half, &mut silent] {
        let mut rest = Vec::new();
        connection.read_to_end(&mut rest).unwrap();
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{rest:?}");
    }
    assert!(ask(health, "/livez").starts_with("HTTP/1.1 200"));
}

#[test]
fn the_unspecified_address_answers_by_both_families() {
    let [v4] = free_ports("127.0.0.6");
    let port = v4.port();
    let _server = start(Some(SocketAddr::new([0, 0, 0, 0].into(), port)), None);
    assert!(ask(v4, "/livez").starts_with("HTTP/1.1 200"));
    let v6 = SocketAddr::new("::1".parse().unwrap(), port);
    // Nobody has the address where the kernel has no IPv6.
    if TcpListener::bind("[::1]:0").is_ok() {
        assert!(ask(v6, "/livez").starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn pages_for_people_and_for_prometheus() {
    let [metrics] = free_ports("127.0.0.7");
    let _server = start(None, Some(metrics));
    let page = |path| ask(metrics, path);
    let flags = page("/flagz");
    assert!(flags.ends_with("\nproxy-mode=ipvs\nv=2\n") && flags.contains("kube-proxy flags\n"));
    let status = page("/statusz");
    assert!(status.contains("\nUp: 0 hr 00 min ") && status.contains("\nBinary version: 0.1.0\n"));
    for path in ["/metrics", "/metrics/slis"] {
        let text = page(path);
        let head = text.split("\r\n\r\n").next().unwrap();
        let wanted = "Content-Type: text/plain; version=0.0.4; charset=utf-8";
        assert!(head.lines().any(|line| line == wanted), "{head}");
        let start = head
            .lines()
            .find_map(|line| line.strip_prefix("Process-Start-Time-Unix: "));
        assert!(
            start.unwrap().parse::<u64>().unwrap() > 1_000_000_000,
            "{head}"
        );
        let mut stream = connect(metrics);
        let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.3";
        let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\n{accept}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let (head, body) = next_answer(&mut stream);
        assert!(
            head.contains("application/openmetrics-text; version=1.0.0"),
            "{head}"
        );
        assert!(body.ends_with("# EOF\n") && !text.contains("# EOF"));
    }
}
