use crate::{Root, parse};

/// The tables of IPVS that packets look connections and virtual servers up in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct IpvsTables {
    /// Connections of real servers, active or not.
    pub connections: usize,
    /// Chains of the table of connections: those of this network namespace where it has a table of its own, else those of all.
    pub connection_chains: Option<usize>,
    /// Chains of the table of virtual servers, where the kernel tells.
    pub service_chains: Option<usize>,
    /// Whether each network namespace has tables of its own that grow (since Linux 7.1).
    pub grow: bool,
    /// The module's parameter: 2 to the power of it is the size of the table of connections, or what it grows to.
    pub conn_tab_bits: Option<u32>,
}

/// Reads `/proc/net/ip_vs`, `/proc/net/ip_vs_status` (since Linux 7.1) and the parameter of the module.
pub(crate) fn ipvs_tables(root: &Root, ip_vs: &str) -> IpvsTables {
    let content = |file: &str| root.read(file).content();
    let status = content("/proc/net/ip_vs_status");
    let of_status = |key: &str| parse::ip_vs_status(status.as_deref()?).remove(key);
    let bits = content("/sys/module/ip_vs/parameters/conn_tab_bits");
    IpvsTables {
        connections: of_status("Conns").unwrap_or_else(|| parse::proc_ip_vs_connections(ip_vs)),
        connection_chains: of_status("Conn buckets").or_else(|| parse::proc_ip_vs_size(ip_vs)),
        service_chains: of_status("Service buckets"),
        grow: status.is_some(),
        conn_tab_bits: bits.and_then(|text| text.trim().parse().ok()),
    }
}
