//! What lab tests and the demo are made of: network namespaces, pods that answer, the reference proxier as a process.
//!
//! Everything here needs root and, for IPVS, a lab kernel: `cargo xtask lab`.

mod cluster;
mod netns;
mod pod;
mod proxier;

pub use cluster::{Cluster, Pod, TCP_PORTS, UDP_PORT};
pub use netns::NetNs;
pub use pod::{Answer, ask_tcp, ask_udp, serve_tcp, serve_udp};
pub use proxier::{RunningProxier, eventually, example, kube_proxy, run_kube_proxy, workspace};
