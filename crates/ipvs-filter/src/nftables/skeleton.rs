use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use ipvs_netfilter::nftables::{
    BaseChain, Chain, ChainId, Change, Family, Hook, InvalidName, KeyField, KeyType, Name, Place,
    Rule, RuleTooLong, Set, Table, TableId,
};

use super::steps::Steps;
use super::{LocalPods, MasqueradeClusterIps, Shape};

/// A set of the filter, by what its entries are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SetKind {
    /// Cluster IPs: address, protocol and port. Masqueraded as [`Shape::masquerade`] says.
    ClusterIps,
    /// External IPs whose clients are masqueraded.
    ExternalIps,
    /// External IPs whose servers see the client.
    ExternalIpsLocal,
    /// Addresses of load balancers, all of them. Their clients are masqueraded.
    LoadBalancers,
    /// Those of them whose servers see the client.
    LoadBalancersLocal,
    /// Addresses of load balancers that are reached from their source ranges alone.
    Firewalled,
    /// Those ranges: address, protocol, port and a network of clients.
    SourceRanges,
    /// Endpoints of this node that connect to themselves: address, protocol, port and the same address.
    Hairpins,
    /// Node ports, all of them: protocol and port. Their clients are masqueraded.
    NodePorts,
    /// Those of them whose servers see the client.
    NodePortsLocal,
    /// TCP ports where health checks of load balancers are answered.
    HealthCheckPorts,
    /// All addresses that IPVS answers for: what is not in another set is refused.
    Vips,
}

impl SetKind {
    /// All of them, in the order in which they are made.
    pub const ALL: [Self; 12] = [
        Self::ClusterIps,
        Self::ExternalIps,
        Self::ExternalIpsLocal,
        Self::LoadBalancers,
        Self::LoadBalancersLocal,
        Self::Firewalled,
        Self::SourceRanges,
        Self::Hairpins,
        Self::NodePorts,
        Self::NodePortsLocal,
        Self::HealthCheckPorts,
        Self::Vips,
    ];

    /// Its name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClusterIps => "cluster-ips",
            Self::ExternalIps => "external-ips",
            Self::ExternalIpsLocal => "external-ips-local",
            Self::LoadBalancers => "load-balancers",
            Self::LoadBalancersLocal => "load-balancers-local",
            Self::Firewalled => "firewalled",
            Self::SourceRanges => "source-ranges",
            Self::Hairpins => "hairpins",
            Self::NodePorts => "node-ports",
            Self::NodePortsLocal => "node-ports-local",
            Self::HealthCheckPorts => "health-check-ports",
            Self::Vips => "vips",
        }
    }

    fn fields(self, address: KeyField) -> Vec<KeyField> {
        use KeyField::{Port, Protocol};
        match self {
            Self::SourceRanges | Self::Hairpins => vec![address, Protocol, Port, address],
            Self::NodePorts | Self::NodePortsLocal => vec![Protocol, Port],
            Self::HealthCheckPorts => vec![Port],
            Self::Vips => vec![address],
            _ => vec![address, Protocol, Port],
        }
    }
}

/// A shape that no filter has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidShape {
    /// The family is neither IPv4 nor IPv6.
    #[error("a filter is of family ip or ip6, not {0}")]
    Family(Family),
    /// The network of the pods is of the other family.
    #[error("{0} is no network of family {1}")]
    OtherFamily(IpNet, Family),
    /// No bit says what is masqueraded.
    #[error("a mark of 0 marks nothing")]
    NoMark,
    /// The key of a set has more fields than one can have.
    #[error("the key of set {} is too long", .0.name())]
    Key(SetKind),
    /// A set or a chain has no name.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A rule has more steps than the kernel takes.
    #[error(transparent)]
    Rule(#[from] RuleTooLong),
}

/// The part of a family's filter that does not change with Services: to be made in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skeleton {
    /// The table.
    pub table: Table,
    /// Its sets, each with what it is for.
    pub sets: Vec<(SetKind, Set)>,
    /// Its chains.
    pub chains: Vec<Chain>,
    /// Its rules, those of each chain in order.
    pub rules: Vec<Rule>,
}

/// The chains, by their names.
struct Chains {
    services: ChainId,
    prerouting: ChainId,
    output: ChainId,
    postrouting: ChainId,
    input: ChainId,
    forward: ChainId,
    source_ranges: ChainId,
}

