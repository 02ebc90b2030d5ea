//! What every component of Kubernetes tells of its program, under its names.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// A program, as its metrics tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its version, as `0.1.0`.
    pub version: &'static str,
    /// Its feature gates: name, stage as `BETA`, and whether it is on.
    pub gates: Vec<(&'static str, &'static str, bool)>,
}

#[derive(Debug)]
pub(super) struct Kubernetes(pub(super) Program);

/// As Go calls the machine.
fn platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{architecture}", std::env::consts::OS)
}

impl Collector for Kubernetes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Program { version, gates } = &self.0;
        let mut numbers = version.split('.');
        let labels = [
            ("build_date", String::new()),
            ("compiler", "rustc".to_owned()),
            ("git_commit", String::new()),
            ("git_tree_state", String::new()),
            ("git_version", format!("v{version}")),
            ("go_version", String::new()),
            ("major", numbers.next().unwrap_or_default().to_owned()),
            ("minor", numbers.next().unwrap_or_default().to_owned()),
            ("platform", platform()),
        ];
        let mut metric = encoder.encode_descriptor(
            "kubernetes_build_info",
            "The version of this program, and what it was built for",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(1).encode(metric.encode_family(&labels)?)?;
        let mut metric = encoder.encode_descriptor(
            "kubernetes_feature_enabled",
            "1 where a feature gate is on",
            None,
            MetricType::Gauge,
        )?;
        for (name, stage, is_on) in gates {
            let labels = [("name", *name), ("stage", *stage)];
            ConstGauge::new(u32::from(*is_on)).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
