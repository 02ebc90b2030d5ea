//! The rules, as data.

use crate::Need::{
    Backend, BridgeFrames, Capability, FewEstimators, Hairpin, InitialUserNamespace, Ipvs,
    Kube18Modules, LongTimeouts, Module, NoProcess, NoSelinux, NoUfw, OpenChain, Program, Reminder,
    RoomInSets, RuleModule, Rules, Scheduler, ShortConnectionChains, ShortServiceChains, Since,
    Sysctl, SysctlNot,
};
use crate::Severity::{Advice, Blocks, Degrades};
use crate::When::{
    Alone, Always, Any, DummyLink, HasSysctl, Iptables, Ipv6, Kube18, MasqueradeAll, Nftables,
    PodsOnBridge, PodsOnBridgeLater, StrictArp,
};
use crate::bridges::BR_NETFILTER;
use crate::filter::backend_modules;
use crate::{Family, KernelRelease, Need, Rule, When};

/// Where IPv6 rules are written by iptables.
const IP6TABLES: When = When::All(&[Iptables, Ipv6]);

/// Where IPv6 rules are written by nftables.
const NFTABLES_IPV6: When = When::All(&[Nftables, Ipv6]);

const fn one_of(names: &'static [&'static str]) -> Need {
    Module { names, now: false }
}

/// For rules; where it serves both families, those of IPv4 tell.
const fn for_rules(names: &'static [&'static str]) -> Need {
    RuleModule {
        family: Family::Ipv4,
        names,
    }
}

const fn for_ipv6_rules(names: &'static [&'static str]) -> Need {
    RuleModule {
        family: Family::Ipv6,
        names,
    }
}

const fn sysctl(name: &'static str, value: &'static str) -> Need {
    Sysctl { name, value }
}

const KUBE_PROXY: &str = "kube-proxy's ipvs mode sets it at its start";
const RULES_USE: &str = "the iptables rules of kube-proxy's ipvs mode use it";
const SETS_USE: &str = "the sets of kube-proxy's ipvs mode are of this type";
const EXTRA: &str =
    "RHEL 10 has nft_compat in kernel-modules-extra and no legacy tables: kops #18724";
const NFTABLES_USE: &str = "the nftables rules beside IPVS use it";
const TRIED: &str = "rules of these kinds were tried in a network namespace of their own, or by the proxier at its start";
const BRIDGES: &str = "seen on Linux 6.12: pod to VIP to pod on one bridge";
const TABLES: &str = "Linux, Documentation/networking/ipvs-sysctl.rst: conn_lfactor and svc_lfactor (7.1); ip_vs, conn_tab_bits";
const SEED: &str = "how-to of kube-proxy 1.8 with ipvs, which this project began with";

macro_rules! rules {
    ($($id:literal: $when:expr, $severity:expr, $need:expr => $reason:literal, $source:expr;)*) => {
        /// Every rule, those of one subject together.
        pub const RULES: &[Rule] = &[$(Rule {
            id: $id,
            when: $when,
            severity: $severity,
            need: $need,
            reason: $reason,
            source: $source,
        },)*];
    };
}

