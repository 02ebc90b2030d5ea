//! How tables, chains and sets are called, and what the sets' entries are.

use ipvs_codec::Family;
use ipvs_model::FilterSet;
use ipvs_netfilter::nftables::{self, FixedName, KeyField, KeyType, Set, Table, TableId, Userdata};

/// The name of the table, of each family.
pub const TABLE: FixedName = FixedName::new("kube-proxy-ipvs");
/// What its comment begins with. Others may have a table of the same name.
const OWNER: &str = "made by ipvs-proxier";

/// How nf_tables calls a family.
#[must_use]
pub const fn nft_family(family: Family) -> nftables::Family {
    match family {
        Family::Ipv4 => nftables::Family::IPV4,
        Family::Ipv6 => nftables::Family::IPV6,
    }
}

/// The table of a family, empty. Its comment says whose it is, and which version made it.
///
/// ```
/// use ipvs_codec::Family;
/// use ipvs_filter::nftables::{is_ours, table};
/// let table = table(Family::Ipv6);
/// assert_eq!(table.id.to_string(), "ip6 kube-proxy-ipvs");
/// assert!(is_ours(&table));
/// ```
#[must_use]
pub fn table(family: Family) -> Table {
    let comment = format!("{OWNER} {}", env!("CARGO_PKG_VERSION"));
    let id = TableId {
        family: nft_family(family),
        name: TABLE.into(),
    };
    let userdata = Userdata::default().with_text(Userdata::COMMENT, &comment);
    Table {
        userdata: userdata.unwrap_or_default(),
        ..Table::new(id)
    }
}

/// Whether a table that has the name of ours is one that a proxier made, of whatever version.
#[must_use]
pub fn is_ours(table: &Table) -> bool {
    let comment = table.userdata.text(Userdata::COMMENT);
    comment.is_some_and(|comment| comment.starts_with(OWNER))
}

/// What a set is called in the table.
///
/// ```
/// use ipvs_filter::nftables::set_name;
/// use ipvs_model::FilterSet;
/// assert_eq!(set_name(FilterSet::ClusterIp).as_str(), "cluster-ips");
/// ```
#[must_use]
pub const fn set_name(set: FilterSet) -> FixedName {
    const fn name(name: &'static str) -> FixedName {
        FixedName::new(name)
    }
    match set {
        FilterSet::Hairpin => const { name("hairpins") },
        FilterSet::ClusterIp => const { name("cluster-ips") },
        FilterSet::ExternalIp => const { name("external-ips") },
        FilterSet::ExternalIpLocal => const { name("external-ips-local") },
        FilterSet::LoadBalancer => const { name("load-balancers") },
        FilterSet::Firewalled => const { name("firewalled") },
        FilterSet::LoadBalancerLocal => const { name("load-balancers-local") },
        FilterSet::SourceAddress => const { name("source-addresses") },
        FilterSet::SourceRange => const { name("source-ranges") },
        FilterSet::NodePortTcp => const { name("node-ports-tcp") },
        FilterSet::NodePortLocalTcp => const { name("node-ports-local-tcp") },
        FilterSet::NodePortUdp => const { name("node-ports-udp") },
        FilterSet::NodePortLocalUdp => const { name("node-ports-local-udp") },
        FilterSet::NodePortSctp => const { name("node-ports-sctp") },
        FilterSet::NodePortLocalSctp => const { name("node-ports-local-sctp") },
        FilterSet::HealthCheckPort => const { name("health-check-ports") },
        FilterSet::Vip => const { name("vips") },
    }
}

/// A set of a family's table, empty.
///
/// ```
/// use ipvs_codec::Family;
/// use ipvs_filter::nftables::set;
/// use ipvs_model::FilterSet;
/// let ranges = set(FilterSet::SourceRange, Family::Ipv4);
/// assert_eq!(ranges.to_string(), "ip kube-proxy-ipvs source-ranges of ipv4_addr . inet_proto . inet_service . ipv4_addr");
/// ```
#[must_use]
pub fn set(set: FilterSet, family: Family) -> Set {
    set_in(&table(family).id, set)
}

/// The same set of another table.
#[must_use]
pub fn set_in(table: &TableId, set: FilterSet) -> Set {
    let address = match table.family {
        nftables::Family::IPV6 => KeyField::Ipv6,
        _ => KeyField::Ipv4,
    };
    let id = table.set(set_name(set).into());
    let key = key(set, address);
    match set {
        FilterSet::SourceRange => Set::of_intervals(id, &key),
        _ => Set::new(id, &key),
    }
}

const fn key(set: FilterSet, address: KeyField) -> KeyType {
    use KeyField::{Port, Protocol};
    let key = match set {
        FilterSet::Hairpin | FilterSet::SourceAddress | FilterSet::SourceRange => {
            KeyType::of(&[address, Protocol, Port, address])
        }
        FilterSet::NodePortTcp
        | FilterSet::NodePortLocalTcp
        | FilterSet::NodePortUdp
        | FilterSet::NodePortLocalUdp
        | FilterSet::HealthCheckPort => KeyType::of(&[Port]),
        FilterSet::Vip => KeyType::of(&[address]),
        FilterSet::ClusterIp
        | FilterSet::ExternalIp
        | FilterSet::ExternalIpLocal
        | FilterSet::LoadBalancer
        | FilterSet::Firewalled
        | FilterSet::LoadBalancerLocal
        | FilterSet::NodePortSctp
        | FilterSet::NodePortLocalSctp => KeyType::of(&[address, Protocol, Port]),
    };
    match key {
        Some(key) => key,
        // The longest has 40 bytes of 64.
        None => KeyType {
            number: 0,
            length: 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_set_has_a_name_and_a_type_of_its_own_kind() {
        let names: std::collections::BTreeSet<_> = FilterSet::ALL.map(set_name).into();
        assert_eq!(names.len(), FilterSet::ALL.len());
        for kind in FilterSet::ALL {
            for family in Family::ALL {
                assert!(set(kind, family).key.fields().is_some(), "{kind}");
            }
        }
    }

    #[test]
    fn a_table_of_that_name_without_the_comment_is_not_ours() {
        let mut others = table(Family::Ipv4);
        others.userdata = Userdata::default();
        assert!(!is_ours(&others));
    }
}
