//! Requests to the Kubernetes API, under the names of its own clients.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Metrics;
use crate::api_observer::{ApiObserver, ApiRequest};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    code: String,
    host: String,
    method: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Taken {
    host: String,
    verb: String,
}

#[derive(Debug, Clone, Copy)]
struct Bounds;

impl MetricConstructor<Histogram> for Bounds {
    fn new_metric(&self) -> Histogram {
        let bounds = [
            0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0,
        ];
        Histogram::new(bounds)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Requests {
    answered: Family<Answered, Counter>,
    duration: Family<Taken, Histogram, Bounds>,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            answered: Family::default(),
            duration: Family::new_with_constructor(Bounds),
        }
    }
}

impl Requests {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "rest_client_requests",
            "Requests to the Kubernetes API, by what was answered: <error> where nothing was",
            self.answered.clone(),
        );
        registry.register(
            "rest_client_request_duration_seconds",
            "Time to the head of an answer of the Kubernetes API",
            self.duration.clone(),
        );
    }
}

impl ApiObserver for Metrics {
    fn requested(&self, request: &ApiRequest<'_>) {
        let no_answer = || "<error>".to_owned();
        let answered = Answered {
            code: request.code.map_or_else(no_answer, |code| code.to_string()),
            host: request.host.to_owned(),
            method: request.method.to_owned(),
        };
        self.requests.answered.get_or_create(&answered).inc();
        let taken = Taken {
            host: request.host.to_owned(),
            verb: request.method.to_owned(),
        };
        let duration = self.requests.duration.get_or_create(&taken);
        duration.observe(request.took.as_secs_f64());
    }
}
