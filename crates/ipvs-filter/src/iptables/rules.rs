//! The rule skeleton: static but for which sets have members, as in kube-proxy, and in its order but for one jump. What
//! changes lives in the sets.

use ipvs_codec::Family;
use ipvs_model::{AddressAndPort, FilterSet, FilterShape, LocalPods, Masquerade};
use ipvs_netfilter::iptables::{Rule, Ruleset, Table, TableRules};

use super::names::{comment, set_name};

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

/// The rules of a filter.
#[must_use]
pub fn ruleset(shape: &FilterShape) -> Ruleset {
    let words = Words { shape };
    Ruleset {
        nat: words.nat(),
        filter: words.filter(),
    }
}

struct Words<'a> {
    shape: &'a FilterShape,
}

/// What a packet that begins a connection comes to first.
pub(super) const SERVICES: &str = "KUBE-SERVICES";
pub(super) const POSTROUTING: &str = "KUBE-POSTROUTING";
pub(super) const MARK_MASQ: &str = "KUBE-MARK-MASQ";
const NODE_PORT: &str = "KUBE-NODE-PORT";
const LOAD_BALANCER: &str = "KUBE-LOAD-BALANCER";
const FORWARD: &str = "KUBE-FORWARD";
const FIREWALL: &str = "KUBE-PROXY-FIREWALL";
const SOURCE_RANGES: &str = "KUBE-SOURCE-RANGES-FIREWALL";
/// The chain that guards the ports of the host on VIPs.
pub(crate) const GUARD: &str = "KUBE-IPVS-FILTER";
/// The chain of the rules that are there for a service each.
pub(super) const OUT_FILTER: &str = "KUBE-IPVS-OUT-FILTER";

/// The chains of a table that have our rules alone.
pub(crate) const fn chains(table: Table) -> &'static [&'static str] {
    match table {
        Table::Nat => &[SERVICES, POSTROUTING, NODE_PORT, LOAD_BALANCER, MARK_MASQ],
        Table::Filter => &[
            FORWARD,
            NODE_PORT,
            FIREWALL,
            SOURCE_RANGES,
            GUARD,
            OUT_FILTER,
        ],
        Table::Raw | Table::Mangle | Table::Security => &[],
    }
}

const ACCEPT: &str = "ACCEPT";
const RETURN: &str = "RETURN";
const DROP: &str = "DROP";

