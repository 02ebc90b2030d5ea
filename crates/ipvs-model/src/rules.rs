//! The rule skeleton: static but for which sets have members, as in kube-proxy. What changes lives in the sets.

use ipnet::IpNet;
use ipvs_codec::Family;
use ipvs_netfilter::iptables::{Rule, Ruleset, TableRules};

use crate::config::{Config, LocalTraffic};
use crate::filter::{AddressAndPort, FilterSet};

/// Sets whose rules are there only while they have members.
#[must_use]
pub(crate) const fn shapes_rules(set: FilterSet) -> bool {
    !matches!(set, FilterSet::Vip | FilterSet::HealthCheckPort)
}

/// A packet of this node to a VIP has the VIP as its source, so that the rule that looks at the source ranges would let it
/// through.
fn refusal(refused: AddressAndPort) -> Rule {
    let AddressAndPort {
        address,
        protocol,
        port,
    } = refused;
    let bits = Family::of(address).bits();
    let vip = format_args!(
        "-s {address}/{bits} -m ipvs --vproto {} --vaddr {address} --vport {port}",
        protocol.number()
    );
    Rule::new().raw(vip).jump(DROP)
}

/// The rules of a family, `filled` telling which sets have members, `pod_cidrs` the Node object's pod networks.
#[must_use]
pub fn ruleset(
    family: Family,
    config: &Config,
    pod_cidrs: &[IpNet],
    filled: impl Fn(FilterSet) -> bool,
    refused: impl Iterator<Item = AddressAndPort>,
) -> Ruleset {
    let words = Words {
        family,
        config,
        pod_cidrs,
        mark: config.masquerade_mark,
    };
    Ruleset {
        nat: words.nat(&filled),
        filter: words.filter(&filled, refused),
    }
}

struct Words<'a> {
    family: Family,
    config: &'a Config,
    pod_cidrs: &'a [IpNet],
    mark: u32,
}

/// The chain of the rules that are there for a service each.
pub(crate) const OUT_FILTER: &str = "KUBE-IPVS-OUT-FILTER";

const ACCEPT: &str = "ACCEPT";
const RETURN: &str = "RETURN";
const DROP: &str = "DROP";
const MARK_MASQ: &str = "KUBE-MARK-MASQ";

