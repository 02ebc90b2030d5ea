//! What every component of Kubernetes tells of its program, under its names.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::platform::architecture;

/// A program, as its metrics tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its version, as `0.1.0`.
    pub version: &'static str,
    /// How it was built.
    pub build: Build,
    /// Its feature gates: name, stage as `BETA`, and whether it is on.
    pub gates: Vec<(&'static str, &'static str, bool)>,
}

/// How a program was built. What is not known is empty, which to Prometheus is the same as not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Build {
    /// The commit of its sources.
    pub commit: &'static str,
    /// The time of that, or of the build, as `2026-01-02T03:04:05Z`.
    pub date: &'static str,
    /// The version of rustc, as `1.95.0`.
    pub compiler: &'static str,
}

#[derive(Debug)]
pub(super) struct Kubernetes(pub(super) Program);

impl Collector for Kubernetes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Program {
            version,
            build,
            gates,
        } = &self.0;
        let mut numbers = version.split('.');
        // As `go1.26.1`: no Go is in it, but who asks which compiler made the programs of a cluster asks for this label.
        let compiler = Some(build.compiler).filter(|version| !version.is_empty());
        let compiler = compiler.map_or_else(String::new, |version| format!("rustc{version}"));
        let labels = [
            ("build_date", build.date.to_owned()),
            ("compiler", "rustc".to_owned()),
            ("git_commit", build.commit.to_owned()),
            // Kubernetes' own is empty too where its release scripts did not look.
            ("git_tree_state", String::new()),
            ("git_version", format!("v{version}")),
            ("go_version", compiler),
            ("major", numbers.next().unwrap_or_default().to_owned()),
            ("minor", numbers.next().unwrap_or_default().to_owned()),
            (
                "platform",
                format!("{}/{}", std::env::consts::OS, architecture()),
            ),
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