impl Skeleton {
    /// A family's filter of a shape.
    ///
    /// # Errors
    /// [`InvalidShape`].
    pub fn of(shape: &Shape) -> Result<Self, InvalidShape> {
        let address = match shape.family {
            Family::IPV4 => KeyField::Ipv4,
            Family::IPV6 => KeyField::Ipv6,
            other => return Err(InvalidShape::Family(other)),
        };
        if shape.mark == 0 {
            return Err(InvalidShape::NoMark);
        }
        if let MasqueradeClusterIps::NotFrom(LocalPods::Network(network)) = &shape.masquerade
            && network.addr().is_ipv6() != (shape.family == Family::IPV6)
        {
            return Err(InvalidShape::OtherFamily(*network, shape.family));
        }
        let table = Table::new(TableId {
            family: shape.family,
            name: shape.name.clone(),
        });
        let mut sets = Vec::with_capacity(SetKind::ALL.len());
        for kind in SetKind::ALL {
            let id = table.id.set(kind.name().parse()?);
            let key = KeyType::of(&kind.fields(address)).ok_or(InvalidShape::Key(kind))?;
            let set = match kind {
                SetKind::SourceRanges => Set::of_intervals(id, &key),
                _ => Set::new(id, &key),
            };
            sets.push((kind, set));
        }
        let ids = Chains::of(&table.id)?;
        let rules = Rules { shape, ids: &ids };
        Ok(Self {
            sets,
            chains: ids.chains(),
            rules: rules.all()?,
            table,
        })
    }

    /// What makes it, in the order in which it can be made. The table must not be there.
    #[must_use]
    pub fn changes(&self) -> Vec<Change<'_>> {
        let mut changes = vec![Change::CreateTable(&self.table)];
        changes.extend(self.sets.iter().map(|(_, set)| Change::AddSet(set)));
        changes.extend(self.chains.iter().map(Change::AddChain));
        let rules = self.rules.iter();
        changes.extend(rules.map(|rule| Change::AddRule(rule, Place::End)));
        changes
    }

    /// A set.
    #[must_use]
    pub fn set(&self, kind: SetKind) -> Option<&Set> {
        let found = self.sets.iter().find(|(found, _)| *found == kind);
        found.map(|(_, set)| set)
    }
}

impl Chains {
    fn of(table: &TableId) -> Result<Self, InvalidName> {
        let chain = |name: &str| Ok(table.chain(name.parse()?));
        Ok(Self {
            services: chain("services")?,
            prerouting: chain("prerouting")?,
            output: chain("output")?,
            postrouting: chain("postrouting")?,
            input: chain("input")?,
            forward: chain("forward")?,
            source_ranges: chain("source-ranges")?,
        })
    }

    /// Chains that rules jump to come first.
    fn chains(&self) -> Vec<Chain> {
        let base = |id: &ChainId, base: BaseChain| Chain {
            base: Some(base),
            ..Chain::new(id.clone())
        };
        let filter = |id, hook, priority| base(id, BaseChain::filter(hook, priority));
        vec![
            Chain::new(self.services.clone()),
            Chain::new(self.source_ranges.clone()),
            filter(&self.prerouting, Hook::PREROUTING, BaseChain::DSTNAT),
            filter(&self.output, Hook::OUTPUT, BaseChain::DSTNAT),
            filter(&self.input, Hook::INPUT, BaseChain::FILTER),
            filter(&self.forward, Hook::FORWARD, BaseChain::FILTER),
            base(
                &self.postrouting,
                BaseChain::nat(Hook::POSTROUTING, BaseChain::SRCNAT),
            ),
        ]
    }
}

struct Rules<'a> {
    shape: &'a Shape,
    ids: &'a Chains,
}

