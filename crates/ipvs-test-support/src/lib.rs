//! What lab tests and the demo are made of: network namespaces, pods that answer, the reference proxier as a process, and
//! an API server in memory.
//!
//! All but the last needs root and, for IPVS, a lab kernel: `cargo xtask lab`.

mod api_server;
mod chance;
mod cluster;
mod golden_order;
mod lab;
mod netns;
mod pod;
mod proxier;
mod rack;
mod relay;
#[cfg(feature = "tls")]
mod tls_server;

pub use api_server::{ApiServer, Fault};
pub use chance::seed;
pub use cluster::{Cluster, Pod, TCP_PORTS, UDP_PORT};
pub use golden_order::in_our_order;
pub use lab::{Need, find_program, iptables_is_legacy, is_skipped_without, lab_has};
pub use netns::NetNs;
pub use pod::{Answer, Protocol, ask, ask_tcp, ask_udp, serve, serve_tcp, serve_udp};
pub use proxier::{
    RunningProxier, command, eventually, example, filter_is_nftables, kube_proxy, run_kube_proxy,
    workspace,
};
pub use rack::{POD_PORT, Rack, RackNode};
pub use relay::Relay;
#[cfg(feature = "tls")]
pub use tls_server::{Authority, Identity, TlsServer};
