use crate::{Facts, KernelRelease, ModuleState};

/// What kube-proxy 1.8 wants to be loaded. Connection tracking of IPv4 is a module of its own where the kernel has one.
pub(crate) fn modules_of_1_8(facts: &Facts) -> [&'static str; 5] {
    let of_its_own = match facts.modules.get("nf_conntrack_ipv4") {
        // A container without /lib/modules. Kernels that call themselves 4.18 have one or the other; both have
        // nf_conntrack.
        Some(module) if module.state == ModuleState::Unknown => facts
            .release()
            .is_some_and(|release| release < KernelRelease::new(4, 18, 0)),
        Some(module) => module.state != ModuleState::Absent,
        None => false,
    };
    let conntrack = if of_its_own {
        "nf_conntrack_ipv4"
    } else {
        "nf_conntrack"
    };
    ["ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_sh", conntrack]
}
