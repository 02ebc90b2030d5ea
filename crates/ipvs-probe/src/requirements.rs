use crate::{KernelRelease, SysctlError, Sysctls};

/// A sysctl that IPVS proxying needs, and what goes wrong without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Requirement {
    /// Its name, as `sysctl` prints it.
    pub name: &'static str,
    /// The value that it needs.
    pub value: &'static str,
    /// What would go wrong for traffic.
    pub reason: &'static str,
}

const fn requirement(name: &'static str, value: &'static str, reason: &'static str) -> Requirement {
    Requirement {
        name,
        value,
        reason,
    }
}

/// Linux 5.9 no longer drops the first packet of a reused port.
const REUSE_FIXED: KernelRelease = KernelRelease::new(5, 9, 0);
/// Linux 4.1 has `conn_reuse_mode`.
const REUSE_SINCE: KernelRelease = KernelRelease::new(4, 1, 0);

/// What kube-proxy's ipvs mode sets at its start, in its order, on a kernel of this release.
///
/// ```
/// use ipvs_probe::{KernelRelease, requirements};
/// let names: Vec<_> = requirements(KernelRelease::new(6, 1, 0), false).iter().map(|r| r.name).collect();
/// assert!(names.contains(&"net.ipv4.vs.conntrack"));
/// assert!(!names.contains(&"net.ipv4.vs.conn_reuse_mode"), "right as it is since 5.9");
/// ```
#[must_use]
pub fn requirements(kernel: KernelRelease, strict_arp: bool) -> Vec<Requirement> {
    let mut wanted = vec![requirement(
        "net.ipv4.vs.conntrack",
        "1",
        "without it connections by IPVS are not masqueraded, and their answers are lost",
    )];
    if (REUSE_SINCE..REUSE_FIXED).contains(&kernel) {
        wanted.push(requirement(
            "net.ipv4.vs.conn_reuse_mode",
            "0",
            "otherwise a client that uses a port again waits a second for its connection",
        ));
    }
    wanted.extend([
        requirement(
            "net.ipv4.vs.expire_nodest_conn",
            "1",
            "otherwise connections to a removed real server hang instead of ending",
        ),
        requirement(
            "net.ipv4.vs.expire_quiescent_template",
            "1",
            "otherwise session affinity sends new connections to a real server that is draining",
        ),
        requirement(
            "net.ipv4.ip_forward",
            "1",
            "without it no packet reaches a pod",
        ),
    ]);
    if strict_arp {
        wanted.extend([
            requirement(
                "net.ipv4.conf.all.arp_ignore",
                "1",
                "otherwise every node answers ARP for every VIP",
            ),
            requirement(
                "net.ipv4.conf.all.arp_announce",
                "2",
                "otherwise ARP requests carry a VIP as their source",
            ),
        ]);
    }
    wanted
}

impl Requirement {
    /// Sets the sysctl if it has another value; tells whether it had.
    ///
    /// # Errors
    /// [`SysctlError`] names the sysctl, its value, and the command that sets it.
    pub fn ensure(&self, sysctls: &Sysctls) -> Result<bool, SysctlError> {
        sysctls.ensure(self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(kernel: KernelRelease, strict_arp: bool) -> Vec<&'static str> {
        requirements(kernel, strict_arp)
            .into_iter()
            .map(|requirement| requirement.name)
            .collect()
    }

    #[test]
    fn row_008_kernel_5_4_gets_conn_reuse_mode() {
        assert!(names(KernelRelease::new(5, 4, 0), false).contains(&"net.ipv4.vs.conn_reuse_mode"));
    }

    #[test]
    fn row_009_kernel_5_15_is_left_alone() {
        assert!(
            !names(KernelRelease::new(5, 15, 0), false).contains(&"net.ipv4.vs.conn_reuse_mode")
        );
    }

    #[test]
    fn row_010_kernel_4_0_has_no_conn_reuse_mode() {
        assert!(
            !names(KernelRelease::new(4, 0, 0), false).contains(&"net.ipv4.vs.conn_reuse_mode")
        );
    }

    #[test]
    fn row_012_strict_arp_only_when_asked() {
        let kernel = KernelRelease::new(6, 1, 0);
        assert!(names(kernel, true).contains(&"net.ipv4.conf.all.arp_ignore"));
        assert!(!names(kernel, false).iter().any(|name| name.contains("arp")));
    }

    fn tree(value: &str) -> (tempfile::TempDir, Sysctls) {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("net/ipv4")).unwrap();
        std::fs::write(tree.path().join("net/ipv4/ip_forward"), value).unwrap();
        let sysctls = Sysctls::below(tree.path());
        (tree, sysctls)
    }

    #[test]
    fn row_013_an_equal_value_is_not_written() {
        let (tree, sysctls) = tree("1\n");
        assert!(!sysctls.ensure("net.ipv4.ip_forward", "1").unwrap());
        let raw = std::fs::read_to_string(tree.path().join("net/ipv4/ip_forward")).unwrap();
        assert_eq!(raw, "1\n", "a write would have left no newline");
    }

    #[test]
    fn row_014_a_failure_names_the_sysctl() {
        let (_tree, sysctls) = tree("0\n");
        let error = sysctls.ensure("net.ipv4.vs.conntrack", "1").unwrap_err();
        assert!(
            error.to_string().contains("net.ipv4.vs.conntrack"),
            "{error}"
        );
        assert_eq!(sysctls.get("net.ipv4.vs.conntrack").unwrap(), None);
    }
}