rules! {
    // What this process may.
    "user-namespace": Always, Blocks, InitialUserNamespace
        => "the kernel gives IPVS only to the initial user namespace and answers every other with EPERM, root or not", "Linux, net/netfilter/ipvs/ip_vs_ctl.c: GENL_ADMIN_PERM";
    "net-admin": Always, Blocks, Capability(12, "CAP_NET_ADMIN")
        => "without it the kernel answers every request about IPVS, addresses and sets with EPERM", "capabilities(7)";
    "net-raw": Iptables, Blocks, Capability(13, "CAP_NET_RAW")
        => "without it iptables can neither read nor write rules", "capabilities(7)";
    // IPVS itself.
    "ip_vs": Always, Blocks, Module { names: &["ip_vs"], now: true }
        => "without it there are no virtual servers", "Linux, net/netfilter/ipvs/Kconfig";
    "scheduler": Always, Blocks, Scheduler
        => "without its module no virtual server with this scheduler can be made", "ipvsadm(8)";
    "kube-1.8-modules": Kube18, Blocks, Kube18Modules
        => "kube-proxy of 1.8 to 1.26 does not start in ipvs mode without all of them", SEED;
    "ipvs": Always, Blocks, Ipvs
        => "virtual servers cannot be made", "kube-proxy tries the same at its start";
    // Merged into one module by Linux 4.19, and by RHEL 8.3 in its 4.18: the release tells nothing.
    "nf_conntrack": Always, Blocks, one_of(&["nf_conntrack", "nf_conntrack_ipv4"])
        => "without it connections are not masqueraded, and answers go past the node", "Linux, net/netfilter/Kconfig: NF_NAT";
    // Sets.
    "ip_set": Iptables, Blocks, one_of(&["ip_set"])
        => "without it no rule can name the virtual addresses", SETS_USE;
    "ip_set_hash_ip": Iptables, Blocks, one_of(&["ip_set_hash_ip"])
        => "without it health check ports and virtual addresses have no set", SETS_USE;
    "ip_set_hash_ipport": Iptables, Blocks, one_of(&["ip_set_hash_ipport"])
        => "without it no rule knows which ports are services", SETS_USE;
    "ip_set_hash_ipportip": Iptables, Blocks, one_of(&["ip_set_hash_ipportip"])
        => "without it a pod cannot reach itself through its service", SETS_USE;
    "ip_set_hash_ipportnet": Iptables, Blocks, one_of(&["ip_set_hash_ipportnet"])
        => "without it loadBalancerSourceRanges cannot be kept", SETS_USE;
    "ip_set_bitmap_port": Iptables, Blocks, one_of(&["ip_set_bitmap_port"])
        => "without it node ports have no set", SETS_USE;
    // Rules.
    "backend": Iptables, Blocks, Backend(Family::Ipv4)
        => "without it iptables can write no rule: nothing is masqueraded, and no VIP is bound", EXTRA;
    "backend-ipv6": IP6TABLES, Blocks, Backend(Family::Ipv6)
        => "without it ip6tables can write no rule, and no IPv6 VIP is bound", EXTRA;
    "rules": Iptables, Blocks, Rules(Family::Ipv4)
        => "no rule can be written: nothing is masqueraded, and no VIP is bound", TRIED;
    "rules-ipv6": IP6TABLES, Blocks, Rules(Family::Ipv6)
        => "no IPv6 rule can be written, and no IPv6 VIP is bound", TRIED;
    "xt_set": Iptables, Blocks, one_of(&["xt_set"])
        => "without it no rule can ask a set", RULES_USE;
    "xt_addrtype": Iptables, Blocks, for_rules(&["xt_addrtype"])
        => "without it node ports cannot be told from other traffic", RULES_USE;
    "xt_comment": Iptables, Blocks, for_rules(&["xt_comment"])
        => "without it no rule of kube-proxy can be written", RULES_USE;
    "xt_conntrack": Iptables, Blocks, for_rules(&["xt_conntrack"])
        => "without it answers of pods are not let through", RULES_USE;
    "xt_mark": Iptables, Blocks, for_rules(&["xt_mark"])
        => "without it nothing is marked to be masqueraded", RULES_USE;
    "xt_MASQUERADE": Iptables, Blocks, for_rules(&["xt_MASQUERADE", "ipt_MASQUERADE"])
        => "without it answers go past the node, and clients get none", RULES_USE;
    "REJECT": Iptables, Blocks, for_rules(&["ipt_REJECT"])
        => "without it ports of a virtual address that are no service reach the node itself", RULES_USE;
    "REJECT-ipv6": IP6TABLES, Blocks, for_ipv6_rules(&["ip6t_REJECT"])
        => "without it the IPv6 rules cannot be written, and IPv6 VIPs are not bound before them", RULES_USE;
    "xt_physdev": Iptables, Degrades, one_of(&["xt_physdev"])
        => "without it external addresses from pods on a bridge are not let out", RULES_USE;
    "xt_ipvs": Iptables, Blocks, one_of(&["xt_ipvs"])
        => "without it the filter in front of virtual addresses cannot be written", RULES_USE;
    "iptables-restore": Iptables, Blocks, Program("iptables-restore")
        => "without it no packet is masqueraded, and virtual addresses would expose the node's own ports", RULES_USE;
    "ip6tables-restore": IP6TABLES, Blocks, Program("ip6tables-restore")
        => "without it no IPv6 packet is masqueraded", RULES_USE;
    "ipset-program": When::All(&[Iptables, Kube18]), Blocks, Program("ipset")
        => "kube-proxy itself makes its sets with it and does not start without", SEED;
    // Rules of nftables. What sets are made of is in nf_tables itself since Linux 5.6; nft_fib comes with its parts.
    "nft-release": Nftables, Blocks, Since(KernelRelease::new(5, 10, 0))
        => "without sets of ports with ranges of clients (5.6) loadBalancerSourceRanges cannot be kept, and without comments of tables (5.10) no proxier knows its own again", "Linux, commits f3a2181e16f1 and 3c4287f62044, and NFTA_TABLE_USERDATA";
    "nf_tables": Nftables, Blocks, for_rules(&["nf_tables"])
        => "without it there is no nftables: nothing is masqueraded, and no VIP is bound", NFTABLES_USE;
    "nft_chain_nat": Nftables, Blocks, for_rules(&["nft_chain_nat", "nft_chain_nat_ipv4"])
        => "without it there is no place for masquerading", NFTABLES_USE;
    "nft_masq": Nftables, Blocks, for_rules(&["nft_masq"])
        => "without it answers go past the node, and clients get none", NFTABLES_USE;
    "nft_ct": Nftables, Blocks, for_rules(&["nft_ct"])
        => "without it new connections cannot be told from others", NFTABLES_USE;
    "nft_fib": Nftables, Blocks, for_rules(&["nft_fib_ipv4"])
        => "without it node ports cannot be told from other traffic", NFTABLES_USE;
    "nft_fib-ipv6": NFTABLES_IPV6, Blocks, for_ipv6_rules(&["nft_fib_ipv6"])
        => "without it IPv6 node ports cannot be told from other traffic", NFTABLES_USE;
    "nft_reject": Nftables, Blocks, for_rules(&["nft_reject_ipv4"])
        => "without it ports of a virtual address that are no service reach the node itself", NFTABLES_USE;
    "nft_reject-ipv6": NFTABLES_IPV6, Blocks, for_ipv6_rules(&["nft_reject_ipv6"])
        => "without it the IPv6 rules cannot be written, and IPv6 VIPs are not bound before them", NFTABLES_USE;
    "nft-rules": Nftables, Blocks, Rules(Family::Ipv4)
        => "no rule can be written: nothing is masqueraded, and no VIP is bound", TRIED;
    "nft-rules-ipv6": NFTABLES_IPV6, Blocks, Rules(Family::Ipv6)
        => "no IPv6 rule can be written, and no IPv6 VIP is bound", TRIED;
    "dummy": DummyLink, Blocks, one_of(&["dummy"])
        => "without it there is no link for virtual addresses", "kube-proxy binds them to kube-ipvs0";
    // Sysctls of kube-proxy, in its order.
    "vs.conntrack": Always, Blocks, sysctl("net.ipv4.vs.conntrack", "1")
        => "without it connections by IPVS are not masqueraded, and their answers are lost", KUBE_PROXY;
    // What Linux 5.9 mended (commit f0a5e4d7a594) shows in no file.
    "vs.conn_reuse_mode": HasSysctl { name: "net.ipv4.vs.conn_reuse_mode", since: KernelRelease::new(4, 1, 0), before: KernelRelease::new(5, 9, 0) }, Degrades, sysctl("net.ipv4.vs.conn_reuse_mode", "0")
        => "otherwise a client that uses a port again waits a second for its connection", KUBE_PROXY;
    "vs.expire_nodest_conn": Always, Degrades, sysctl("net.ipv4.vs.expire_nodest_conn", "1")
        => "otherwise connections to a removed real server hang instead of ending", KUBE_PROXY;
    "vs.expire_quiescent_template": Always, Degrades, sysctl("net.ipv4.vs.expire_quiescent_template", "1")
        => "otherwise session affinity sends new connections to a real server that is draining", KUBE_PROXY;
    "ip_forward": Always, Blocks, sysctl("net.ipv4.ip_forward", "1")
        => "without it no packet reaches a pod", KUBE_PROXY;
    "arp_ignore": StrictArp, Degrades, sysctl("net.ipv4.conf.all.arp_ignore", "1")
        => "otherwise every node answers ARP for every VIP", KUBE_PROXY;
    "arp_announce": StrictArp, Degrades, sysctl("net.ipv4.conf.all.arp_announce", "2")
        => "otherwise ARP requests carry a VIP as their source", KUBE_PROXY;
    // Other sysctls.
    "ipv6-forwarding": Ipv6, Blocks, sysctl("net.ipv6.conf.all.forwarding", "1")
        => "without it no IPv6 packet reaches a pod", "kube-proxy leaves it to the operator";
    "ipv6-enabled": Ipv6, Blocks, SysctlNot { name: "net.ipv6.conf.all.disable_ipv6", bad: "1", value: "0" }
        => "without IPv6 there are no IPv6 services", "kube-proxy takes such a node for IPv4 only";
    "ipv6-default": Ipv6, Degrades, SysctlNot { name: "net.ipv6.conf.default.disable_ipv6", bad: "1", value: "0" }
        => "interfaces that come later refuse IPv6 addresses with EACCES: those of pods, and kube-ipvs0 where the proxier may not enable it there", "Linux, Documentation/networking/ip-sysctl.rst";
    "rp_filter": Always, Degrades, SysctlNot { name: "net.ipv4.conf.all.rp_filter", bad: "1", value: "2" }
        => "strict filtering drops answers that come by another link than the client's packets", "Linux, Documentation/networking/ip-sysctl.rst";
    "bridge-nf-call-iptables": Always, Degrades, SysctlNot { name: "net.bridge.bridge-nf-call-iptables", bad: "0", value: "1" }
        => "traffic between pods on one bridge goes past the rules, and answers with it", SEED;
    "bridge-nf-call-ip6tables": Any(&[Ipv6, Kube18]), Degrades, SysctlNot { name: "net.bridge.bridge-nf-call-ip6tables", bad: "0", value: "1" }
        => "IPv6 traffic between pods on one bridge goes past the rules", SEED;
    "br_netfilter": Any(&[PodsOnBridge, Kube18]), Degrades, BridgeFrames
        => "without it traffic between pods on one bridge goes past the rules: a pod that asks a VIP and is given a pod on its own bridge waits in vain", BRIDGES;
    "br_netfilter-later": PodsOnBridgeLater, Advice, BridgeFrames
        => "no pod is on a bridge yet; if they will be, a pod that asks a VIP and is given a pod on its own bridge waits in vain without it", BRIDGES;
    "hairpin": PodsOnBridge, Degrades, Hairpin
        => "a pod whose request to its own Service is given to itself waits in vain: the bridge does not send back by the port that it came from", BRIDGES;
    // Load and time.
    "estimators": Always, Advice, FewEstimators
        => "one timer sums up all counters, and packets wait for it: pauses of 100 ms and more every two seconds", "Linux 6.2, commit 705dd3444081";
    "connection-table": Always, Advice, ShortConnectionChains
        => "every packet looks through a long chain for its connection", TABLES;
    "service-table": Always, Advice, ShortServiceChains
        => "every new connection, and every request of a proxier, looks through a long chain for its virtual server", TABLES;
    "timeouts": Always, Advice, LongTimeouts
        => "an idle connection ends without a word when the first of its timers is over", "kubernetes #80298, kops #6889";
    "set-size": Iptables, Degrades, RoomInSets
        => "a set of kube-proxy holds 65536 members; services beyond have no rules", "kubernetes #93445";
    // Who else decides about packets.
    "selinux": Always, Advice, NoSelinux
        => "a proxy in a confined domain is refused modules, sysctls and netlink without a word of IPVS", SEED;
    "firewalld": Always, Degrades, NoProcess("firewalld")
        => "its rules are checked beside those of the proxy, and it refuses forwarded traffic of zones that it does not know", SEED;
    "ufw": Always, Degrades, NoUfw
        => "it drops forwarded packets and node ports that no rule of its own allows", "ufw(8)";
    "input-policy": Always, Degrades, OpenChain("INPUT")
        => "packets to virtual addresses go through INPUT, and what no rule accepts is dropped", "the way of packets in IPVS";
    "forward-policy": Always, Degrades, OpenChain("FORWARD")
        => "packets between pods and clients that no rule accepts are dropped", "Docker sets it to DROP since 1.13";
    "keepalived": Alone, Degrades, NoProcess("keepalived")
        => "a proxy that thinks it is alone removes keepalived's virtual servers, again and again", "kubernetes #59507";
    "kube-router": Alone, Degrades, NoProcess("kube-router")
        => "two proxies remove each other's virtual servers", "kube-router #829";
    "kube-vip": Alone, Degrades, NoProcess("kube-vip")
        => "a proxy that thinks it is alone removes kube-vip's virtual servers", "kubekey #1702";
    "ldirectord": Alone, Degrades, NoProcess("ldirectord")
        => "a proxy that thinks it is alone removes ldirectord's virtual servers", "kubernetes #59507";
    "masquerade-all": MasqueradeAll, Advice, Reminder
        => "pods see the node instead of their clients: network policies by client address do not work", SEED;
}

