//! What is there → what is known: a shape is guessed from steps of our rules, and believed if its rules are those that are
//! there.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use ipvs_codec::{Family, Protocol};
use ipvs_model::{
    AddressAndPort, FilterSet, FilterSets, FilterShape, KnownFilter, LocalPods, Masquerade,
};
use ipvs_netfilter::nftables::{
    Chain, Comparison, Expression, FixedName, MetaKey, Name, Rule, Value, Verdict,
};

use super::names::set_name;
use super::skeleton::{
    GUARD, INPUT, NODE_PORTS, POSTROUTING, REFUSED, SERVICES, SOURCE_RANGES, Skeleton, is_our_chain,
};

/// What is known of a family's filter from the chains and rules of its table. O(rules).
///
/// ```
/// use ipvs_codec::Family;
/// use ipvs_filter::nftables::recognise;
/// let known = recognise(Family::Ipv4, &[], &[]);
/// assert!(known.shape.is_none() && !known.is_guarded);
/// ```
#[must_use]
pub fn recognise(family: Family, chains: &[Chain], rules: &[Rule]) -> KnownFilter {
    let found = Found { rules };
    let refused: BTreeSet<AddressAndPort> = found.of(REFUSED).filter_map(refused).collect();
    let shape = found.guess(family, refused.clone());
    KnownFilter {
        shape: shape.filter(|shape| is_there(shape, chains, rules)),
        refused,
        is_guarded: found.is_guarded(),
        held_by: BTreeMap::new(),
    }
}

/// Whether our chains and their rules are those of a shape, and no others. The order of chains means nothing.
fn is_there(shape: &FilterShape, chains: &[Chain], rules: &[Rule]) -> bool {
    let Ok(wanted) = Skeleton::of(shape) else {
        return false;
    };
    let of = |rules: &[Rule], chain: &Chain| -> Vec<Rule> {
        let of_chain = rules.iter().filter(|rule| rule.chain == chain.id);
        of_chain.cloned().collect()
    };
    let ours = chains.iter().filter(|chain| is_our_chain(&chain.id.name));
    wanted.chains.len() == ours.count()
        && wanted
            .chains
            .iter()
            .all(|chain| chains.contains(chain) && of(&wanted.rules, chain) == of(rules, chain))
}

struct Found<'a> {
    rules: &'a [Rule],
}