impl Words<'_> {
    const fn filled(&self, set: FilterSet) -> bool {
        self.shape.filled.contains(set)
    }

    /// Matches a set, with its comment.
    fn set(&self, rule: Rule, set: FilterSet, directions: &str) -> Rule {
        rule.comment(comment(set))
            .match_set(set_name(set, self.shape.family), directions)
    }

    /// Matches a set, without comment.
    fn bare_set(&self, set: FilterSet, directions: &str) -> Rule {
        Rule::new().match_set(set_name(set, self.shape.family), directions)
    }

    fn nat(&self) -> TableRules {
        let portals = Rule::new()
            .comment("kubernetes service portals")
            .jump(SERVICES);
        let postrouting = Rule::new()
            .comment("kubernetes postrouting rules")
            .jump(POSTROUTING);
        TableRules {
            chains: vec![
                (SERVICES.into(), self.services()),
                (POSTROUTING.into(), self.postrouting()),
                (NODE_PORT.into(), self.node_port()),
                (LOAD_BALANCER.into(), self.load_balancer()),
                (MARK_MASQ.into(), vec![self.xor_mark(self.shape.mark)]),
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
            self.shape.mark
        ))
    }

    fn services(&self) -> Vec<Rule> {
        use FilterSet::{ClusterIp, ExternalIp, ExternalIpLocal, LoadBalancer};
        let loopback = match self.shape.family {
            Family::Ipv4 => "127.0.0.0/8",
            Family::Ipv6 => "::1/128",
        };
        let mut rules = vec![Rule::new().raw(format_args!("-s {loopback}")).jump(RETURN)];
        if self.filled(LoadBalancer) {
            rules.push(
                self.set(Rule::new(), LoadBalancer, "dst,dst")
                    .jump(LOAD_BALANCER),
            );
        }
        if self.filled(ClusterIp) {
            let (rule, directions) = match &self.shape.cluster_ips {
                Some(Masquerade::All) => (Rule::new(), "dst,dst"),
                Some(Masquerade::NotFrom(pods)) => (not_from(pods), "dst,dst"),
                // Only the node itself connects with a VIP as its source.
                Some(Masquerade::Node) | None => (Rule::new(), "src,dst"),
            };
            rules.push(self.set(rule, ClusterIp, directions).jump(MARK_MASQ));
        }
        if self.filled(ExternalIp) {
            rules.push(self.set(Rule::new(), ExternalIp, "dst,dst").jump(MARK_MASQ));
        }
        for set in [ExternalIp, ExternalIpLocal]
            .into_iter()
            .filter(|set| self.filled(*set))
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
        // VIPs are local too. kube-proxy has these two behind the jump, and so masquerades what goes to a VIP's port that is
        // the number of somebody's node port (kubernetes#132068).
        for set in [ClusterIp, LoadBalancer]
            .into_iter()
            .filter(|set| self.filled(*set))
        {
            rules.push(self.bare_set(set, "dst,dst").jump(ACCEPT));
        }
        rules.push(Rule::new().destination_is_local().jump(NODE_PORT));
        rules
    }

    fn postrouting(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        if self.filled(FilterSet::Hairpin) {
            rules.push(
                self.set(Rule::new(), FilterSet::Hairpin, "dst,dst,src")
                    .jump("MASQUERADE"),
            );
        }
        rules.push(
            Rule::new()
                .raw(format_args!(
                    "-m mark ! --mark {0:#x}/{0:#x}",
                    self.shape.mark
                ))
                .jump(RETURN),
        );
        rules.push(self.xor_mark(0));
        let snat = "kubernetes service traffic requiring SNAT";
        let target = if self.shape.random_fully {
            "MASQUERADE --random-fully"
        } else {
            "MASQUERADE"
        };
        rules.push(Rule::new().comment(snat).jump(target));
        rules
    }

    fn node_port(&self) -> Vec<Rule> {
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
        .filter(|(_, set, _, _)| self.filled(*set))
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

    fn load_balancer(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        if self.filled(FilterSet::LoadBalancerLocal) {
            rules.push(
                self.set(Rule::new(), FilterSet::LoadBalancerLocal, "dst,dst")
                    .jump(RETURN),
            );
        }
        rules.push(Rule::new().jump(MARK_MASQ));
        rules
    }

    fn filter(&self) -> TableRules {
        let jump = |comment, chain: &str| Rule::new().comment(comment).jump(chain);
        let health_check = self.shape.asks_for(FilterSet::HealthCheckPort).then(|| {
            self.set(Rule::new(), FilterSet::HealthCheckPort, "dst")
                .jump(ACCEPT)
        });
        let firewall = jump("kube-proxy firewall rules", FIREWALL);
        let access = "kubernetes ipvs access filter";
        TableRules {
            chains: vec![
                (FORWARD.into(), self.forward()),
                (NODE_PORT.into(), health_check.into_iter().collect()),
                (FIREWALL.into(), self.proxy_firewall()),
                (SOURCE_RANGES.into(), self.source_ranges()),
                (GUARD.into(), self.guard()),
                (
                    OUT_FILTER.into(),
                    self.shape.refused.iter().copied().map(refusal).collect(),
                ),
            ],
            jumps: vec![
                (
                    "FORWARD".into(),
                    jump("kubernetes forwarding rules", FORWARD),
                ),
                (
                    "INPUT".into(),
                    jump("kubernetes health check rules", NODE_PORT),
                ),
                ("INPUT".into(), firewall.clone()),
                ("FORWARD".into(), firewall),
                ("INPUT".into(), jump(access, GUARD)),
                ("OUTPUT".into(), jump(access, OUT_FILTER)),
            ],
        }
    }

    fn forward(&self) -> Vec<Rule> {
        vec![
            Rule::new()
                .comment("kubernetes forwarding rules")
                .mark(self.shape.mark)
                .jump(ACCEPT),
            Rule::new()
                .comment("kubernetes forwarding conntrack rule")
                .raw("-m conntrack --ctstate RELATED,ESTABLISHED")
                .jump(ACCEPT),
        ]
    }

    fn proxy_firewall(&self) -> Vec<Rule> {
        let rule = || {
            self.set(Rule::new(), FilterSet::Firewalled, "dst,dst")
                .jump(SOURCE_RANGES)
        };
        self.filled(FilterSet::Firewalled)
            .then(rule)
            .into_iter()
            .collect()
    }

    fn source_ranges(&self) -> Vec<Rule> {
        [FilterSet::SourceRange, FilterSet::SourceAddress]
            .into_iter()
            .filter(|set| self.filled(*set))
            .map(|set| self.set(Rule::new(), set, "dst,dst,src").jump(RETURN))
            .chain([Rule::new().jump(DROP)])
            .collect()
    }

    /// VIPs are local addresses: without this, every host port would answer on every VIP.
    fn guard(&self) -> Vec<Rule> {
        use FilterSet::{
            ClusterIp, ExternalIp, ExternalIpLocal, HealthCheckPort, LoadBalancer, Vip,
        };
        let reject = match self.shape.family {
            Family::Ipv4 => "REJECT --reject-with icmp-port-unreachable",
            Family::Ipv6 => "REJECT --reject-with icmp6-port-unreachable",
        };
        let served = [LoadBalancer, ClusterIp, ExternalIp, ExternalIpLocal];
        let mut rules: Vec<Rule> = served
            .into_iter()
            .filter(|set| self.shape.asks_for(*set))
            .map(|set| self.bare_set(set, "dst,dst").jump(RETURN))
            .collect();
        if self.shape.asks_for(HealthCheckPort) {
            rules.push(self.bare_set(HealthCheckPort, "dst").jump(RETURN));
        }
        if self.shape.asks_for(Vip) {
            let vips = Rule::new()
                .raw("-m conntrack --ctstate NEW")
                .match_set(set_name(Vip, self.shape.family), "dst");
            rules.push(vips.jump(reject));
        }
        rules
    }
}

/// Matches what is not from this node's pods.
fn not_from(pods: &LocalPods) -> Rule {
    match pods {
        LocalPods::Network(cidr) => Rule::new().raw(format_args!("! -s {cidr}")),
        LocalPods::Bridge(name) => Rule::new().raw(format_args!("! -i {}", name.as_str())),
        LocalPods::InterfacePrefix(prefix) => {
            Rule::new().raw(format_args!("! -i {}+", prefix.as_str()))
        }
    }
}
