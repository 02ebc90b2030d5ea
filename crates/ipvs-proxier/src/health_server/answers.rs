//! What is answered, by address and path.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, HeaderValue};
use hyper::{Request, Response, StatusCode};
use ipvs_model::input::ObjectName;

use super::jobs::Jobs;
use crate::clock::Moment;
use crate::health::{Health, HealthAnswer};
use crate::metrics::{Exposition, Metrics};

const PLAIN: &str = "text/plain; charset=utf-8";
const WARNING: &str =
    "Warning: This page is for people. It is no interface: its form may change at any time.";

/// What is served at an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Served {
    /// `/healthz` and `/livez`.
    Proxier,
    /// `/metrics`, `/metrics/slis`, `/proxyMode`, `/configz`, `/flagz`, `/statusz` and a plain `/healthz`.
    Metrics,
    /// A Service, whatever the path.
    Service(ObjectName),
}

/// What every answer is made of.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) health: Mutex<Health>,
    pub(super) metrics: Metrics,
    pub(super) jobs: Jobs,
    pub(super) configuration: Bytes,
    pub(super) flags: Bytes,
    pub(super) version: String,
}

type Answer = Response<Full<Bytes>>;

impl Answers {
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn answer<B>(&self, request: &Request<B>, served: &Served) -> Answer {
        let now = Moment::now();
        match (served, request.uri().path()) {
            (Served::Proxier, "/healthz") => {
                let answer = self.health().healthz(now);
                self.metrics.answered_healthz(answer.status);
                json(answer)
            }
            (Served::Proxier, "/livez") => {
                let answer = self.health().livez(now);
                self.metrics.answered_livez(answer.status);
                json(answer)
            }
            (Served::Service(name), _) => match self.health().service(name, now) {
                Some(answer) => json(answer),
                None => text(404, "gone\n"),
            },
            (Served::Metrics, "/metrics") => {
                let metrics = self.metrics.clone();
                let exposition = accepted(request);
                // It may have to ask the kernel for a lot, and others want to know whether the node is well.
                let text = self.jobs.run(move || metrics.encode(exposition)).await;
                text.map_or_else(
                    |_| self::text(500, "the metrics could not be read\n"),
                    |text| self.measured(exposition, text),
                )
            }
            (Served::Metrics, "/metrics/slis") => {
                let exposition = accepted(request);
                let text = exposition.of(indicators(&self.health(), now));
                self.measured(exposition, text)
            }
            (Served::Metrics, "/proxyMode") => text(200, "ipvs"),
            (Served::Metrics, "/configz") => {
                respond(200, "application/json", self.configuration.clone())
            }
            (Served::Metrics, "/flagz") => respond(200, PLAIN, self.flags.clone()),
            (Served::Metrics, "/statusz") => respond(200, PLAIN, self.status(now.wall)),
            (Served::Metrics, "/healthz") => text(200, "ok"),
            _ => text(404, "404 page not found\n"),
        }
    }

    fn measured(&self, exposition: Exposition, text: String) -> Answer {
        let mut answer = respond(200, exposition.content_type(), text);
        let start = self.metrics.start().duration_since(SystemTime::UNIX_EPOCH);
        let seconds = start.unwrap_or_default().as_secs();
        let headers = answer.headers_mut();
        headers.insert("process-start-time-unix", seconds.into());
        answer
    }

    /// As other components of Kubernetes tell of themselves.
    fn status(&self, now: SystemTime) -> String {
        let start = self.metrics.start();
        let up = now.duration_since(start).unwrap_or_default().as_secs();
        format!(
            "\nkube-proxy statusz\n{WARNING}\n\nStarted: {}\nUp: {} hr {:02} min {:02} sec\nBinary version: {}\n",
            humantime::format_rfc3339_seconds(start),
            up / 3600,
            up / 60 % 60,
            up % 60,
            self.version,
        )
    }
}

/// The page of flags.
pub(super) fn flagz(flags: &BTreeMap<String, String>) -> String {
    let mut page = format!("\nkube-proxy flags\n{WARNING}\n\n");
    for (flag, value) in flags {
        // Writing to memory does not fail.
        let _ = writeln!(page, "{flag}={value}");
    }
    page
}

fn accepted<B>(request: &Request<B>) -> Exposition {
    let values = request.headers().get_all(ACCEPT).iter();
    let words = values.filter_map(|value| value.to_str().ok());
    Exposition::accepted(words)
}

/// The indicators of components of Kubernetes, as OpenMetrics. kube-proxy serves the page, and nothing on it.
fn indicators(health: &Health, now: Moment) -> String {
    let is_well = |answer: HealthAnswer| u8::from(answer.status == 200);
    let (healthz, livez) = (is_well(health.healthz(now)), is_well(health.livez(now)));
    format!(
        "# HELP kubernetes_healthcheck Whether a health check succeeds.\n# TYPE kubernetes_healthcheck gauge\n\
         kubernetes_healthcheck{{name=\"proxier\",type=\"healthz\"}} {healthz}\n\
         kubernetes_healthcheck{{name=\"proxier\",type=\"livez\"}} {livez}\n# EOF\n"
    )
}

fn json(answer: HealthAnswer) -> Answer {
    let mut response = respond(answer.status, "application/json", answer.body);
    if let Some(weight) = answer.weight {
        let name = "x-load-balancing-endpoint-weight";
        response.headers_mut().insert(name, weight.into());
    }
    response
}

fn text(status: u16, body: &'static str) -> Answer {
    respond(status, PLAIN, body)
}

fn respond(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static(content_type));
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    response
}
