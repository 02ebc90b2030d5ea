use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::time::Duration;

use ipvs_codec::{ForwardMethod, Scheduler, ServiceFlags};

use super::metadata::Metadata;
use crate::error::InputError;

const SCHEDULER: [&str; 2] = ["ipvs-proxier/scheduler", "kube-router.io/service.scheduler"];
const SCHEDULER_FLAGS: [&str; 2] = [
    "ipvs-proxier/scheduler-flags",
    "kube-router.io/service.schedflags",
];
const FORWARDING_METHOD: [&str; 2] = [
    "ipvs-proxier/forwarding-method",
    "kube-router.io/service.dsr",
];
const ONE_PACKET: [&str; 1] = ["ipvs-proxier/one-packet"];
const DRAIN_DEADLINE: [&str; 1] = ["ipvs-proxier/drain-deadline"];
const WEIGHTS: [&str; 1] = ["ipvs-proxier/weights"];
const WEIGH_BY_NODE: [&str; 1] = ["ipvs-proxier/weigh-by-node"];
const SKIP_LOAD_BALANCER: [&str; 2] = [
    "ipvs-proxier/skip-load-balancer",
    "kube-router.io/service.skiplbips",
];
const LOCAL: [&str; 1] = ["kube-router.io/service.local"];
/// On a Node, as annotation or label.
const WEIGHT: &str = "ipvs-proxier/weight";

/// What the annotations of a Service ask for beyond kube-proxy, under `ipvs-proxier/` or in kube-router's words
/// (`kube-router.io/service.`). Nothing by default. The table of annotations stands on the page of the [crate].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Tuning {
    /// The scheduler, instead of the node's.
    pub scheduler: Option<Scheduler>,
    /// Scheduler flags, instead of the scheduler's usual ones.
    pub scheduler_flags: Option<ServiceFlags>,
    /// How packets to external and load balancer addresses reach real servers.
    pub forward: Option<ForwardMethod>,
    /// Each packet of UDP is scheduled by itself.
    pub one_packet: bool,
    /// How long connections of a draining endpoint live on; for ever if `None`.
    pub drain_deadline: Option<Duration>,
    /// Weights of endpoints by the node that they run on.
    pub weights: BTreeMap<Box<str>, u32>,
    /// Whether Nodes give the weights of their endpoints.
    pub weigh_by_node: bool,
    /// Load balancer addresses are not programmed.
    pub skip_load_balancer: bool,
    /// Both traffic policies are Local.
    pub local: bool,
}

impl Tuning {
    /// What can be used; what cannot is left out and reported.
    pub(crate) fn of(metadata: &Metadata, problems: &mut Vec<InputError>) -> Option<Box<Self>> {
        let annotations = metadata.annotations.as_ref()?;
        let mut read = Reader {
            annotations,
            problems,
        };
        let mut tuning = Self {
            scheduler: read.value(&SCHEDULER, "a scheduler is up to 15 letters", scheduler),
            forward: read.value(
                &FORWARDING_METHOD,
                "masq, tunnel or direct",
                forwarding_method,
            ),
            one_packet: read.switch(&ONE_PACKET),
            drain_deadline: read.value(&DRAIN_DEADLINE, "a time as 30s, 5m or 1h", seconds),
            weights: read
                .value(&WEIGHTS, "weights as node-a=3,node-b=0", weights)
                .unwrap_or_default(),
            weigh_by_node: read.switch(&WEIGH_BY_NODE),
            skip_load_balancer: read.switch(&SKIP_LOAD_BALANCER),
            local: read.switch(&LOCAL),
            scheduler_flags: None,
        };
        let scheduler = tuning.scheduler.unwrap_or(Scheduler::RR);
        let words = "sh-port, sh-fallback, mh-port, mh-fallback, flag-1, flag-2 or flag-3";
        tuning.scheduler_flags = read.value(&SCHEDULER_FLAGS, words, |text| {
            let flags = text.split(',').map(str::trim);
            let flags = flags.map(|flag| ServiceFlags::of_scheduler(scheduler, flag));
            flags.collect()
        });
        (tuning != Self::default()).then(|| Box::new(tuning))
    }
}

/// The weight that a Node gives to its endpoints.
pub(super) fn node_weight(metadata: &Metadata) -> Option<u32> {
    let annotations = metadata.annotations.as_ref();
    let annotation = annotations.and_then(|annotations| annotations.get(WEIGHT));
    weight(annotation.map_or_else(|| metadata.label(WEIGHT), |text| Some(text.as_str()))?)
}

struct Reader<'a> {
    annotations: &'a BTreeMap<String, String>,
    problems: &'a mut Vec<InputError>,
}

impl Reader<'_> {
    /// The first of the names that is there.
    fn value<T>(
        &mut self,
        names: &[&str],
        possible: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let found = names
            .iter()
            .find_map(|name| Some((*name, self.annotations.get(*name)?)));
        let (name, text) = found?;
        let value = parse(text.trim());
        if value.is_none() {
            let field = format!("metadata.annotations[{name}]");
            self.problems.push(InputError::new(field, text, possible));
        }
        value
    }

    fn switch(&mut self, names: &[&str]) -> bool {
        let parse = |text: &str| bool::from_str(text).ok();
        self.value(names, "true or false", parse).unwrap_or(false)
    }
}

fn scheduler(text: &str) -> Option<Scheduler> {
    text.parse().ok()
}

fn forwarding_method(text: &str) -> Option<ForwardMethod> {
    match text {
        "masq" => Some(ForwardMethod::MASQUERADE),
        "tunnel" => Some(ForwardMethod::TUNNEL),
        "direct" => Some(ForwardMethod::DIRECT),
        _ => None,
    }
}

/// `90`, `90s`, `5m`, `1h`.
fn seconds(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(['s', 'm', 'h']);
    let unit = match text.strip_prefix(digits)? {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    let count: u32 = digits.parse().ok()?;
    Some(Duration::from_secs(u64::from(count).saturating_mul(unit)))
}

fn weights(text: &str) -> Option<BTreeMap<Box<str>, u32>> {
    let pair = |pair: &str| {
        let (node, number) = pair.split_once('=')?;
        Some((node.trim().into(), weight(number)?))
    };
    text.split(',').map(pair).collect()
}

/// What the kernel takes: the sign bit is refused (ERANGE).
fn weight(text: &str) -> Option<u32> {
    let weight: u32 = text.trim().parse().ok()?;
    (weight <= i32::MAX.cast_unsigned()).then_some(weight)
}
