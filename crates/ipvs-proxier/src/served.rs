use ipvs_model::input::Change;

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
            told: Status::default(),
        }
    }
}

impl Monitor for Served {
    fn changed(&mut self, changes: &[Change], now: Moment) {
        self.metrics.changed(changes, now.wall);
    }

    fn source_problems(&mut self, problems: &[String]) {
        self.server.update(|health| health.follow_source(problems));
    }

    fn stepped(&mut self, report: &Report, controller: &Controller) {
        if let Some(ended) = &report.ended {
            self.metrics.ended(ended);
            self.metrics.follow(controller);
            self.server.follow(controller.status(), controller.model());
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
