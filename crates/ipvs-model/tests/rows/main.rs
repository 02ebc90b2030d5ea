//! Rows of the acceptance table, on the model alone.

mod cluster_ip;
mod explain;
mod external;
mod fixture;
mod hostile;
mod node_port;
mod policies;
mod quirks;
mod skeleton;
mod tuning;
mod twice;