impl Rules<'_> {
    fn all(&self) -> Result<Vec<Rule>, InvalidShape> {
        let ids = self.ids;
        let jump = || vec![self.steps().begins_connection().jumps(&ids.services.name)];
        let chains = [
            (&ids.services, self.services()?),
            (&ids.source_ranges, self.source_ranges()?),
            (&ids.prerouting, jump()),
            (&ids.output, jump()),
            (&ids.input, self.input()?),
            (&ids.forward, vec![self.firewall()?]),
            (&ids.postrouting, self.postrouting()?),
        ];
        let mut all = Vec::new();
        for (chain, rules) in chains {
            for steps in rules {
                all.push(Rule::new(chain.clone(), steps.into_expressions())?);
            }
        }
        Ok(all)
    }

    const fn steps(&self) -> Steps {
        Steps::of(self.shape.family)
    }

    /// The set of a kind has the packet's destination address, protocol and port.
    fn endpoint(&self, kind: SetKind) -> Result<Steps, InvalidName> {
        Ok(self.steps().endpoint_in(&kind.name().parse()?))
    }

    /// Marks what is to be masqueraded, of packets that begin a connection.
    fn services(&self) -> Result<Vec<Steps>, InvalidName> {
        let mark = self.shape.mark;
        let vips: Name = SetKind::Vips.name().parse()?;
        // A port of a VIP that is some node port's number is none.
        let node_port = |kind: SetKind| -> Result<Steps, InvalidName> {
            let steps = self.steps().local_destination().destination_not_in(&vips);
            Ok(steps.transport_in(&kind.name().parse()?))
        };
        let masqueraded = match &self.shape.masquerade {
            MasqueradeClusterIps::All => self.steps(),
            MasqueradeClusterIps::NotFrom(pods) => self.steps().not_from_pods(pods),
            MasqueradeClusterIps::Node => self.steps().source_in(&vips),
        };
        let cluster_ips = masqueraded.endpoint_in(&SetKind::ClusterIps.name().parse()?);
        let loopback = loopback(self.shape.family);
        Ok(vec![
            self.steps().comes_from(loopback).returns(),
            self.endpoint(SetKind::LoadBalancersLocal)?.returns(),
            self.endpoint(SetKind::LoadBalancers)?
                .set_mark(mark)
                .returns(),
            cluster_ips.set_mark(mark).returns(),
            self.endpoint(SetKind::ExternalIps)?
                .set_mark(mark)
                .returns(),
            node_port(SetKind::NodePortsLocal)?.returns(),
            node_port(SetKind::NodePorts)?.set_mark(mark),
        ])
    }

    /// Lets through who may reach a load balancer, and nobody else.
    fn source_ranges(&self) -> Result<Vec<Steps>, InvalidName> {
        let ranges = SetKind::SourceRanges.name().parse()?;
        Ok(vec![
            self.steps().endpoint_and_source_in(&ranges).returns(),
            self.steps().drops(),
        ])
    }

    fn firewall(&self) -> Result<Steps, InvalidName> {
        let steps = self.endpoint(SetKind::Firewalled)?;
        Ok(steps.jumps(&self.ids.source_ranges.name))
    }

    /// Refuses what goes to a VIP and is no service port.
    fn input(&self) -> Result<Vec<Steps>, InvalidName> {
        let mut rules = vec![self.firewall()?];
        let served = [
            SetKind::LoadBalancers,
            SetKind::ClusterIps,
            SetKind::ExternalIps,
            SetKind::ExternalIpsLocal,
        ];
        for kind in served {
            rules.push(self.endpoint(kind)?.returns());
        }
        let health_checks = SetKind::HealthCheckPorts.name().parse()?;
        rules.push(self.steps().tcp_port_in(&health_checks).returns());
        let vip = self.steps().begins_connection();
        let vip = vip.destination_in(&SetKind::Vips.name().parse()?);
        rules.push(vip.refuses());
        Ok(rules)
    }

    /// Masquerades what is marked, and endpoints that connect to themselves.
    fn postrouting(&self) -> Result<Vec<Steps>, InvalidName> {
        let (mark, fully_random) = (self.shape.mark, self.shape.fully_random);
        let hairpins = SetKind::Hairpins.name().parse()?;
        let hairpin = self.steps().endpoint_and_source_in(&hairpins);
        Ok(vec![
            hairpin.masquerades(false),
            self.steps().unmarked(mark).returns(),
            // Packets of a tunnel carry the mark on, and are not to be masqueraded themselves.
            self.steps().flip_mark(mark),
            self.steps().masquerades(fully_random),
        ])
    }
}

fn loopback(family: Family) -> IpNet {
    match family {
        Family::IPV6 => Ipv6Net::from(std::net::Ipv6Addr::LOCALHOST).into(),
        _ => {
            let network = Ipv4Net::new_assert([127, 0, 0, 0].into(), 8);
            network.into()
        }
    }
}
