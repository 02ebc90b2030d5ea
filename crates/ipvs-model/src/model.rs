mod explain;
mod foreign;
mod planning;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use ipnet::IpNet;
use ipvs_codec::{Family, ServiceKey};

use crate::claims::Claimant;
use crate::compile::compile;
use crate::config::{Config, VipBinding};
use crate::contribution::Contribution;
use crate::desired::Desired;
use crate::facts::{Facts, Surroundings};
use crate::filter::FilterShape;
use crate::input::{Change, EndpointSlice, Node, ObjectName, Service};
use crate::key::Key;
use crate::problem::Problem;

/// `RTAX_MTU` is cut to it: 65,535 bytes without room for a header.
const LARGEST_MTU: u32 = 65_520;

/// The cluster as one node sees it, and what it should make of it.
///
/// A change costs its own size: it compiles the one service that it concerns, and the plan covers the keys that this
/// service had or has. Nothing in its path looks at other services.
///
/// ```
/// use ipvs_model::input::Manifest;
/// use ipvs_model::{Config, Known, Model};
///
/// let manifest: Manifest = serde_json::from_str(r#"{
///     "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
///     "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}
/// }"#).unwrap();
/// let mut model = Model::new(Config::default());
/// for change in manifest.into_changes().unwrap() {
///     model.change(change);
/// }
/// let plan = model.plan_everything(&Known::default());
/// assert!(plan.to_string().contains("add virtual server 10.96.0.10:80/TCP scheduler rr"));
/// ```
#[derive(Debug)]
pub struct Model {
    config: Config,
    surroundings: Surroundings,
    /// Of the last Node object that was seen; its deletion alone changes nothing.
    eligible: bool,
    pod_cidrs: Vec<IpNet>,
    services: HashMap<ObjectName, Box<Tracked>>,
    /// Which service a slice belongs to.
    slices: HashMap<ObjectName, ObjectName>,
    /// Names of the nodes of endpoints, each once.
    nodes: HashSet<Arc<str>>,
    desired: Desired,
    /// Services to compile before the next plan.
    stale: Vec<ObjectName>,
    /// Keys that the next plan looks at.
    touched: Vec<Key>,
    /// Whether it looks at everything: what was compiled ahead is not noted key by key.
    is_ahead: bool,
    /// Services that ask for more than kube-proxy has.
    tuned: BTreeSet<ObjectName>,
    /// Services that the addresses of this node's links mean something to.
    on_node: BTreeSet<ObjectName>,
    /// The filter that each family should have, as of the last plan.
    shapes: BTreeMap<Family, FilterShape>,
    compiled: u64,
    /// Virtual servers of others that were taken over.
    taken_over: Vec<(ObjectName, ServiceKey)>,
}

#[derive(Debug, Default)]
struct Tracked {
    service: Option<Service>,
    /// Sorted by name. Mostly one, for which a tree would take the room of eleven.
    slices: Vec<EndpointSlice>,
    contribution: Option<(Arc<Claimant>, Contribution)>,
    /// Whether it stands among the stale ones.
    stale: bool,
}

impl Tracked {
    fn position(&self, slice: &ObjectName) -> Result<usize, usize> {
        self.slices.binary_search_by(|known| known.name.cmp(slice))
    }

    /// Makes it one of the stale ones, if it is not.
    fn outdate(&mut self, name: &ObjectName, stale: &mut Vec<ObjectName>) {
        if !std::mem::replace(&mut self.stale, true) {
            stale.push(name.clone());
        }
    }
}

