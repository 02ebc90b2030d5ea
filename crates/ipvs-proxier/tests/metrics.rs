//! What Prometheus is told.
#![cfg(feature = "health")]

mod node;

use std::time::{Duration, SystemTime};

use ipvs_codec::Family;
use ipvs_model::input::{Change, Manifest};
use ipvs_model::{Config, Model};
use ipvs_proxier::{
    Activity, ApiObserver as _, ApiRequest, Build, Exposition, Measured, Metrics, Program,
    Simulated, Trigger,
};

use node::Node;

fn changes(json: &str) -> Vec<Change> {
    let manifest: Manifest = serde_json::from_str(json).unwrap();
    manifest.into_changes().unwrap()
}

const SERVICE: &str = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "ns"},
    "spec": {"clusterIP": "10.96.0.10", "internalTrafficPolicy": "Local",
             "ports": [{"name": "p", "port": 80}, {"name": "q", "port": 81}]}}"#;
const SLICE: &str = r#"{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
    "metadata": {"name": "s-1", "namespace": "ns", "labels": {"kubernetes.io/service-name": "s"}},
    "ports": [{"name": "p", "port": 8080}, {"name": "q", "port": 8081}],
    "endpoints": [{"addresses": ["10.244.3.9"], "nodeName": "n2"}]}"#;

struct Run {
    metrics: Metrics,
    node: Node<Measured<Simulated>>,
    now: SystemTime,
}

impl Run {
    fn new() -> Self {
        let now = SystemTime::now();
        let metrics = Metrics::new(&Family::ALL, now);
        let config = Config {
            node_name: "n1".into(),
            ..Config::default()
        };
        let plane = Measured::new(Simulated::default(), metrics.clone());
        Self {
            node: Node::new(Model::new(config), plane),
            metrics,
            now,
        }
    }

    fn take(&mut self, json: &str) {
        let changes = changes(json);
        self.metrics.changed(&changes, self.now);
        for change in changes {
            self.node.change(change);
        }
        self.metrics.follow(&self.node.controller);
    }

    /// It takes three milliseconds.
    fn sync(&mut self, activity: Activity) {
        let done = match activity {
            Activity::Resync => self.node.resync(),
            _ => self.node.sync(),
        };
        let mut ended = done.unwrap().ended.unwrap();
        ended.at = ended.began.later(Duration::from_millis(3)).unwrap();
        self.metrics.ended(&ended);
        self.metrics.follow(&self.node.controller);
    }

