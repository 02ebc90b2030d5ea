//! What is asked, and who should answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use ipvs_test_support::{Answer, NetNs, ask_tcp, ask_udp};

/// A service port of `examples/manifests`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) service: &'static str,
    pub(super) address: &'static str,
    udp: bool,
    /// Who must answer.
    pods: &'static [&'static str],
    /// One client is answered by one pod only.
    sticky: bool,
}

const BOTH: &[&str] = &["pod-a", "pod-b"];

const fn target(
    service: &'static str,
    address: &'static str,
    pods: &'static [&'static str],
) -> Target {
    Target {
        service,
        address,
        udp: false,
        pods,
        sticky: false,
    }
}

/// Every VIP and port of `examples/manifests`.
pub(super) const SHOP: [Target; 9] = [
    target("web", "10.96.0.10:80", BOTH),
    target("api", "10.96.0.20:80", &["pod-b"]),
    target("api (metrics)", "10.96.0.20:9100", &["pod-b"]),
    Target {
        udp: true,
        ..target("dns", "10.96.0.53:53", BOTH)
    },
    target("dns (tcp)", "10.96.0.53:53", BOTH),
    target("docs", "[fd00:10:96::30]:80", BOTH),
    target("images", "10.96.0.40:80", BOTH),
    target("images", "[fd00:10:96::40]:80", BOTH),
    Target {
        sticky: true,
        ..target("cart", "10.96.0.50:80", BOTH)
    },
];

impl Target {
    /// The same service port with other endpoints.
    pub(super) const fn answered_by(self, pods: &'static [&'static str]) -> Self {
        Self { pods, ..self }
    }

    /// Asks four times from a namespace; tells who answered how often.
    ///
    /// # Errors
    /// When a request is not answered, or not by whom it should be.
    pub(super) fn ask(&self, from: &NetNs) -> Result<BTreeMap<String, usize>> {
        let server: SocketAddr = self.address.parse()?;
        let mut count = BTreeMap::new();
        for _ in 0..4 {
            let answer: Answer = if self.udp {
                ask_udp(from, server)
            } else {
                ask_tcp(from, server)
            }
            .with_context(|| {
                format!("{} at {} from {}", self.service, self.address, from.name())
            })?;
            *count.entry(answer.pod).or_default() += 1;
        }
        let found: BTreeSet<&str> = count.keys().map(String::as_str).collect();
        let wanted: BTreeSet<&str> = self.pods.iter().copied().collect();
        let right = if self.sticky {
            found.len() == 1 && found.is_subset(&wanted)
        } else {
            found == wanted
        };
        if !right {
            bail!(
                "{} at {} from {}: {found:?} answered, not {wanted:?}",
                self.service,
                self.address,
                from.name()
            );
        }
        Ok(count)
    }
}