/// The rule of an id.
///
/// ```
/// assert!(ipvs_probe::find_rule("ip_forward").unwrap().reason.contains("pod"));
/// ```
#[must_use]
pub fn find_rule(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == id)
}

/// Those whose sysctls kube-proxy sets at its start, in its order.
pub(crate) fn set_at_start() -> impl Iterator<Item = &'static Rule> {
    RULES.iter().filter(|rule| rule.source == KUBE_PROXY)
}

/// What rules compare, what kube-proxy sets by flags, and what IPVS has: which of them are there tells what the kernel can.
const OF_INTEREST: [&str; 35] = [
    "net.ipv4.tcp_keepalive_time",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_be_liberal",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait",
    "net.netfilter.nf_conntrack_tcp_timeout_established",
    "net.netfilter.nf_conntrack_udp_timeout",
    "net.netfilter.nf_conntrack_udp_timeout_stream",
    "net.ipv4.vs.amemthresh",
    "net.ipv4.vs.am_droprate",
    "net.ipv4.vs.backup_only",
    "net.ipv4.vs.cache_bypass",
    "net.ipv4.vs.conn_lfactor",
    "net.ipv4.vs.conn_max",
    "net.ipv4.vs.drop_entry",
    "net.ipv4.vs.drop_packet",
    "net.ipv4.vs.est_cpulist",
    "net.ipv4.vs.est_nice",
    "net.ipv4.vs.ignore_tunneled",
    "net.ipv4.vs.nat_icmp_send",
    "net.ipv4.vs.pmtu_disc",
    "net.ipv4.vs.run_estimation",
    "net.ipv4.vs.schedule_icmp",
    "net.ipv4.vs.secure_tcp",
    "net.ipv4.vs.sloppy_sctp",
    "net.ipv4.vs.sloppy_tcp",
    "net.ipv4.vs.snat_reroute",
    "net.ipv4.vs.svc_lfactor",
    "net.ipv4.vs.sync_persist_mode",
    "net.ipv4.vs.sync_ports",
    "net.ipv4.vs.sync_qlen_max",
    "net.ipv4.vs.sync_refresh_period",
    "net.ipv4.vs.sync_retries",
    "net.ipv4.vs.sync_sock_size",
    "net.ipv4.vs.sync_threshold",
    "net.ipv4.vs.sync_version",
];

/// Of every rule, and [`OF_INTEREST`].
pub(crate) fn sysctl_names() -> impl Iterator<Item = &'static str> {
    let named = RULES.iter().filter_map(|rule| match rule.need {
        Sysctl { name, .. } | SysctlNot { name, .. } => Some(name),
        _ => None,
    });
    named.chain(OF_INTEREST)
}

pub(crate) fn module_names() -> impl Iterator<Item = &'static str> {
    let named = RULES.iter().filter_map(|rule| match rule.need {
        Module { names, .. } | RuleModule { names, .. } => Some(names),
        _ => None,
    });
    let named = named.flatten().copied();
    named
        .chain(backend_modules())
        .chain([BR_NETFILTER, "ip_vs_ftp"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_a_name_of_its_own() {
        for rule in RULES {
            let found = find_rule(rule.id).unwrap();
            assert_eq!(
                (found.reason, found.need),
                (rule.reason, rule.need),
                "{}",
                rule.id
            );
        }
    }
}
