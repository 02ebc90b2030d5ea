use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use ipvs_codec::Family;
use ipvs_model::input::ObjectName;
use ipvs_model::{HealthCheck, Model};
use serde::Serialize;

use crate::clock::Moment;
use crate::controller::Status;

/// So many problems of the source are shown.
const SHOWN: usize = 10;

/// An answer to a health question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthAnswer {
    /// HTTP status: 200 or 503.
    pub status: u16,
    /// JSON.
    pub body: String,
    /// Ready endpoints on this node, for the question of a load balancer.
    pub weight: Option<u32>,
}

/// Whether the proxier is healthy, and what load balancers are told. Pure: the time comes in through parameters.
///
/// It is healthy unless something that concerns the node has been [waiting](Status::waiting_since) for longer than twice the
/// sync period.
///
/// ```
/// use std::time::Duration;
/// use ipvs_codec::Family;
/// use ipvs_proxier::{Health, Moment, Status};
///
/// let now = Moment::now();
/// let later = |seconds| Moment { steady: now.steady + Duration::from_secs(seconds), ..now };
/// let mut health = Health::new(Family::ALL.to_vec(), Duration::from_secs(30));
/// assert_eq!(health.livez(now).status, 200, "starting counts as healthy");
/// let mut status = Status::default();
/// status.waiting_since = Some(now.steady);
/// health.follow(&status);
/// assert_eq!(health.livez(later(61)).status, 503);
/// status.waiting_since = None;
/// health.follow(&status);
/// assert_eq!(health.livez(later(62)).status, 200);
/// ```
#[derive(Debug, Clone)]
pub struct Health {
    families: Vec<Family>,
    patience: Duration,
    waiting_since: Option<Instant>,
    synced: Option<SystemTime>,
    eligible: bool,
    /// Why not, where somebody knows.
    ineligible: Option<String>,
    checks: BTreeMap<ObjectName, HealthCheck>,
    /// Where load balancers may ask.
    addresses: Vec<IpAddr>,
    source_problems: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    last_updated: String,
    current_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    /// kube-proxy has no such field.
    #[serde(skip_serializing_if = "Option::is_none")]
    ineligible_because: Option<&'a str>,
    healthy: bool,
    status: BTreeMap<String, FamilyStatus>,
    /// kube-proxy has no such field.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    source_problems: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyStatus {
    last_updated: String,
    healthy: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceBody<'a> {
    service: ServiceName<'a>,
    local_endpoints: u32,
    service_proxy_healthy: bool,
}

#[derive(Serialize)]
struct ServiceName<'a> {
    namespace: &'a str,
    name: &'a str,
}

impl Health {
    /// Of a proxier that starts.
    #[must_use]
    pub const fn new(families: Vec<Family>, sync_period: Duration) -> Self {
        Self {
            families,
            patience: sync_period.saturating_mul(2),
            waiting_since: None,
            synced: None,
            eligible: false,
            ineligible: None,
            checks: BTreeMap::new(),
            addresses: Vec::new(),
            source_problems: Vec::new(),
        }
    }

    /// Takes over which families are served, where that is known later than the start.
    pub fn follow_families(&mut self, families: Vec<Family>) {
        self.families = families;
    }

    /// Takes over what a controller knows of itself. O(1).
    pub const fn follow(&mut self, status: &Status) {
        self.waiting_since = status.waiting_since;
        self.synced = status.last_sync;
    }

    /// Takes over what load balancers are told, and whether they should send this node traffic. O(Services with a health
    /// check port).
    pub fn follow_model(&mut self, model: &Model) {
        self.eligible = model.is_eligible();
        self.addresses = model.health_check_addresses();
        if self.checks != *model.desired().health_checks() {
            self.checks.clone_from(model.desired().health_checks());
        }
    }

    /// Takes over why load balancers should not send this node traffic; it is shown as long as they should not.
    pub fn follow_node(&mut self, ineligible: Option<String>) {
        self.ineligible = ineligible;
    }

    /// Takes over what of the source cannot be used, and shows the first of it: the node serves the last good state, so that
    /// it is as healthy as before.
    pub fn follow_source(&mut self, problems: &[String]) {
        self.source_problems = problems.iter().take(SHOWN).cloned().collect();
        let more = problems.len().saturating_sub(SHOWN);
        if more > 0 {
            self.source_problems.push(format!("and {more} more"));
        }
    }

