//! Tests on a real IPVS kernel. `cargo xtask test` runs them in the lab; each makes its own network namespaces.

mod a_fresh_kernel;
mod capabilities;
mod changes;
mod clients;
mod differential;
mod flows;
mod golden;
mod hand_over;
mod hands;
mod ipvsadm;
mod killed;
mod kubernetes;
mod leaving;
mod matrix;
mod metrics;
mod netlink;
mod packets;
mod process;
mod programs;
mod rules;
mod scan;
mod sockets;
mod spread;
mod state;
mod table;
mod tuning;
