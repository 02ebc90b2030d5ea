use ipvs_model::input::Change;
use tracing::{info, warn};

use crate::clock::Moment;
use crate::controller::{Controller, Status};
use crate::health_server::{HealthServer, Listener};
use crate::metrics::Metrics;
use crate::monitor::{Monitor, MonitorError};
use crate::report::Report;
use crate::source::{About, Notice};

/// Keeps what is served over HTTP equal to a controller's status.
#[derive(Debug)]
pub struct Served {
    server: HealthServer,
    metrics: Metrics,
    node: String,
    is_hard: bool,
    /// Whether a Node of this name has ever been there.
    is_node_known: bool,
    /// What of the Node is in the log.
    logged: Option<Logged>,
    /// What was last told of the controller.
    told: Status,
}

impl Served {
    /// Of a node, by name. With `is_hard`, a health or metrics address that cannot be listened on ends the run
    /// (`--bind-address-hard-fail`).
    #[must_use]
    pub fn new(server: HealthServer, metrics: Metrics, node: String, is_hard: bool) -> Self {
        Self {
            server,
            metrics,
            node,
            is_hard,
            is_node_known: false,
            logged: None,
            told: Status::default(),
        }
    }

    /// Logs once why load balancers should send no traffic here: the log has no other reason.
    fn tell_node(&mut self, is_eligible: bool) {
        let (node, now) = (
            &self.node,
            match (is_eligible, self.is_node_known) {
                (true, _) => Logged::Eligible,
                (false, true) => Logged::Leaving,
                (false, false) => Logged::Unknown,
            },
        );
        if self.logged.replace(now) == Some(now) {
            return;
        }
        let reason = match now {
            Logged::Eligible => None,
            Logged::Leaving => Some(format!(
                "Node {node} is being deleted, or has the taint ToBeDeletedByClusterAutoscaler"
            )),
            Logged::Unknown => Some(format!(
                "no Node is named {node}: is --hostname-override right, and does the Node exist?"
            )),
        };
        match &reason {
            Some(reason) => warn!("/healthz answers 503: {reason}"),
            None => info!("Node {node} takes traffic"),
        }
        self.server.update(|health| health.follow_node(reason));
    }
}

/// What the log has of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Logged {
    Eligible,
    Leaving,
    Unknown,
}

impl Monitor for Served {
    fn changed(&mut self, changes: &[Change], now: Moment) {
        self.metrics.changed(changes, now.wall);
        self.is_node_known |= changes
            .iter()
            .any(|change| matches!(change, Change::Node(node) if node.name == self.node));
    }

    fn source_problems(&mut self, problems: &[String]) {
        self.server.update(|health| health.follow_source(problems));
    }

    fn stepped(&mut self, report: &Report, controller: &Controller) {
        if let Some(ended) = &report.ended {
            self.metrics.ended(ended);
            self.metrics.follow(controller);
            self.server.follow(controller.status(), controller.model());
            self.tell_node(controller.model().is_eligible());
        }
    }

    fn check(&mut self, controller: &Controller) -> Result<Vec<Notice>, MonitorError> {
        // Whoever asks while the next step takes long learns that something waits.
        if self.told != *controller.status() {
            self.told = controller.status().clone();
            self.metrics.follow(controller);
            self.server.update(|health| health.follow(&self.told));
        }
        let mut notices = Vec::new();
        let mut fatal = self.server.is_alive().err().map(|error| error.to_string());
        for failure in self.server.failures() {
            let node = || About::Node(self.node.clone());
            let (about, reason, action) = match &failure.what {
                Listener::Service(name) => (
                    About::Service(name.clone()),
                    "FailedToStartServiceHealthcheck",
                    "Listen",
                ),
                Listener::Health => (node(), "FailedToStartProxierHealthcheck", "StartKubeProxy"),
                Listener::Metrics => (node(), "FailedToStartMetricServer", "StartKubeProxy"),
            };
            if self.is_hard && !matches!(failure.what, Listener::Service(_)) {
                fatal.get_or_insert_with(|| {
                    format!("{failure}, and --bind-address-hard-fail is set")
                });
            }
            notices.push(Notice {
                about,
                is_warning: true,
                reason,
                action,
                note: failure.to_string(),
            });
        }
        match fatal {
            None => Ok(notices),
            Some(reason) => Err(MonitorError { reason, notices }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, SystemTime};

    use ipvs_codec::Family;
    use ipvs_model::input::ObjectName;
    use ipvs_model::{Config, Model};

    use super::*;
    use crate::controller::Pace;
    use crate::health_server::Serve;

    #[test]
    fn metrics_show_what_waits_before_it_is_synced() {
        let metrics = Metrics::new(&Family::ALL, SystemTime::now());
        let server = HealthServer::start(Serve::nowhere(metrics.clone())).unwrap();
        let mut served = Served::new(server, metrics.clone(), "node-0".to_owned(), false);
        let mut controller = Controller::new(Model::new(Config::default()), Pace::default());
        let gone = Change::ServiceGone(ObjectName::new("ns", "s"));
        controller.source(Moment::now(), vec![gone], Vec::new(), true);
        assert!(served.check(&controller).unwrap().is_empty());
        let wanted = "kubeproxy_sync_proxy_rules_service_changes_pending 1\n";
        assert!(metrics.text().contains(wanted), "{}", metrics.text());
    }

    #[test]
    fn why_load_balancers_are_to_send_no_traffic_is_answered() {
        let metrics = Metrics::new(&Family::ALL, SystemTime::now());
        let server = HealthServer::start(Serve::nowhere(metrics.clone())).unwrap();
        let mut served = Served::new(server, metrics, "node-0".to_owned(), false);
        let answer = |served: &Served| {
            let mut body = String::new();
            served
                .server
                .update(|health| body = health.healthz(Moment::now()).body);
            body
        };
        served.tell_node(false);
        let body = answer(&served);
        assert!(body.contains("no Node is named node-0"), "{body}");
        let node = |name: &str| {
            let json = format!(
                r#"{{"apiVersion": "v1", "kind": "Node", "metadata": {{"name": "{name}"}}}}"#
            );
            let manifest: ipvs_model::input::Manifest = serde_json::from_str(&json).unwrap();
            manifest.into_changes().unwrap()
        };
        served.changed(&node("node-1"), Moment::now());
        served.tell_node(false);
        assert_eq!(served.logged, Some(Logged::Unknown), "another one");
        served.changed(&node("node-0"), Moment::now());
        served.tell_node(false);
        let body = answer(&served);
        assert!(body.contains("Node node-0 is being deleted"), "{body}");
        served.tell_node(true);
        assert_eq!(served.logged, Some(Logged::Eligible));
    }

    /// Load balancers and the kubelet would ask in vain.
    #[test]
    fn a_server_that_is_gone_ends_the_run() {
        let metrics = Metrics::new(&Family::ALL, SystemTime::now());
        let server = HealthServer::that_panics(Serve::nowhere(metrics.clone()));
        let mut served = Served::new(server, metrics, "node-0".to_owned(), false);
        let controller = Controller::new(Model::new(Config::default()), Pace::default());
        let start = Instant::now();
        let error = loop {
            match served.check(&controller) {
                Err(error) => break error,
                Ok(_) => std::thread::yield_now(),
            }
            assert!(start.elapsed() < Duration::from_secs(60), "nobody says so");
        };
        let wanted = "the server of health and metrics has ended: its thread panicked: a fault";
        assert_eq!(error.to_string(), wanted);
    }
}
