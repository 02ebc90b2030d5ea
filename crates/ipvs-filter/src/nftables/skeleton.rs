//! Chains and rules: static but for which sets have entries. What changes with Services stands in the sets.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use ipvs_codec::Family;
use ipvs_model::{FilterSet, FilterShape, Masquerade};
use ipvs_netfilter::nftables::{
    BaseChain, Chain, Change, FixedName, Hook, Name, Place, Rule, RuleTooLong, TableId,
};

use super::names::table;
use super::steps::Steps;

/// Numbers of protocols.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Marks what is to be masqueraded.
pub(super) const SERVICES: FixedName = FixedName::new("services");
pub(super) const NODE_PORTS: FixedName = FixedName::new("node-ports");
/// Lets through who may reach a load balancer, and nobody else.
pub(super) const SOURCE_RANGES: FixedName = FixedName::new("source-ranges");
/// Keeps the ports of the host from answering on VIPs.
pub(super) const GUARD: FixedName = FixedName::new("guard");
/// What the node itself must not reach.
pub(super) const REFUSED: FixedName = FixedName::new("refused");
const PREROUTING: FixedName = FixedName::new("prerouting");
pub(super) const INPUT: FixedName = FixedName::new("input");
const FORWARD: FixedName = FixedName::new("forward");
const OUTPUT: FixedName = FixedName::new("output");
pub(super) const POSTROUTING: FixedName = FixedName::new("postrouting");

/// Whether a chain of our table is one that a skeleton may have. Others are somebody's.
///
/// ```
/// use ipvs_filter::nftables::is_our_chain;
/// assert!(is_our_chain(&"guard".parse().unwrap()));
/// assert!(!is_our_chain(&"mine".parse().unwrap()));
/// ```
#[must_use]
pub fn is_our_chain(name: &Name) -> bool {
    let ours = [
        SERVICES,
        NODE_PORTS,
        SOURCE_RANGES,
        GUARD,
        REFUSED,
        PREROUTING,
        INPUT,
        FORWARD,
        OUTPUT,
        POSTROUTING,
    ];
    ours.iter()
        .any(|ours| ours.as_str().as_bytes() == name.as_bytes())
}

/// The part of a family's table that does not change with each Service: made in one transaction.
///
/// What is masqueraded is decided by the first packet of a connection, what is refused by all that come before an answer. A
/// chain that would be empty is not there.
///
/// ```
/// use ipvs_codec::Family;
/// use ipvs_filter::nftables::Skeleton;
/// use ipvs_model::{FilterSet, FilterSets, FilterShape};
/// let shape = FilterShape {
///     family: Family::Ipv4,
///     mark: 0x4000,
///     random_fully: true,
///     cluster_ips: None,
///     filled: FilterSets::default(),
///     without: FilterSets::default(),
///     refused: Default::default(),
/// };
/// let skeleton = Skeleton::of(&shape)?;
/// assert!(skeleton.chains.iter().all(|chain| chain.id.name.to_string() != "forward"));
/// let with_ranges = FilterShape { filled: [FilterSet::Firewalled].into_iter().collect(), ..shape };
/// assert!(Skeleton::of(&with_ranges)?.chains.len() > skeleton.chains.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skeleton {
    /// Its chains. Those that others jump to come first.
    pub chains: Vec<Chain>,
    /// Its rules, those of each chain in order.
    pub rules: Vec<Rule>,
}

impl Skeleton {
    /// The chains and rules of a filter.
    ///
    /// # Errors
    /// [`RuleTooLong`], which no rule is.
    pub fn of(shape: &FilterShape) -> Result<Self, RuleTooLong> {
        Self::in_table(&table(shape.family).id, shape)
    }

    /// The same in another table.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn in_table(table: &TableId, shape: &FilterShape) -> Result<Self, RuleTooLong> {
        let rules = Rules { shape };
        let (mut chains, mut all) = (Vec::new(), Vec::new());
        for (name, base, rules) in rules.chains() {
            if rules.is_empty() {
                continue;
            }
            let id = table.chain(name.into());
            for steps in rules {
                all.push(Rule::new(id.clone(), steps.into_expressions())?);
            }
            chains.push(Chain {
                base,
                ..Chain::new(id)
            });
        }
        Ok(Self { chains, rules: all })
    }

    /// What makes it, where its sets are there and its chains have no rules. O(rules).
    #[must_use]
    pub fn changes(&self) -> Vec<Change<'_>> {
        let chains = self.chains.iter().map(Change::AddChain);
        let rules = self.rules.iter();
        let rules = rules.map(|rule| Change::AddRule(rule, Place::End));
        chains.chain(rules).collect()
    }
}

