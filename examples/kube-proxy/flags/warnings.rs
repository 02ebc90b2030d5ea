//! What is allowed, and may not be meant.

use ipnet::IpNet;
use ipvs_codec::Family;
use ipvs_model::NodePortAddresses;

use super::Flags;

impl Flags {
    /// Node ports that are served at more addresses than it seems. kube-proxy warns of the same.
    pub(crate) fn node_port_warning(&self) -> Option<String> {
        let Ok(NodePortAddresses::Cidrs(chosen)) = self.node_port_addresses() else {
            return None;
        };
        let networks = [&self.cluster_cidr, &self.ipvs_exclude_cidrs, &chosen];
        let is_dual = networks.into_iter().any(|networks| {
            let mut families = Family::ALL.iter();
            families.all(|family| has(networks, *family))
        });
        let primary = Family::of(self.bind_address);
        let is_open = |family: &Family| !has(&chosen, *family) && (is_dual || *family == primary);
        let open = Family::ALL.into_iter().find(is_open)?;
        Some(format!(
            "--nodeport-addresses names no {open} network: every {open} address of this node serves node ports"
        ))
    }
}

fn has(networks: &[IpNet], family: Family) -> bool {
    let mut families = networks.iter().map(|network| Family::of(network.addr()));
    families.any(|found| found == family)
}

#[cfg(test)]
mod tests {
    use crate::command_line::parse;

    #[test]
    fn networks_of_one_family_only_are_warned_of_where_the_other_is_in_use() {
        for (line, open) in [
            ("", None),
            ("--nodeport-addresses=primary", None),
            ("--nodeport-addresses=10.0.0.0/8", None),
            ("--nodeport-addresses=10.0.0.0/8,fd00::/8", None),
            ("--nodeport-addresses=fd00::/8", Some("IPv4")),
            ("--nodeport-addresses=fd00::/8 --bind-address=fd00::1", None),
            (
                "--nodeport-addresses=10.0.0.0/8 --bind-address=fd00::1",
                Some("IPv6"),
            ),
            (
                "--nodeport-addresses=10.0.0.0/8 --cluster-cidr=10.244.0.0/16,fd00::/48",
                Some("IPv6"),
            ),
            (
                "--nodeport-addresses=10.0.0.0/8 --ipvs-exclude-cidrs=10.0.0.0/8,fd00::/48",
                Some("IPv6"),
            ),
        ] {
            let words = format!("kube-proxy {line}");
            let words = words.split_whitespace().map(Into::into).collect();
            let warning = parse(words).unwrap().node_port_warning();
            assert_eq!(warning.is_some(), open.is_some(), "{line}: {warning:?}");
            assert!(
                warning.is_none_or(|said| said.contains(open.unwrap())),
                "{line}"
            );
        }
    }
}
