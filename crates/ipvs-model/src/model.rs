use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use ipvs_codec::{Family, ServiceKey};

use crate::compile::{Contribution, Facts, compile};
use crate::config::Config;
use crate::desired::{Desired, Key, Owner};
use crate::diff::{Diff, clean_up};
use crate::input::{Change, EndpointSlice, Node, ObjectName, Service};
use crate::known::Known;
use crate::plan::{Operation, Plan};

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
    node_ips: Vec<IpAddr>,
    node_addresses: Vec<IpAddr>,
    zone: Option<String>,
    pod_cidrs: Vec<IpNet>,
    services: HashMap<ObjectName, Tracked>,
    /// Which service a slice belongs to.
    slices: HashMap<ObjectName, ObjectName>,
    desired: Desired,
    /// Services to compile before the next plan.
    stale: BTreeSet<ObjectName>,
    /// Keys that the next plan looks at.
    touched: BTreeSet<Key>,
    compiled: u64,
}

#[derive(Debug, Default)]
struct Tracked {
    service: Option<Service>,
    slices: BTreeMap<ObjectName, EndpointSlice>,
    contribution: Option<(Arc<Owner>, Contribution)>,
}

impl Model {
    /// A model of an empty cluster.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let node_ips = config.node_ips.clone();
        Self {
            config,
            node_ips,
            node_addresses: Vec::new(),
            zone: None,
            pod_cidrs: Vec::new(),
            services: HashMap::new(),
            slices: HashMap::new(),
            desired: Desired::default(),
            stale: BTreeSet::new(),
            touched: BTreeSet::new(),
            compiled: 0,
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
        &self.node_ips
    }

    /// What the kernel should hold, as of the last plan.
    #[must_use]
    pub const fn desired(&self) -> &Desired {
        &self.desired
    }

    /// How many services were compiled so far.
    #[must_use]
    pub const fn compiled(&self) -> u64 {
        self.compiled
    }

    /// Takes in a change. Nothing is compiled before the next plan, so that several changes of a service cost one
    /// compilation. O(log n) of the service's slices; a change of this node's addresses makes every service stale.
    pub fn change(&mut self, change: Change) {
        match change {
            Change::Service(service) => {
                let name = service.name.clone();
                let tracked = self.services.entry(name.clone()).or_default();
                if tracked.service.as_ref() != Some(&service) {
                    tracked.service = Some(service);
                    self.stale.insert(name);
                }
            }
            Change::ServiceGone(name) => {
                if let Some(tracked) = self.services.get_mut(&name) {
                    tracked.service = None;
                    self.stale.insert(name);
                }
            }
            Change::EndpointSlice(slice) => self.put_slice(slice),
            Change::EndpointSliceGone(name) => self.remove_slice(&name),
            Change::Node(node) => self.put_node(node),
            Change::NodeAddresses(mut addresses) => {
                addresses.sort_unstable();
                addresses.dedup();
                if addresses != self.node_addresses {
                    self.node_addresses = addresses;
                    self.all_are_stale();
                }
            }
        }
    }

    fn put_slice(&mut self, slice: EndpointSlice) {
        let belonged = self.slices.get(&slice.name);
        if belonged != slice.service.as_ref() {
            self.remove_slice(&slice.name);
        }
        let Some(service) = slice.service.clone() else {
            return;
        };
        let tracked = self.services.entry(service.clone()).or_default();
        if tracked.slices.get(&slice.name) != Some(&slice) {
            self.slices.insert(slice.name.clone(), service.clone());
            tracked.slices.insert(slice.name.clone(), slice);
            self.stale.insert(service);
        }
    }

    fn remove_slice(&mut self, name: &ObjectName) {
        let Some(service) = self.slices.remove(name) else {
            return;
        };
        if let Some(tracked) = self.services.get_mut(&service) {
            tracked.slices.remove(name);
            self.stale.insert(service);
        }
    }

    fn put_node(&mut self, node: Node) {
        if node.name != self.config.node_name {
            return;
        }
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
        if node.pod_cidrs != self.pod_cidrs {
            self.pod_cidrs = node.pod_cidrs;
            self.touched.extend(Family::ALL.map(Key::Rules));
        }
        if node_ips != self.node_ips || node.zone != self.zone {
            self.node_ips = node_ips;
            self.zone = node.zone;
            self.all_are_stale();
        }
    }

    /// The node itself changed, which is rare. O(services).
    fn all_are_stale(&mut self) {
        self.stale.extend(self.services.keys().cloned());
    }

    /// The plan for what changed since the last one. O(change).
    pub fn plan(&mut self, known: &Known) -> Plan {
        self.compile_stale();
        let touched = std::mem::take(&mut self.touched);
        self.diff(known).keys(&touched)
    }

    /// The plan for everything: at start, to verify, after errors. O(everything).
    pub fn plan_everything(&mut self, known: &Known) -> Plan {
        self.compile_stale();
        self.touched.clear();
        self.diff(known).everything()
    }

    /// The plan that removes what this model's node would have made, as far as `known` has it.
    #[must_use]
    pub fn plan_clean_up(&self, known: &Known) -> Plan {
        clean_up(&self.config, known)
    }

    /// Lets `known` share memory with what is desired, for the virtual servers of a plan that was applied. O(plan).
    pub fn share(&self, plan: &Plan, known: &mut Known) {
        let mut keys: Vec<ServiceKey> = plan.operations.iter().filter_map(added_to).collect();
        keys.dedup();
        known.share(&self.desired, keys.into_iter());
    }

    fn diff<'a>(&'a self, known: &'a Known) -> Diff<'a> {
        Diff {
            config: &self.config,
            pod_cidrs: &self.pod_cidrs,
            desired: &self.desired,
            known,
        }
    }

    fn compile_stale(&mut self) {
        for name in std::mem::take(&mut self.stale) {
            let Some(tracked) = self.services.get_mut(&name) else {
                continue;
            };
            let facts = Facts {
                config: &self.config,
                node_ips: &self.node_ips,
                node_addresses: &self.node_addresses,
                zone: self.zone.as_deref(),
            };
            let new = tracked.service.as_ref().map(|service| {
                self.compiled = self.compiled.saturating_add(1);
                let owner = Owner::new(service.created.as_deref(), name.clone());
                (
                    Arc::new(owner),
                    compile(service, tracked.slices.values(), &facts),
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
            if tracked.service.is_none() && tracked.slices.is_empty() {
                self.services.remove(&name);
            }
        }
    }
}

fn added_to(operation: &Operation) -> Option<ServiceKey> {
    match operation {
        Operation::AddVirtualServer { service } | Operation::SetVirtualServer { service } => {
            Some(service.key)
        }
        Operation::AddRealServer { virtual_server, .. }
        | Operation::SetRealServer { virtual_server, .. }
        | Operation::RemoveRealServer { virtual_server, .. } => Some(*virtual_server),
        _ => None,
    }
}