impl Words<'_> {
    /// Matches a set, with its comment.
    fn set(&self, rule: Rule, set: FilterSet, directions: &str) -> Rule {
        rule.comment(set.comment())
            .match_set(set.name(self.family), directions)
    }

    /// Matches a set, without comment.
    fn bare_set(&self, set: FilterSet, directions: &str) -> Rule {
        Rule::new().match_set(set.name(self.family), directions)
    }

    fn nat(&self, filled: &impl Fn(FilterSet) -> bool) -> TableRules {
        let portals = Rule::new()
            .comment("kubernetes service portals")
            .jump("KUBE-SERVICES");
        let postrouting = Rule::new()
            .comment("kubernetes postrouting rules")
            .jump("KUBE-POSTROUTING");
        TableRules {
            chains: vec![
                ("KUBE-SERVICES".into(), self.services(filled)),
                ("KUBE-POSTROUTING".into(), self.postrouting(filled)),
                ("KUBE-NODE-PORT".into(), self.node_port(filled)),
                ("KUBE-LOAD-BALANCER".into(), self.load_balancer(filled)),
                (MARK_MASQ.into(), vec![self.xor_mark(self.mark)]),
            ],
            jumps: vec![
                ("OUTPUT".into(), portals.clone()),
                ("PREROUTING".into(), portals),
                ("POSTROUTING".into(), postrouting),
            ],
        }
    }

    /// `-j MARK --set-xmark MARK/MASK`: clears the bits of the mask, then flips those of the mark. With the mark itself
    /// as mask it sets it; with 0 it clears one that is set.
    fn xor_mark(&self, mask: u32) -> Rule {
        Rule::new().raw(format_args!(
            "-j MARK --set-xmark {:#x}/{mask:#x}",
            self.mark
        ))
    }

    fn services(&self, filled: &impl Fn(FilterSet) -> bool) -> Vec<Rule> {
        use FilterSet::{ClusterIp, ExternalIp, ExternalIpLocal, LoadBalancer};
        let loopback = match self.family {
            Family::Ipv4 => "127.0.0.0/8",
            Family::Ipv6 => "::1/128",
        };
        let mut rules = vec![Rule::new().raw(format_args!("-s {loopback}")).jump(RETURN)];
        if filled(LoadBalancer) {
            rules.push(
                self.set(Rule::new(), LoadBalancer, "dst,dst")
                    .jump("KUBE-LOAD-BALANCER"),
            );
        }
        if filled(ClusterIp) {
            let (rule, directions) = if self.config.masquerade_all {
                (Rule::new(), "dst,dst")
            } else if let Some(words) = self.not_from_pods() {
                (Rule::new().raw(words), "dst,dst")
            } else {
                // Only the node itself connects with a VIP as its source.
                (Rule::new(), "src,dst")
            };
            rules.push(self.set(rule, ClusterIp, directions).jump(MARK_MASQ));
        }
        if filled(ExternalIp) {
            rules.push(self.set(Rule::new(), ExternalIp, "dst,dst").jump(MARK_MASQ));
        }
        for set in [ExternalIp, ExternalIpLocal]
            .into_iter()
            .filter(|set| filled(*set))
        {
            let from_outside = "-m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL";
            rules.push(
                self.set(Rule::new(), set, "dst,dst")
                    .raw(from_outside)
                    .jump(ACCEPT),
            );
            rules.push(
                self.set(Rule::new(), set, "dst,dst")
                    .destination_is_local()
                    .jump(ACCEPT),
            );
        }
        rules.push(Rule::new().destination_is_local().jump("KUBE-NODE-PORT"));
        for set in [ClusterIp, LoadBalancer]
            .into_iter()
            .filter(|set| filled(*set))
        {
            rules.push(self.bare_set(set, "dst,dst").jump(ACCEPT));
        }
        rules
    }

    /// Matches what is not from this node's pods; nothing where that cannot be told.
    fn not_from_pods(&self) -> Option<String> {
        let not_from = |cidrs: &[IpNet]| {
            let own = |cidr: &&IpNet| Family::of(cidr.addr()) == self.family;
            let cidr = cidrs.iter().find(own)?;
            Some(format!("! -s {}", cidr.trunc()))
        };
        match &self.config.local_traffic {
            LocalTraffic::ClusterCidrs(cidrs) => not_from(cidrs),
            LocalTraffic::NodeCidrs => not_from(self.pod_cidrs),
            LocalTraffic::Bridge(name) => Some(format!("! -i {}", name.as_str())),
            LocalTraffic::InterfacePrefix(prefix) => Some(format!("! -i {}+", prefix.as_str())),
        }
    }

    fn postrouting(&self, filled: &impl Fn(FilterSet) -> bool) -> Vec<Rule> {
        let mut rules = Vec::new();
        if filled(FilterSet::Hairpin) {
            rules.push(
                self.set(Rule::new(), FilterSet::Hairpin, "dst,dst,src")
                    .jump("MASQUERADE"),
            );
        }
        rules.push(
            Rule::new()
                .raw(format_args!("-m mark ! --mark {0:#x}/{0:#x}", self.mark))
                .jump(RETURN),
        );
        rules.push(self.xor_mark(0));
        let snat = "kubernetes service traffic requiring SNAT";
        let target = if self.config.random_fully {
            "MASQUERADE --random-fully"
        } else {
            "MASQUERADE"
        };
        rules.push(Rule::new().comment(snat).jump(target));
        rules
    }

    fn node_port(&self, filled: &impl Fn(FilterSet) -> bool) -> Vec<Rule> {
        use FilterSet::{
            NodePortLocalSctp, NodePortLocalTcp, NodePortLocalUdp, NodePortSctp, NodePortTcp,
            NodePortUdp,
        };
        [
            ("tcp", NodePortLocalTcp, "dst", RETURN),
            ("tcp", NodePortTcp, "dst", MARK_MASQ),
            ("udp", NodePortLocalUdp, "dst", RETURN),
            ("udp", NodePortUdp, "dst", MARK_MASQ),
            ("sctp", NodePortLocalSctp, "dst,dst", RETURN),
            ("sctp", NodePortSctp, "dst,dst", MARK_MASQ),
        ]
        .into_iter()
        .filter(|(_, set, _, _)| filled(*set))
        .map(|(protocol, set, directions, target)| {
            self.set(
                Rule::new().raw(format_args!("-p {protocol}")),
                set,
                directions,
            )
            .jump(target)
        })
        .collect()
    }

    fn load_balancer(&self, filled: &impl Fn(FilterSet) -> bool) -> Vec<Rule> {
        let mut rules = Vec::new();
        if filled(FilterSet::LoadBalancerLocal) {
            rules.push(
                self.set(Rule::new(), FilterSet::LoadBalancerLocal, "dst,dst")
                    .jump(RETURN),
            );
        }
        rules.push(Rule::new().jump(MARK_MASQ));
        rules
    }

    fn filter(
        &self,
        filled: &impl Fn(FilterSet) -> bool,
        refused: impl Iterator<Item = AddressAndPort>,
    ) -> TableRules {
        let jump = |comment, chain: &str| Rule::new().comment(comment).jump(chain);
        let health_check = self
            .set(Rule::new(), FilterSet::HealthCheckPort, "dst")
            .jump(ACCEPT);
        let firewall = jump("kube-proxy firewall rules", "KUBE-PROXY-FIREWALL");
        let access = "kubernetes ipvs access filter";
        TableRules {
            chains: vec![
                ("KUBE-FORWARD".into(), self.forward()),
                ("KUBE-NODE-PORT".into(), vec![health_check]),
                ("KUBE-PROXY-FIREWALL".into(), self.proxy_firewall(filled)),
                (
                    "KUBE-SOURCE-RANGES-FIREWALL".into(),
                    self.source_ranges(filled),
                ),
                ("KUBE-IPVS-FILTER".into(), self.ipvs_filter()),
                (OUT_FILTER.into(), refused.map(refusal).collect()),
            ],
            jumps: vec![
                (
                    "FORWARD".into(),
                    jump("kubernetes forwarding rules", "KUBE-FORWARD"),
                ),
                (
                    "INPUT".into(),
                    jump("kubernetes health check rules", "KUBE-NODE-PORT"),
                ),
                ("INPUT".into(), firewall.clone()),
                ("FORWARD".into(), firewall),
                ("INPUT".into(), jump(access, "KUBE-IPVS-FILTER")),
                ("OUTPUT".into(), jump(access, "KUBE-IPVS-OUT-FILTER")),
            ],
        }
    }

    fn forward(&self) -> Vec<Rule> {
        vec![
            Rule::new()
                .comment("kubernetes forwarding rules")
                .mark(self.mark)
                .jump(ACCEPT),
            Rule::new()
                .comment("kubernetes forwarding conntrack rule")
                .raw("-m conntrack --ctstate RELATED,ESTABLISHED")
                .jump(ACCEPT),
        ]
    }

    fn proxy_firewall(&self, filled: &impl Fn(FilterSet) -> bool) -> Vec<Rule> {
        let rule = || {
            self.set(Rule::new(), FilterSet::Firewalled, "dst,dst")
                .jump("KUBE-SOURCE-RANGES-FIREWALL")
        };
        filled(FilterSet::Firewalled)
            .then(rule)
            .into_iter()
            .collect()
    }

    fn source_ranges(&self, filled: &impl Fn(FilterSet) -> bool) -> Vec<Rule> {
        [FilterSet::SourceRange, FilterSet::SourceAddress]
            .into_iter()
            .filter(|set| filled(*set))
            .map(|set| self.set(Rule::new(), set, "dst,dst,src").jump(RETURN))
            .chain([Rule::new().jump(DROP)])
            .collect()
    }

    /// VIPs are local addresses: without this, every host port would answer on every VIP.
    fn ipvs_filter(&self) -> Vec<Rule> {
        use FilterSet::{
            ClusterIp, ExternalIp, ExternalIpLocal, HealthCheckPort, LoadBalancer, Vip,
        };
        let reject = match self.family {
            Family::Ipv4 => "REJECT --reject-with icmp-port-unreachable",
            Family::Ipv6 => "REJECT --reject-with icmp6-port-unreachable",
        };
        let served = [LoadBalancer, ClusterIp, ExternalIp, ExternalIpLocal];
        let mut rules: Vec<Rule> = served
            .into_iter()
            .map(|set| self.bare_set(set, "dst,dst").jump(RETURN))
            .collect();
        rules.push(self.bare_set(HealthCheckPort, "dst").jump(RETURN));
        let vips = Rule::new()
            .raw("-m conntrack --ctstate NEW")
            .match_set(Vip.name(self.family), "dst");
        rules.push(vips.jump(reject));
        rules
    }
}