impl<'a> Found<'a> {
    /// The steps of the rules of a chain, in order.
    fn of(&self, chain: FixedName) -> impl Iterator<Item = &'a [Expression]> {
        let name = Name::from(chain);
        let of_chain = self
            .rules
            .iter()
            .filter(move |rule| rule.chain.name == name);
        of_chain.map(Rule::expressions)
    }

    fn looks_into(&self, chain: FixedName, set: FilterSet) -> bool {
        self.of(chain).any(|steps| looks_into(steps, set))
    }

    /// Whether the guard refuses what it should, and is asked.
    fn is_guarded(&self) -> bool {
        let guard = Name::from(GUARD);
        let leads = |steps: &[Expression]| {
            let jump = Expression::Verdict(Verdict::Jump(guard.clone()));
            steps.last() == Some(&jump)
        };
        let refuses = |steps: &[Expression]| matches!(steps, [Expression::Reject(_)]);
        self.of(INPUT).any(leads) && self.of(GUARD).any(refuses)
    }

    fn guess(&self, family: Family, refused: BTreeSet<AddressAndPort>) -> Option<FilterShape> {
        let mark = self.of(POSTROUTING).find_map(unmarked)?;
        let random_fully = self
            .of(POSTROUTING)
            .any(|steps| matches!(steps, [Expression::Masquerade { flags }] if *flags != 0));
        let chain = |set: FilterSet| match set {
            FilterSet::Hairpin => POSTROUTING,
            FilterSet::Firewalled => GUARD,
            FilterSet::SourceRange | FilterSet::SourceAddress => SOURCE_RANGES,
            FilterSet::NodePortTcp
            | FilterSet::NodePortLocalTcp
            | FilterSet::NodePortUdp
            | FilterSet::NodePortLocalUdp
            | FilterSet::NodePortSctp
            | FilterSet::NodePortLocalSctp => NODE_PORTS,
            _ => SERVICES,
        };
        let all = FilterSet::ALL.into_iter();
        let filled: FilterSets = all
            .clone()
            .filter(|set| set.shapes_filter() && self.looks_into(chain(*set), *set))
            .collect();
        let without = all.filter(|set| set.is_guard() && !self.looks_into(GUARD, *set));
        let cluster_ips = match filled.contains(FilterSet::ClusterIp) {
            true => Some(self.masquerade(family)?),
            false => None,
        };
        Some(FilterShape {
            family,
            mark,
            random_fully,
            cluster_ips,
            filled,
            without: without.collect(),
            refused,
        })
    }

    /// Who is masqueraded on the way to cluster IPs.
    fn masquerade(&self, family: Family) -> Option<Masquerade> {
        let cluster_ip = |steps: &&[Expression]| looks_into(steps, FilterSet::ClusterIp);
        let steps = self.of(SERVICES).find(cluster_ip)?;
        let pods = match steps {
            [
                Expression::Payload { .. },
                Expression::Lookup { set, .. },
                ..,
            ] if *set == set_name(FilterSet::Vip).into() => {
                return Some(Masquerade::Node);
            }
            [
                Expression::Payload { .. },
                Expression::Compare {
                    how: Comparison::NotEqual,
                    value,
                    ..
                },
                ..,
            ] => LocalPods::Network(network(family, value, value.len().saturating_mul(8))?),
            [
                Expression::Payload { .. },
                Expression::Bitwise { mask, .. },
                Expression::Compare { value, .. },
                ..,
            ] => {
                let ones = mask.as_bytes().iter().map(|byte| byte.count_ones());
                let bits = usize::try_from(ones.sum::<u32>()).ok()?;
                LocalPods::Network(network(family, value, bits)?)
            }
            [
                Expression::Meta {
                    key: MetaKey::IN_INTERFACE,
                    ..
                },
                Expression::Compare { value, .. },
                ..,
            ] => interface(value)?,
            _ => return Some(Masquerade::All),
        };
        Some(Masquerade::NotFrom(pods))
    }
}

fn looks_into(steps: &[Expression], wanted: FilterSet) -> bool {
    let name = Name::from(set_name(wanted));
    let mut steps = steps.iter();
    steps.any(|step| matches!(step, Expression::Lookup { set, .. } if *set == name))
}

/// The mark, of the rule that lets go what has it not.
fn unmarked(steps: &[Expression]) -> Option<u32> {
    match steps {
        [
            Expression::Meta { .. },
            Expression::Bitwise { mask, .. },
            Expression::Compare { .. },
            Expression::Verdict(Verdict::Return),
        ] => mask.to_host(),
        _ => None,
    }
}

/// A network whose first bytes are these; zeros follow.
fn network(family: Family, first: &Value, bits: usize) -> Option<IpNet> {
    let length = match family {
        Family::Ipv4 => 4,
        Family::Ipv6 => 16,
    };
    let mut bytes = first.as_bytes().to_vec();
    bytes.resize(length.max(bytes.len()), 0);
    let address = Value::from_bytes(&bytes)?.to_ip()?;
    IpNet::new(address, u8::try_from(bits).ok()?).ok()
}

/// A whole name is filled with zeros.
fn interface(value: &Value) -> Option<LocalPods> {
    let bytes = value.as_bytes();
    let length = bytes.iter().take_while(|byte| **byte != 0).count();
    let name = std::str::from_utf8(bytes.get(..length)?).ok()?;
    let name = name.parse().ok()?;
    Some(match length < bytes.len() {
        true => LocalPods::Bridge(name),
        false => LocalPods::InterfacePrefix(name),
    })
}

/// Address, protocol and port of a rule that refuses them.
fn refused(steps: &[Expression]) -> Option<AddressAndPort> {
    let mut compared = steps.iter().filter_map(|step| match step {
        Expression::Compare { value, .. } => Some(value),
        _ => None,
    });
    let (_, address) = (compared.next()?, compared.next()?);
    let (protocol, port) = (compared.next()?, compared.next()?);
    Some(AddressAndPort {
        address: address.to_ip()?,
        protocol: Protocol::from_number(protocol.to_byte()?.into()),
        port: port.to_port()?,
    })
}
