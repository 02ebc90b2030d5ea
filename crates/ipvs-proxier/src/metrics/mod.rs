//! What Prometheus is told.

mod exposition;
mod kubernetes;
mod measured;
mod process;
mod requests;
mod traffic;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ipvs_codec::Family;
use ipvs_filter::iptables::set_name;
use ipvs_model::input::Change;
use ipvs_model::{FilterEntry, FilterSet};
use ipvs_netlink::Ipvs;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family as Labelled, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

pub use exposition::Exposition;
pub use kubernetes::{Build, Program};
pub use measured::Measured;

use self::kubernetes::Kubernetes;
use self::process::Process;
use self::requests::Requests;
use self::traffic::Traffic;
use crate::activity::Activity;
use crate::controller::Controller;
use crate::report::Ended;

const OURS: &str = "ipvs_proxier";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByFamily {
    ip_family: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPolicy {
    traffic_policy: &'static str,
    ip_family: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOperation {
    operation: &'static str,
    errno: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDrift {
    operation: &'static str,
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySet {
    set: SetLabel,
}

impl BySet {
    const fn of(member: &FilterEntry) -> Self {
        Self {
            set: SetLabel(member.set(), member.family()),
        }
    }
}

/// Written as the set's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SetLabel(FilterSet, Family);

impl EncodeLabelValue for SetLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        set_name(self.0, self.1).as_str().encode(encoder)
    }
}

/// Bounds of a histogram's buckets, in seconds.
#[derive(Debug, Clone, Copy)]
enum Bounds {
    /// 0.001 to 16.384, each twice the one before.
    Sync,
    /// kube-proxy's for the way from a change of endpoints to the kernel.
    Programming,
}

impl MetricConstructor<Histogram> for Bounds {
    fn new_metric(&self) -> Histogram {
        match self {
            Self::Sync => Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            Self::Programming => {
                let seconds = (1..60)
                    .chain((60..120).step_by(5))
                    .chain((120..=300).step_by(30));
                Histogram::new([0.25, 0.5].into_iter().chain(seconds.map(f64::from)))
            }
        }
    }
}

type Histograms = Labelled<ByFamily, Histogram, Bounds>;
type Seconds = Gauge<f64, AtomicU64>;

/// kube-proxy's metrics for ipvs mode under their names, and ours under the prefix `ipvs_proxier_`. Telling it something
/// costs the same whatever the number of Services; it can be shared, a clone counts the same.
///
/// ```
/// use std::time::SystemTime;
/// use ipvs_codec::Family;
/// use ipvs_proxier::Metrics;
///
/// let metrics = Metrics::new(&Family::ALL, SystemTime::now());
/// metrics.answered_healthz(200);
/// assert!(metrics.text().contains("kubeproxy_proxy_healthz_total{code=\"200\"} 1\n"));
/// ```
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Written one after the other. Clones share them: what is added to one is in the text of all.
    registries: Arc<Mutex<Vec<Arc<Registry>>>>,
    families: Vec<Family>,
    start: SystemTime,
    sync_duration: Histograms,
    synced_at: Labelled<ByFamily, Seconds>,
    queued_at: Labelled<ByFamily, Seconds>,
    programming: Histograms,
    endpoint_changes: Counter,
    endpoint_changes_pending: Gauge,
    service_changes: Counter,
    service_changes_pending: Gauge,
    without_local: Labelled<ByPolicy, Gauge>,
    restore_failures: Labelled<ByFamily, Counter>,
    flows_duration: Histograms,
    flows_deleted: Labelled<ByFamily, Counter>,
    healthz: Labelled<ByCode, Counter>,
    livez: Labelled<ByCode, Counter>,
    operations: Labelled<ByOperation, Counter>,
    plan: Histogram,
    resync: Histogram,
    drift: Labelled<ByDrift, Counter>,
    draining: Gauge,
    set_members: Labelled<BySet, Gauge>,
    observed_at: Seconds,
    virtual_servers: Gauge,
    requests: Requests,
}

const fn by(family: Family) -> ByFamily {
    ByFamily {
        ip_family: name_of(family),
    }
}

const fn name_of(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "IPv4",
        Family::Ipv6 => "IPv6",
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

impl Metrics {
    /// Of a proxier that starts now, for these families.
    #[must_use]
    pub fn new(families: &[Family], start: SystemTime) -> Self {
        let sync = || Labelled::new_with_constructor(Bounds::Sync);
        let metrics = Self {
            registries: Arc::default(),
            families: Vec::new(),
            start,
            sync_duration: sync(),
            synced_at: Labelled::default(),
            queued_at: Labelled::default(),
            programming: Labelled::new_with_constructor(Bounds::Programming),
            endpoint_changes: Counter::default(),
            endpoint_changes_pending: Gauge::default(),
            service_changes: Counter::default(),
            service_changes_pending: Gauge::default(),
            without_local: Labelled::default(),
            restore_failures: Labelled::default(),
            flows_duration: sync(),
            flows_deleted: Labelled::default(),
            healthz: Labelled::default(),
            livez: Labelled::default(),
            operations: Labelled::default(),
            plan: Histogram::new(exponential_buckets(1.0, 4.0, 11)),
            resync: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            drift: Labelled::default(),
            draining: Gauge::default(),
            set_members: Labelled::default(),
            observed_at: Seconds::default(),
            virtual_servers: Gauge::default(),
            requests: Requests::default(),
        };
        metrics.add(metrics.registered());
        metrics.of_families(families)
    }

    /// The same of other families, where they are known later than the start. Clones from before tell of them as well.
    ///
    /// ```
    /// use std::time::SystemTime;
    /// use ipvs_codec::Family;
    /// use ipvs_proxier::Metrics;
    ///
    /// let served = Metrics::new(&[], SystemTime::now());
    /// let metrics = served.clone().of_families(&[Family::Ipv4]);
    /// let of_family = "kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 0\n";
    /// assert!(served.text().contains(of_family) && metrics.text().contains(of_family));
    /// ```
    #[must_use]
    pub fn of_families(mut self, families: &[Family]) -> Self {
        self.families = families.to_vec();
        for family in families {
            // There from the start, so that a rate of them is known from the start.
            let by = by(*family);
            drop(self.sync_duration.get_or_create(&by));
            drop(self.programming.get_or_create(&by));
            drop(self.restore_failures.get_or_create(&by));
            drop(self.flows_duration.get_or_create(&by));
            drop(self.flows_deleted.get_or_create(&by));
        }
        self
    }

    fn add(&self, registry: Registry) {
        let mut registries = self
            .registries
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        registries.push(Arc::new(registry));
    }

    /// With IPVS's counters of at most `most` virtual servers (the first by address) and ten times as many real servers,
    /// read when they are asked for: a dump of all virtual servers, and a request for each one that is told.
    ///
    /// ```no_run
    /// use std::time::SystemTime;
    /// use ipvs_codec::Family;
    /// use ipvs_netlink::Ipvs;
    /// use ipvs_proxier::Metrics;
    ///
    /// let metrics = Metrics::new(&Family::ALL, SystemTime::now()).with_traffic(Ipvs::open()?, 100);
    /// assert!(metrics.text().contains("ipvs_proxier_traffic_complete 1\n"));
    /// # Ok::<(), ipvs_netlink::Error>(())
    /// ```
    #[must_use]
    pub fn with_traffic(self, ipvs: Ipvs, most: usize) -> Self {
        let mut registry = Registry::with_prefix(OURS);
        registry.register_collector(Box::new(Traffic::new(ipvs, most)));
        self.add(registry);
        self
    }

    /// With what components of Kubernetes tell of their program: `kubernetes_build_info`, `kubernetes_feature_enabled`.
    ///
    /// ```
    /// use std::time::SystemTime;
    /// use ipvs_codec::Family;
    /// use ipvs_proxier::{Build, Metrics, Program};
    ///
    /// let program = Program {
    ///     version: "0.1.0",
    ///     build: Build { compiler: "1.95.0", ..Build::default() },
    ///     gates: vec![("AllowServiceExternalIPs", "DEPRECATED", true)],
    /// };
    /// let text = Metrics::new(&Family::ALL, SystemTime::now()).with_program(program).text();
    /// let gate = "kubernetes_feature_enabled{name=\"AllowServiceExternalIPs\",stage=\"DEPRECATED\"} 1\n";
    /// assert!(text.contains(gate) && text.contains("git_version=\"v0.1.0\",go_version=\"rustc1.95.0\""), "{text}");
    /// ```
    #[must_use]
    pub fn with_program(self, program: Program) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Kubernetes(program)));
        self.add(registry);
        self
    }

    /// A registry adds `_total` to the names of counters.
    fn registered(&self) -> Registry {
        let mut registry = Registry::default();
        let kube = registry.sub_registry_with_prefix("kubeproxy");
        macro_rules! register {
            ($registry:ident: $($metric:ident $name:literal $help:literal;)*) => {
                $($registry.register($name, $help, self.$metric.clone());)*
            };
        }
        register! { kube:
            sync_duration "sync_proxy_rules_duration_seconds" "Time of a sync";
            synced_at "sync_proxy_rules_last_timestamp_seconds" "End of the last sync that succeeded";
            queued_at "sync_proxy_rules_last_queued_timestamp_seconds" "When a sync was last asked for";
            programming "network_programming_duration_seconds" "From a change of endpoints to the kernel";
            endpoint_changes_pending "sync_proxy_rules_endpoint_changes_pending" "Changes of EndpointSlices that wait for a sync";
            endpoint_changes "sync_proxy_rules_endpoint_changes" "Changes of EndpointSlices";
            service_changes_pending "sync_proxy_rules_service_changes_pending" "Changes of Services that wait for a sync";
            service_changes "sync_proxy_rules_service_changes" "Changes of Services";
            without_local "sync_proxy_rules_no_local_endpoints_total" "Services with a policy Local whose endpoints are all elsewhere";
            restore_failures "sync_proxy_rules_iptables_restore_failures" "Failures of iptables-restore";
            flows_duration "conntrack_reconciler_sync_duration_seconds" "Time of a look through tracked flows";
            flows_deleted "conntrack_reconciler_deleted_entries" "Tracked flows that were deleted";
            healthz "proxy_healthz" "Answers of /healthz";
            livez "proxy_livez" "Answers of /livez";
        }
        registry.register_collector(Box::new(Process));
        self.requests.register(&mut registry);
        let ours = registry.sub_registry_with_prefix(OURS);
        register! { ours:
            operations "operations" "Operations on the kernel, and the error number of those that failed: -1 where there is none";
            plan "plan_operations" "Operations of a sync";
            resync "resync_seconds" "Time of a start or a resync: everything read, compared and repaired, with what was done in between";
            drift "drift" "Operations that repaired what others did, by how it came out: the kernel told it, what it told was lost, a canary was gone, or a resync";
            draining "draining_virtual_servers" "Virtual servers with real servers that wait for the end of their connections";
            set_members "set_members" "Entries of a set, of at most 65536";
            observed_at "last_observe_timestamp_seconds" "When the kernel's state was last read";
            virtual_servers "virtual_servers" "Virtual servers that should be there";
        }
        registry
    }

    /// Changes came in; they wait for a sync.
    pub fn changed(&self, changes: &[Change], now: SystemTime) {
        if changes.is_empty() {
            return;
        }
        // kube-proxy has one counting proxier for each family: a Service changes for both.
        let families = self.families.len() as u64;
        for change in changes {
            match change {
                Change::Service(_) | Change::ServiceGone(_) => {
                    self.service_changes.inc_by(families);
                }
                Change::EndpointSlice(_) | Change::EndpointSliceGone(_) => {
                    self.endpoint_changes.inc();
                }
                _ => {}
            }
        }
        for family in &self.families {
            self.queued_at.get_or_create(&by(*family)).set(seconds(now));
        }
    }

    /// An activity of a controller ended. Triggers from before the start say nothing about this proxier.
    pub fn ended(&self, ended: &Ended) {
        for ((operation, cause), count) in &ended.drift {
            let cause = cause.as_str();
            let drift = self.drift.get_or_create(&ByDrift { operation, cause });
            drift.inc_by(*count as u64);
        }
        let took = ended.took().as_secs_f64();
        if matches!(ended.activity, Activity::Start | Activity::Resync) {
            self.resync.observe(took);
        }
        if ended.activity == Activity::Drain {
            return;
        }
        self.plan.observe(ended.operations() as f64);
        for family in &self.families {
            let by = by(*family);
            self.sync_duration.get_or_create(&by).observe(took);
            if ended.covers_changes && !ended.has_failed(*family) {
                let synced_at = self.synced_at.get_or_create(&by);
                synced_at.set(seconds(ended.at.wall));
            }
        }
        let new = ended.programmed.iter();
        for trigger in new.filter(|trigger| trigger.at > self.start) {
            let took = ended.at.wall.duration_since(trigger.at);
            let programming = self.programming.get_or_create(&by(trigger.family));
            programming.observe(took.unwrap_or_default().as_secs_f64());
        }
    }

    /// Takes over what a controller counts. O(1).
    pub fn follow(&self, controller: &Controller) {
        let (status, desired) = (controller.status(), controller.desired());
        let pending = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.service_changes_pending
            .set(pending(status.service_changes_pending));
        self.endpoint_changes_pending
            .set(pending(status.endpoint_changes_pending));
        for family in &self.families {
            let without = desired.without_local(*family);
            let policies = [
                ("internal", without.internal),
                ("external", without.external),
            ];
            for (traffic_policy, count) in policies {
                let by = ByPolicy {
                    traffic_policy,
                    ip_family: name_of(*family),
                };
                self.without_local.get_or_create(&by).set(count.into());
            }
        }
        self.draining.set(whole(status.draining));
        self.virtual_servers
            .set(whole(desired.virtual_server_count()));
    }

    /// An answer of `/healthz`.
    pub fn answered_healthz(&self, code: u16) {
        self.healthz.get_or_create(&ByCode { code }).inc();
    }

    /// An answer of `/livez`.
    pub fn answered_livez(&self, code: u16) {
        self.livez.get_or_create(&ByCode { code }).inc();
    }

    /// When this proxier started.
    #[must_use]
    pub const fn start(&self) -> SystemTime {
        self.start
    }

    /// All of it, as Prometheus's text.
    #[must_use]
    pub fn text(&self) -> String {
        self.encode(Exposition::Text)
    }

    /// All of it in this form. What is read from the kernel may take long.
    #[must_use]
    pub fn encode(&self, exposition: Exposition) -> String {
        let mut out = String::new();
        let registries = self.registries.lock();
        let registries = registries.unwrap_or_else(PoisonError::into_inner).clone();
        // Writing to memory does not fail.
        for registry in &registries {
            let _ = text::encode_registry(&mut out, registry);
        }
        let _ = text::encode_eof(&mut out);
        exposition.of(out)
    }
}

fn whole(count: usize) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