    /// The value of a sample.
    fn value(&self, sample: &str) -> f64 {
        let text = self.metrics.text();
        let line = text.lines().find(|line| {
            line.strip_prefix(sample)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        let line = line.unwrap_or_else(|| panic!("{sample} in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

#[test]
fn row_147_names_labels_and_buckets() {
    let mut run = Run::new();
    run.take(SERVICE);
    run.take(SLICE);
    assert_eq!(
        run.value("kubeproxy_sync_proxy_rules_service_changes_pending"),
        1.0
    );
    run.sync(Activity::Resync);
    run.metrics.answered_livez(200);
    for (sample, value) in [
        (
            "kubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"0.001\",ip_family=\"IPv4\"}",
            0.0,
        ),
        (
            "kubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"0.004\",ip_family=\"IPv6\"}",
            1.0,
        ),
        (
            "kubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"16.384\",ip_family=\"IPv4\"}",
            1.0,
        ),
        (
            "kubeproxy_network_programming_duration_seconds_bucket{le=\"0.25\",ip_family=\"IPv4\"}",
            0.0,
        ),
        (
            "kubeproxy_network_programming_duration_seconds_bucket{le=\"59\",ip_family=\"IPv4\"}",
            0.0,
        ),
        (
            "kubeproxy_network_programming_duration_seconds_bucket{le=\"115\",ip_family=\"IPv4\"}",
            0.0,
        ),
        (
            "kubeproxy_network_programming_duration_seconds_bucket{le=\"300\",ip_family=\"IPv4\"}",
            0.0,
        ),
        ("kubeproxy_sync_proxy_rules_endpoint_changes_pending", 0.0),
        ("kubeproxy_sync_proxy_rules_endpoint_changes_total", 1.0),
        ("kubeproxy_sync_proxy_rules_service_changes_pending", 0.0),
        ("kubeproxy_sync_proxy_rules_service_changes_total", 2.0),
        // One Service, whatever its ports.
        (
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy=\"internal\",ip_family=\"IPv4\"}",
            1.0,
        ),
        (
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy=\"external\",ip_family=\"IPv4\"}",
            0.0,
        ),
        (
            "kubeproxy_sync_proxy_rules_iptables_restore_failures_total{ip_family=\"IPv6\"}",
            0.0,
        ),
        (
            "kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family=\"IPv4\"}",
            0.0,
        ),
        (
            "kubeproxy_conntrack_reconciler_sync_duration_seconds_count{ip_family=\"IPv4\"}",
            0.0,
        ),
        ("kubeproxy_proxy_livez_total{code=\"200\"}", 1.0),
        (
            "ipvs_proxier_operations_total{operation=\"add-virtual-server\",errno=\"0\"}",
            2.0,
        ),
        ("ipvs_proxier_set_members{set=\"KUBE-CLUSTER-IP\"}", 2.0),
        ("ipvs_proxier_virtual_servers", 2.0),
    ] {
        assert_eq!(run.value(sample), value, "{sample}");
    }
    assert!(
        run.value("kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"}") > 1e9
    );
    assert!(
        run.value("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv4\"}")
            > 1e9
    );
    let text = run.metrics.text();
    let bounds = |name: &str| {
        let name = format!("kubeproxy_{name}_bucket{{");
        let of_family = |line: &&str| line.starts_with(&name) && line.contains("IPv4");
        text.lines().filter(of_family).count()
    };
    assert_eq!(bounds("sync_proxy_rules_duration_seconds"), 16);
    assert_eq!(bounds("network_programming_duration_seconds"), 81);
    for other in [
        "sync_full",
        "sync_partial",
        "iptables_total",
        "partial_restore",
        "nft_",
    ] {
        assert!(!text.contains(other), "{other}");
    }
}

#[test]
fn row_148_one_observation_for_each_trigger_since_the_start() {
    let mut run = Run::new();
    let count = "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"}";
    let trigger = |at| Trigger {
        family: Family::Ipv4,
        at,
    };
    let before = run.now - Duration::from_secs(5);
    let triggers = vec![trigger(before), trigger(run.now + Duration::from_secs(1))];
    let clock = run.node.clock;
    run.node
        .controller
        .source(clock, Vec::new(), triggers, true);
    run.node.clock.wall = run.now + Duration::from_secs(3);
    run.sync(Activity::Sync);
    assert_eq!(run.value(count), 1.0);
    let sum = "kubeproxy_network_programming_duration_seconds_sum{ip_family=\"IPv4\"}";
    assert!((run.value(sum) - 2.0).abs() < 0.01);
    run.sync(Activity::Sync);
    assert_eq!(run.value(count), 1.0, "once");
}

#[test]
fn the_process_is_told_as_by_every_client_of_prometheus() {
    let run = Run::new();
    assert!(run.value("process_resident_memory_bytes") > 1e6);
    assert!(run.value("process_virtual_memory_bytes") > 1e6);
    assert!(run.value("process_open_fds") >= 3.0);
    assert!(run.value("process_max_fds") >= 3.0);
    assert!(run.value("process_start_time_seconds") > 1e9);
    assert!(run.value("process_virtual_memory_max_bytes") > 1e6);
    assert!(run.value("process_network_receive_bytes_total") >= 0.0);
    assert!(run.value("process_network_transmit_bytes_total") >= 0.0);
    assert!(run.value("process_cpu_seconds_total") >= 0.0);
}

/// What a resync repairs although nothing has changed; what changed is no drift.
#[test]
fn drift_is_counted_by_kind_and_cause() {
    let mut run = Run::new();
    run.take(SERVICE);
    run.sync(Activity::Resync);
    assert!(!run.metrics.text().contains("ipvs_proxier_drift_total{"));
    let state = run.node.plane().inner().state_mut();
    assert!(!state.virtual_servers.is_empty());
    state.virtual_servers.clear();
    run.sync(Activity::Resync);
    let repaired = "ipvs_proxier_drift_total{operation=\"add-virtual-server\",cause=\"resync\"}";
    assert_eq!(run.value(repaired), 2.0);
}

/// The names and kinds that kube-proxy 1.36 has, in either form.
#[test]
fn names_and_kinds_are_kube_proxys_in_both_forms() {
    let mut run = Run::new();
    run.take(SERVICE);
    run.sync(Activity::Resync);
    let metrics = run.metrics.with_program(Program {
        version: "0.1.0",
        build: Build {
            commit: "abc",
            date: "2026-01-02T03:04:05Z",
            compiler: "1.95.0",
        },
        gates: vec![("A", "BETA", false)],
    });
    metrics.answered_healthz(200);
    metrics.answered_livez(200);
    let request = ApiRequest {
        method: "GET",
        host: "10.96.0.1:443",
        code: Some(200),
        took: Duration::from_millis(20),
    };
    metrics.requested(&request);
    let (text, open_metrics) = (metrics.text(), metrics.encode(Exposition::OpenMetrics));
    for (name, kind) in [
        ("kubeproxy_sync_proxy_rules_duration_seconds", "histogram"),
        (
            "kubeproxy_network_programming_duration_seconds",
            "histogram",
        ),
        (
            "kubeproxy_conntrack_reconciler_sync_duration_seconds",
            "histogram",
        ),
        ("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "gauge"),
        (
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
            "gauge",
        ),
        (
            "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
            "gauge",
        ),
        (
            "kubeproxy_sync_proxy_rules_service_changes_pending",
            "gauge",
        ),
        (
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
            "gauge",
        ),
        (
            "kubeproxy_sync_proxy_rules_endpoint_changes_total",
            "counter",
        ),
        (
            "kubeproxy_sync_proxy_rules_service_changes_total",
            "counter",
        ),
        (
            "kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
            "counter",
        ),
        (
            "kubeproxy_conntrack_reconciler_deleted_entries_total",
            "counter",
        ),
        ("kubeproxy_proxy_healthz_total", "counter"),
        ("kubeproxy_proxy_livez_total", "counter"),
        ("rest_client_requests_total", "counter"),
        ("rest_client_request_duration_seconds", "histogram"),
        ("kubernetes_build_info", "gauge"),
        ("kubernetes_feature_enabled", "gauge"),
        ("process_cpu_seconds_total", "counter"),
        ("process_network_receive_bytes_total", "counter"),
        ("process_network_transmit_bytes_total", "counter"),
        ("process_max_fds", "gauge"),
        ("process_open_fds", "gauge"),
        ("process_resident_memory_bytes", "gauge"),
        ("process_start_time_seconds", "gauge"),
        ("process_virtual_memory_bytes", "gauge"),
        ("process_virtual_memory_max_bytes", "gauge"),
    ] {
        let lines = |name: &str| [format!("# HELP {name} "), format!("# TYPE {name} {kind}\n")];
        let counted = name.strip_suffix("_total").filter(|_| kind == "counter");
        for (text, name) in [(&text, name), (&open_metrics, counted.unwrap_or(name))] {
            for line in lines(name) {
                assert!(text.contains(&line), "{line:?} in\n{text}");
            }
        }
    }
    let (major, minor) = (0, 1);
    let platform = match std::env::consts::ARCH {
        "x86_64" => "linux/amd64",
        "aarch64" => "linux/arm64",
        other => unreachable!("{other}"),
    };
    let build_info = format!(
        "kubernetes_build_info{{build_date=\"2026-01-02T03:04:05Z\",compiler=\"rustc\",git_commit=\"abc\",\
         git_tree_state=\"\",git_version=\"v0.1.0\",go_version=\"rustc1.95.0\",major=\"{major}\",\
         minor=\"{minor}\",platform=\"{platform}\"}} 1\n"
    );
    for sample in [
        "rest_client_requests_total{code=\"200\",host=\"10.96.0.1:443\",method=\"GET\"} 1\n",
        "rest_client_request_duration_seconds_bucket{le=\"0.025\",host=\"10.96.0.1:443\",verb=\"GET\"} 1\n",
        "rest_client_request_duration_seconds_bucket{le=\"60\",host=\"10.96.0.1:443\",verb=\"GET\"} 1\n",
        "kubernetes_feature_enabled{name=\"A\",stage=\"BETA\"} 0\n",
        &build_info,
    ] {
        assert!(text.contains(sample), "{sample} in\n{text}");
    }
    assert!(
        !text.contains("# EOF") && !text.contains("# UNIT"),
        "{text}"
    );
    assert!(open_metrics.ends_with("# EOF\n"));
    let lost = ApiRequest {
        code: None,
        ..request
    };
    metrics.requested(&lost);
    let sample =
        "rest_client_requests_total{code=\"<error>\",host=\"10.96.0.1:443\",method=\"GET\"} 1\n";
    assert!(metrics.text().contains(sample), "{}", metrics.text());
}