impl Model {
    /// A model of an empty cluster.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let surroundings = Surroundings {
            node_ips: config.node_ips.clone(),
            ..Surroundings::default()
        };
        Self {
            config,
            surroundings,
            eligible: false,
            pod_cidrs: Vec::new(),
            services: HashMap::default(),
            slices: HashMap::default(),
            nodes: HashSet::default(),
            desired: Desired::default(),
            stale: Vec::new(),
            touched: Vec::new(),
            is_ahead: false,
            tuned: BTreeSet::new(),
            on_node: BTreeSet::new(),
            shapes: BTreeMap::new(),
            compiled: 0,
            taken_over: Vec::new(),
        }
    }

    /// What the node is told.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// This node's addresses as Kubernetes knows them.
    #[must_use]
    pub fn node_ips(&self) -> &[IpAddr] {
        &self.surroundings.node_ips
    }

    /// Whether load balancers should send this node traffic; not before its Node object is seen.
    #[must_use]
    pub const fn is_eligible(&self) -> bool {
        self.eligible
    }

    /// The addresses on which health checks of Services are answered: those that serve node ports, and loopback where it is
    /// named. Where all of a family do, it is the unspecified address of that family, `0.0.0.0` or `::`.
    #[must_use]
    pub fn health_check_addresses(&self) -> Vec<IpAddr> {
        let facts = self.facts();
        let families = self.config.families.iter();
        families
            .flat_map(|family| facts.health_check_addresses(*family))
            .collect()
    }

    /// What the kernel should hold, as of the last plan.
    #[must_use]
    pub const fn desired(&self) -> &Desired {
        &self.desired
    }

    /// The services whose [problems](Desired::problems_of) may have changed since the last call, each once and sorted: those
    /// that a plan compiled, and the others that claim a virtual server of theirs. O(those log those).
    ///
    /// ```
    /// use ipvs_model::input::Manifest;
    /// use ipvs_model::{Config, Known, Model};
    ///
    /// let manifest: Manifest = serde_json::from_str(r#"{
    ///     "apiVersion": "v1", "kind": "Service",
    ///     "metadata": {"name": "web", "annotations": {"ipvs-proxier/one-packet": "perhaps"}},
    ///     "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}
    /// }"#).unwrap();
    /// let mut model = Model::new(Config::default());
    /// for change in manifest.into_changes().unwrap() {
    ///     model.change(change);
    /// }
    /// model.plan(&Known::default());
    /// let changed = model.take_problem_changes();
    /// assert_eq!(model.desired().problems_of(&changed[0]).count(), 1);
    /// model.plan(&Known::default());
    /// assert!(model.take_problem_changes().is_empty());
    /// ```
    pub fn take_problem_changes(&mut self) -> Vec<ObjectName> {
        self.desired.take_problem_changes()
    }

    /// The families in which, since the last call, a virtual server of UDP has got other endpoints that serve: tracked flows
    /// may be [stale](Desired::is_stale). An endpoint that terminates serves until it is gone, long after its real server is.
    /// O(1).
    ///
    /// ```
    /// use ipvs_codec::Family;
    /// use ipvs_model::input::Manifest;
    /// use ipvs_model::{Config, Known, Model};
    ///
    /// let dns: Manifest = serde_json::from_str(r#"{"apiVersion": "v1", "kind": "List", "items": [
    ///     {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dns"},
    ///      "spec": {"clusterIP": "10.96.0.53", "ports": [{"port": 53, "protocol": "UDP"}]}},
    ///     {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
    ///      "metadata": {"name": "dns-1", "labels": {"kubernetes.io/service-name": "dns"}},
    ///      "ports": [{"port": 5353, "protocol": "UDP"}], "endpoints": [{"addresses": ["10.244.0.1"]}]}
    /// ]}"#).unwrap();
    /// let mut model = Model::new(Config::default());
    /// for change in dns.into_changes().unwrap() {
    ///     model.change(change);
    /// }
    /// model.plan(&Known::default());
    /// assert_eq!(model.take_flow_changes().collect::<Vec<_>>(), [Family::Ipv4]);
    /// assert_eq!(model.take_flow_changes().count(), 0);
    /// ```
    pub fn take_flow_changes(&mut self) -> impl Iterator<Item = Family> + use<> {
        self.desired.take_flow_changes()
    }

    /// Whether something changed that no plan has covered. O(1).
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        !self.stale.is_empty() || !self.touched.is_empty()
    }

    /// How many services are known. O(1).
    #[must_use]
    pub fn service_count(&self) -> usize {
        self.services.len()
    }

    /// How many services were compiled so far.
    #[must_use]
    pub const fn compiled(&self) -> u64 {
        self.compiled
    }

    /// Takes in a change. Nothing is compiled before the next plan, so that several changes of a service cost one
    /// compilation. O(log n) of the service's slices; a change of the addresses of
    /// this node's links makes those stale that have node ports, or addresses from elsewhere, and one of its Node object or of the MTU of routes all.
    pub fn change(&mut self, change: Change) {
        match change {
            Change::Service(service) => {
                let name = service.name.clone();
                list(&mut self.tuned, &name, service.tuning.is_some());
                list(&mut self.on_node, &name, is_on_node(&service));
                let tracked = self.services.entry(name.clone()).or_default();
                if tracked.service.as_ref() != Some(&service) {
                    tracked.service = Some(service);
                    tracked.outdate(&name, &mut self.stale);
                }
            }
            Change::ServiceGone(name) => {
                if let Some(tracked) = self.services.get_mut(&name) {
                    self.tuned.remove(&name);
                    self.on_node.remove(&name);
                    tracked.service = None;
                    tracked.outdate(&name, &mut self.stale);
                }
            }
            Change::EndpointSlice(slice) => self.put_slice(slice),
            Change::EndpointSliceGone(name) => self.remove_slice(&name),
            Change::Node(node) => self.put_node(node),
            Change::NodeGone(name) => self.put_neighbour(&name, None, Vec::new()),
            Change::Gateways(gateways) => {
                if gateways != self.surroundings.neighbours.gateways {
                    self.surroundings.neighbours.gateways = gateways;
                    if self.config.never_bind.gateways {
                        self.all_are_stale();
                    }
                }
            }
            Change::NoScheduler(scheduler) => {
                if self
                    .surroundings
                    .neighbours
                    .missing_schedulers
                    .insert(scheduler)
                {
                    self.tuned_are_stale();
                }
            }
            Change::NodeAddresses(mut addresses) => {
                addresses.sort_unstable();
                addresses.dedup();
                if addresses != self.surroundings.node_addresses {
                    self.surroundings.node_addresses = addresses;
                    outdate(&self.on_node, &mut self.services, &mut self.stale);
                }
            }
            Change::SmallestMtu(mtu) => {
                // A larger one would be read back as this.
                let mtu = mtu.map(|mtu| mtu.min(LARGEST_MTU));
                if mtu != self.surroundings.mtu {
                    self.surroundings.mtu = mtu;
                    if self.config.vip_binding == VipBinding::Route {
                        self.all_are_stale();
                    }
                }
            }
        }
    }

    /// Endpoints of a node share its name, of which there would be as many as endpoints.
    fn share_nodes(&mut self, slice: &mut EndpointSlice) {
        for node in slice
            .endpoints
            .iter_mut()
            .filter_map(|endpoint| endpoint.node.as_mut())
        {
            if let Some(known) = self.nodes.get(node) {
                *node = Arc::clone(known);
                continue;
            }
            if self.nodes.len() == self.nodes.capacity() {
                self.nodes.retain(|known| Arc::strong_count(known) > 1);
            }
            self.nodes.insert(Arc::clone(node));
        }
    }

    fn put_slice(&mut self, mut slice: EndpointSlice) {
        let belonged = self.slices.get(&slice.name);
        if belonged != slice.service.as_ref() {
            self.remove_slice(&slice.name);
        }
        let Some(service) = slice.service.clone() else {
            return;
        };
        self.share_nodes(&mut slice);
        let tracked = self.services.entry(service.clone()).or_default();
        match tracked.position(&slice.name) {
            Ok(at) => match tracked.slices.get_mut(at) {
                Some(place) if *place != slice => *place = slice,
                _ => return,
            },
            Err(at) => {
                self.slices.insert(slice.name.clone(), service.clone());
                tracked.slices.reserve_exact(1);
                tracked.slices.insert(at, slice);
            }
        }
        tracked.outdate(&service, &mut self.stale);
    }

    fn remove_slice(&mut self, name: &ObjectName) {
        let Some(service) = self.slices.remove(name) else {
            return;
        };
        if let Some(tracked) = self.services.get_mut(&service) {
            if let Ok(at) = tracked.position(name) {
                tracked.slices.remove(at);
            }
            tracked.outdate(&service, &mut self.stale);
        }
    }

    fn put_node(&mut self, node: Node) {
        if node.name != self.config.node_name {
            self.put_neighbour(&node.name, node.weight, node.addresses);
            return;
        }
        self.put_neighbour(&node.name, node.weight, Vec::new());
        let mut node_ips = self.config.node_ips.clone();
        for family in Family::ALL {
            let known = node_ips.iter().any(|ip| Family::of(*ip) == family);
            let address = node
                .addresses
                .iter()
                .copied()
                .find(|ip| Family::of(*ip) == family);
            node_ips.extend(address.filter(|_| !known));
        }
        self.eligible = node.eligible;
        if node.pod_cidrs != self.pod_cidrs {
            self.pod_cidrs = node.pod_cidrs;
            self.touched.extend(Family::ALL.map(Key::Rules));
        }
        if node_ips != self.surroundings.node_ips || node.zone != self.surroundings.zone {
            self.surroundings.node_ips = node_ips;
            self.surroundings.zone = node.zone;
            self.all_are_stale();
        }
    }

    /// What another node means to services here: weights to those that ask for them, addresses to those that have the
    /// same, which is rare. O(tuned services) if the weight is another one.
    fn put_neighbour(&mut self, name: &str, weight: Option<u32>, addresses: Vec<IpAddr>) {
        let weights = &mut self.surroundings.neighbours.weights;
        let before = match weight {
            Some(weight) => weights.insert(name.to_owned(), weight),
            None => weights.remove(name),
        };
        if before != weight {
            self.tuned_are_stale();
        }
        if !self.config.never_bind.nodes {
            return;
        }
        let known = &mut self.surroundings.neighbours.addresses;
        let before = if addresses.is_empty() {
            known.remove(name)
        } else {
            known.insert(name.to_owned(), addresses.clone())
        };
        let before = before.unwrap_or_default();
        let mut changed = addresses.iter().filter(|ip| !before.contains(ip));
        let taken = changed.any(|ip| self.desired.vip(*ip).is_some());
        let given_back = before.iter().any(|ip| !addresses.contains(ip))
            && self
                .desired
                .problems()
                .any(|(_, problem)| matches!(problem, Problem::NeverBound { .. }));
        if taken || given_back {
            self.all_are_stale();
        }
    }

    fn tuned_are_stale(&mut self) {
        outdate(&self.tuned, &mut self.services, &mut self.stale);
    }

    /// The node itself changed, which is rare. O(services).
    fn all_are_stale(&mut self) {
        for (name, tracked) in &mut self.services {
            tracked.outdate(name, &mut self.stale);
        }
    }

    fn facts(&self) -> Facts<'_> {
        self.surroundings.facts(&self.config)
    }

    /// Compiles those of the stale services that are ready.
    fn compile_stale(&mut self, is_ready: impl Fn(&Tracked) -> bool) {
        self.desired.reserve(self.services.len());
        let facts = self.surroundings.facts(&self.config);
        for name in std::mem::take(&mut self.stale) {
            let Some(tracked) = self.services.get_mut(&name) else {
                continue;
            };
            if !is_ready(tracked) {
                self.stale.push(name);
                continue;
            }
            tracked.stale = false;
            let new = tracked.service.as_ref().map(|service| {
                self.compiled = self.compiled.saturating_add(1);
                let owner = Claimant::of(service);
                (
                    Arc::new(owner),
                    compile(service, tracked.slices.iter(), &facts, None),
                )
            });
            let old = std::mem::replace(&mut tracked.contribution, new);
            self.desired.replace(
                old.as_ref()
                    .map(|(owner, contribution)| (owner, contribution)),
                tracked
                    .contribution
                    .as_ref()
                    .map(|(owner, contribution)| (owner, contribution)),
                &mut self.touched,
            );
            if self.is_ahead {
                self.touched.clear();
            }
            if tracked.service.is_none() && tracked.slices.is_empty() {
                self.services.remove(&name);
            }
        }
    }
}

/// Lets a list have a name, or not.
fn list(names: &mut BTreeSet<ObjectName>, name: &ObjectName, has: bool) {
    if has {
        names.insert(name.clone());
    } else {
        names.remove(name);
    }
}

/// Whether the addresses of this node's links mean something to a service: it is served on them, or its own are bound unless the
/// node has them.
fn is_on_node(service: &Service) -> bool {
    let has_node_port = service.ports.iter().any(|port| port.node_port.is_some());
    has_node_port || !service.external_ips.is_empty() || !service.load_balancer_ips.is_empty()
}

fn outdate(
    names: &BTreeSet<ObjectName>,
    services: &mut HashMap<ObjectName, Box<Tracked>>,
    stale: &mut Vec<ObjectName>,
) {
    for name in names {
        if let Some(tracked) = services.get_mut(name) {
            tracked.outdate(name, stale);
        }
    }
}