struct Rules<'a> {
    shape: &'a FilterShape,
}

type ChainRules = (FixedName, Option<BaseChain>, Vec<Steps>);

impl Rules<'_> {
    fn chains(&self) -> Vec<ChainRules> {
        let filter = |hook, priority| Some(BaseChain::filter(hook, priority));
        // Chains of this type see the first packet of a connection alone, as that of postrouting, which takes the mark off. IPVS
        // takes packets of the node itself right behind it.
        let nat = |hook| Some(BaseChain::nat(hook, BaseChain::DSTNAT));
        let srcnat = BaseChain::nat(Hook::POSTROUTING, BaseChain::SRCNAT);
        vec![
            (NODE_PORTS, None, self.node_ports()),
            (SERVICES, None, self.services()),
            (SOURCE_RANGES, None, self.source_ranges()),
            (REFUSED, None, self.refused()),
            (GUARD, None, self.guard()),
            (
                PREROUTING,
                nat(Hook::PREROUTING),
                vec![self.steps().jumps(SERVICES)],
            ),
            (OUTPUT, nat(Hook::OUTPUT), self.output()),
            (INPUT, filter(Hook::INPUT, BaseChain::FILTER), self.input()),
            (
                FORWARD,
                filter(Hook::FORWARD, BaseChain::FILTER),
                self.forward(),
            ),
            (POSTROUTING, Some(srcnat), self.postrouting()),
        ]
    }

    const fn filled(&self, set: FilterSet) -> bool {
        self.shape.filled.contains(set)
    }

    const fn steps(&self) -> Steps {
        Steps::of(self.shape.family)
    }

    /// The set has the packet's destination address, protocol and port.
    fn endpoint(&self, set: FilterSet) -> Steps {
        self.steps().endpoint_in(set)
    }

    fn marks(&self, steps: Steps) -> Steps {
        steps.set_mark(self.shape.mark).returns()
    }

    fn services(&self) -> Vec<Steps> {
        use FilterSet::{ClusterIp, ExternalIp, ExternalIpLocal, LoadBalancer, LoadBalancerLocal};
        let mut rules = vec![
            self.steps()
                .comes_from(loopback(self.shape.family))
                .returns(),
        ];
        if self.filled(LoadBalancerLocal) {
            rules.push(self.endpoint(LoadBalancerLocal).returns());
        }
        if self.filled(LoadBalancer) {
            rules.push(self.marks(self.endpoint(LoadBalancer)));
        }
        if self.filled(ClusterIp) {
            let from = match &self.shape.cluster_ips {
                Some(Masquerade::All) => self.steps(),
                Some(Masquerade::NotFrom(pods)) => self.steps().not_from_pods(pods),
                // Only the node itself connects with a VIP as its source.
                Some(Masquerade::Node) | None => self.steps().source_in(FilterSet::Vip),
            };
            rules.push(self.marks(from.endpoint_in(ClusterIp)));
        }
        if self.filled(ExternalIp) {
            rules.push(self.marks(self.endpoint(ExternalIp)));
        }
        if self.filled(ExternalIpLocal) {
            rules.push(self.endpoint(ExternalIpLocal).returns());
        }
        if !self.node_ports().is_empty() {
            // A port of a VIP that is some node port's number is none.
            let node = self.steps().local_destination();
            rules.push(node.destination_not_in(FilterSet::Vip).jumps(NODE_PORTS));
        }
        rules
    }

    fn node_ports(&self) -> Vec<Steps> {
        use FilterSet::{
            NodePortLocalSctp, NodePortLocalTcp, NodePortLocalUdp, NodePortSctp, NodePortTcp,
            NodePortUdp,
        };
        let steps = self.steps();
        let port = |protocol, set| steps.clone().port_in(protocol, set);
        let rules = [
            (NodePortLocalTcp, port(TCP, NodePortLocalTcp), false),
            (NodePortTcp, port(TCP, NodePortTcp), true),
            (NodePortLocalUdp, port(UDP, NodePortLocalUdp), false),
            (NodePortUdp, port(UDP, NodePortUdp), true),
            (NodePortLocalSctp, self.endpoint(NodePortLocalSctp), false),
            (NodePortSctp, self.endpoint(NodePortSctp), true),
        ];
        let filled = rules.into_iter().filter(|(set, ..)| self.filled(*set));
        let rules = filled.map(|(_, steps, is_masqueraded)| match is_masqueraded {
            true => self.marks(steps),
            false => steps.returns(),
        });
        rules.collect()
    }

    fn source_ranges(&self) -> Vec<Steps> {
        if !self.filled(FilterSet::Firewalled) {
            return Vec::new();
        }
        let sets = [FilterSet::SourceRange, FilterSet::SourceAddress].into_iter();
        let may = sets.filter(|set| self.filled(*set));
        let may = may.map(|set| self.steps().endpoint_and_source_in(set).returns());
        may.chain([self.steps().drops()]).collect()
    }

    /// A packet of this node to a VIP has the VIP as its source, so that what looks at source ranges would let it through.
    fn refused(&self) -> Vec<Steps> {
        let refused = self.shape.refused.iter();
        let refused = refused.map(|served| {
            let from = self.steps().comes_from(served.address.into());
            from.endpoint_is(*served).drops()
        });
        refused.collect()
    }

    fn output(&self) -> Vec<Steps> {
        let mut rules = Vec::new();
        if !self.shape.refused.is_empty() {
            rules.push(self.steps().jumps(REFUSED));
        }
        rules.push(self.steps().jumps(SERVICES));
        rules
    }

    fn firewall(&self) -> Steps {
        self.endpoint(FilterSet::Firewalled).jumps(SOURCE_RANGES)
    }

    fn forward(&self) -> Vec<Steps> {
        if !self.filled(FilterSet::Firewalled) {
            return Vec::new();
        }
        let new = self.steps().begins_connection();
        vec![new.endpoint_in(FilterSet::Firewalled).jumps(SOURCE_RANGES)]
    }

    fn input(&self) -> Vec<Steps> {
        let guard = self.guard();
        let leads = |_| self.steps().begins_connection().jumps(GUARD);
        guard.first().map(leads).into_iter().collect()
    }

    /// VIPs are local addresses: without this, every port of the host would answer on every VIP.
    fn guard(&self) -> Vec<Steps> {
        use FilterSet::{
            ClusterIp, ExternalIp, ExternalIpLocal, HealthCheckPort, LoadBalancer, Vip,
        };
        let mut rules = Vec::new();
        if self.filled(FilterSet::Firewalled) {
            rules.push(self.firewall());
        }
        if !self.shape.asks_for(Vip) {
            return rules;
        }
        rules.push(self.steps().destination_not_in(Vip).returns());
        let served = [ClusterIp, LoadBalancer, ExternalIp, ExternalIpLocal];
        let served = served.into_iter().filter(|set| self.shape.asks_for(*set));
        rules.extend(served.map(|set| self.endpoint(set).returns()));
        if self.shape.asks_for(HealthCheckPort) {
            rules.push(self.steps().port_in(TCP, HealthCheckPort).returns());
        }
        rules.push(self.steps().refuses());
        rules
    }

    /// Masquerades what is marked, and endpoints that connect to themselves.
    fn postrouting(&self) -> Vec<Steps> {
        let mark = self.shape.mark;
        let mut rules = Vec::new();
        if self.filled(FilterSet::Hairpin) {
            let hairpin = self.steps().endpoint_and_source_in(FilterSet::Hairpin);
            rules.push(hairpin.masquerades(false));
        }
        rules.push(self.steps().unmarked(mark).returns());
        // Packets of a tunnel carry the mark on, and are not to be masqueraded themselves.
        rules.push(self.steps().flip_mark(mark));
        rules.push(self.steps().masquerades(self.shape.random_fully));
        rules
    }
}

fn loopback(family: Family) -> IpNet {
    match family {
        Family::Ipv4 => Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into(),
        Family::Ipv6 => std::net::IpAddr::from(Ipv6Addr::LOCALHOST).into(),
    }
}