    /// The Services that load balancers ask for, and what they are told.
    #[must_use]
    pub const fn checks(&self) -> &BTreeMap<ObjectName, HealthCheck> {
        &self.checks
    }

    /// Where they may ask: as node ports are served.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    fn is_healthy(&self, now: Moment) -> bool {
        let waits = |since| now.steady.saturating_duration_since(since);
        self.waiting_since
            .is_none_or(|since| waits(since) <= self.patience)
    }

    /// `/healthz`: healthy, and the node eligible for traffic.
    #[must_use]
    pub fn healthz(&self, now: Moment) -> HealthAnswer {
        let healthy = self.is_healthy(now);
        self.answer(now, healthy && self.eligible, Some(self.eligible))
    }

    /// `/livez`: healthy.
    #[must_use]
    pub fn livez(&self, now: Moment) -> HealthAnswer {
        self.answer(now, self.is_healthy(now), None)
    }

    fn answer(&self, now: Moment, good: bool, node_eligible: Option<bool>) -> HealthAnswer {
        let healthy = self.is_healthy(now);
        let time = |time| humantime::format_rfc3339_nanos(time).to_string();
        // As Go writes a time that never was.
        let synced = self
            .synced
            .map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), time);
        let status = |family: &Family| {
            let last_updated = synced.clone();
            let status = FamilyStatus {
                last_updated,
                healthy,
            };
            (family.to_string(), status)
        };
        let body = Body {
            last_updated: if good { time(now.wall) } else { synced.clone() },
            current_time: time(now.wall),
            node_eligible,
            ineligible_because: self
                .ineligible
                .as_deref()
                .filter(|_| node_eligible == Some(false)),
            healthy,
            status: self.families.iter().map(status).collect(),
            source_problems: &self.source_problems,
        };
        HealthAnswer {
            status: if good { 200 } else { 503 },
            body: serde_json::to_string(&body).unwrap_or_default(),
            weight: None,
        }
    }

    /// What a load balancer is told of a Service; nothing if it has no health check port.
    #[must_use]
    pub fn service(&self, name: &ObjectName, now: Moment) -> Option<HealthAnswer> {
        let check = self.checks.get(name)?;
        let healthy = self.is_healthy(now);
        let body = ServiceBody {
            service: ServiceName {
                namespace: &name.namespace,
                name: &name.name,
            },
            local_endpoints: check.local_endpoints,
            service_proxy_healthy: healthy,
        };
        Some(HealthAnswer {
            status: if check.local_endpoints > 0 && healthy {
                200
            } else {
                503
            },
            body: with_tabs(&body),
            weight: Some(check.local_endpoints),
        })
    }
}

/// Indented by tabs, as kube-proxy does.
fn with_tabs(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Writing to memory does not fail.
    let _ = value.serialize(&mut serializer);
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// kube-proxy's answer, as long as nothing is wrong.
    #[test]
    fn problems_of_the_source_are_shown_and_do_not_make_the_node_ill() {
        let now = Moment::now();
        let mut health = Health::new(Family::ALL.to_vec(), Duration::from_secs(30));
        let before = health.livez(now);
        assert!(!before.body.contains("sourceProblems"));
        let problems: Vec<String> = (0..12)
            .map(|at| format!("{at}.yaml: cannot find it"))
            .collect();
        health.follow_source(&problems);
        for answer in [health.livez(now), health.healthz(now)] {
            let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(body["sourceProblems"][0], "0.yaml: cannot find it");
            assert_eq!(body["sourceProblems"][10], "and 2 more");
            assert_eq!(body["healthy"], true);
        }
        assert_eq!(health.livez(now).status, 200);
        health.follow_source(&[]);
        assert_eq!(health.livez(now), before);
    }

    #[test]
    fn a_node_that_is_not_eligible_says_why() {
        let now = Moment::now();
        let mut health = Health::new(Family::ALL.to_vec(), Duration::from_secs(30));
        let body = |answer: HealthAnswer| -> serde_json::Value {
            serde_json::from_str(&answer.body).unwrap()
        };
        assert_eq!(body(health.healthz(now)).get("ineligibleBecause"), None);
        health.follow_node(Some("no Node is named n1".to_owned()));
        let answer = health.healthz(now);
        assert_eq!(answer.status, 503);
        assert_eq!(body(answer)["ineligibleBecause"], "no Node is named n1");
        assert_eq!(body(health.livez(now)).get("ineligibleBecause"), None);
        health.eligible = true;
        assert_eq!(body(health.healthz(now)).get("ineligibleBecause"), None);
    }
}
