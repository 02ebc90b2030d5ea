//! `--config`: a KubeProxyConfiguration, read as the flags that say the same.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tracing::warn;

/// What the file does not say but means: it has another default than the flag.
const DEFAULTS: [&str; 1] = ["--ipvs-min-sync-period=0s"];

/// Fields and the flags that say the same.
const FIELDS: [(&str, &str); 48] = [
    ("mode", "proxy-mode"),
    ("clusterCIDR", "cluster-cidr"),
    ("bindAddress", "bind-address"),
    ("bindAddressHardFail", "bind-address-hard-fail"),
    ("hostnameOverride", "hostname-override"),
    ("nodePortAddresses", "nodeport-addresses"),
    ("featureGates", "feature-gates"),
    ("detectLocalMode", "detect-local-mode"),
    ("detectLocal.bridgeInterface", "pod-bridge-interface"),
    (
        "detectLocal.interfaceNamePrefix",
        "pod-interface-name-prefix",
    ),
    ("clientConnection.kubeconfig", "kubeconfig"),
    ("clientConnection.contentType", "kube-api-content-type"),
    (
        "clientConnection.acceptContentTypes",
        "kube-api-content-type",
    ),
    ("clientConnection.qps", "kube-api-qps"),
    ("clientConnection.burst", "kube-api-burst"),
    ("iptables.masqueradeBit", "iptables-masquerade-bit"),
    ("iptables.masqueradeAll", "masquerade-all"),
    (
        "iptables.localhostNodePorts",
        "iptables-localhost-nodeports",
    ),
    ("iptables.syncPeriod", "iptables-sync-period"),
    ("iptables.minSyncPeriod", "iptables-min-sync-period"),
    ("ipvs.scheduler", "ipvs-scheduler"),
    ("ipvs.syncPeriod", "ipvs-sync-period"),
    ("ipvs.minSyncPeriod", "ipvs-min-sync-period"),
    ("ipvs.excludeCIDRs", "ipvs-exclude-cidrs"),
    ("ipvs.strictARP", "ipvs-strict-arp"),
    ("ipvs.tcpTimeout", "ipvs-tcp-timeout"),
    ("ipvs.tcpFinTimeout", "ipvs-tcpfin-timeout"),
    ("ipvs.udpTimeout", "ipvs-udp-timeout"),
    ("conntrack.maxPerCore", "conntrack-max-per-core"),
    ("conntrack.min", "conntrack-min"),
    (
        "conntrack.tcpEstablishedTimeout",
        "conntrack-tcp-timeout-established",
    ),
    (
        "conntrack.tcpCloseWaitTimeout",
        "conntrack-tcp-timeout-close-wait",
    ),
    ("conntrack.tcpBeLiberal", "conntrack-tcp-be-liberal"),
    ("conntrack.udpTimeout", "conntrack-udp-timeout"),
    ("conntrack.udpStreamTimeout", "conntrack-udp-timeout-stream"),
    ("healthzBindAddress", "healthz-bind-address"),
    ("metricsBindAddress", "metrics-bind-address"),
    ("enableProfiling", "profiling"),
    ("oomScoreAdj", "oom-score-adj"),
    ("configSyncPeriod", "config-sync-period"),
    (
        "showHiddenMetricsForVersion",
        "show-hidden-metrics-for-version",
    ),
    ("portRange", "proxy-port-range"),
    ("logging.format", "logging-format"),
    ("logging.flushFrequency", "log-flush-frequency"),
    ("logging.verbosity", "v"),
    ("logging.vmodule", "vmodule"),
    ("udpIdleTimeout", "udp-timeout"),
    ("resourceContainer", "resource-container"),
];

/// Sections that other modes and systems read.
const OTHERS: [&str; 5] = [
    "nftables.",
    "winkernel.",
    "windowsRunAsService",
    "logging.options.",
    "apiVersion",
];

/// The flags that say what the file says.
///
/// # Errors
/// When it is no KubeProxyConfiguration. Unknown fields are logged and left out, as by kube-proxy.
pub(crate) fn read(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("--config: cannot read {}", path.display()))?;
    let (flags, unknown) = parse(&text).with_context(|| format!("--config: {}", path.display()))?;
    for field in unknown {
        warn!(
            "--config: {}: unknown field {field}; going on leniently, without it",
            path.display()
        );
    }
    Ok(flags)
}

fn parse(text: &str) -> Result<(Vec<String>, Vec<String>)> {
    let value: Value = serde_saphyr::from_str(text).context("no YAML")?;
    let word = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (word("apiVersion"), word("kind"));
    if !version.starts_with("kubeproxy.config.k8s.io/") || kind != "KubeProxyConfiguration" {
        bail!(
            "apiVersion: {version}, kind: {kind}: no KubeProxyConfiguration of kubeproxy.config.k8s.io"
        );
    }
    if word("mode") != "ipvs" {
        bail!("mode: {}: this proxier has only ipvs", word("mode"));
    }
    let mut flags = DEFAULTS.map(str::to_owned).to_vec();
    let mut unknown = Vec::new();
    walk("", &value, &mut |field, value| {
        let means_default = ["ipvs.syncPeriod", "configSyncPeriod"].contains(&field);
        if means_default && matches!(&*value, "0" | "0s") {
            return;
        }
        let flag = FIELDS.iter().find(|(known, _)| *known == field);
        match flag {
            Some((_, flag)) if flag.len() == 1 => flags.push(format!("-{flag}={value}")),
            Some((_, flag)) => flags.push(format!("--{flag}={value}")),
            None if field == "kind" || OTHERS.iter().any(|other| field.starts_with(other)) => {}
            None => unknown.push(field.to_owned()),
        }
    });
    Ok((flags, unknown))
}

/// Gives every field that has a value to `take`: lists with commas, gates as `NAME=true`.
fn walk(path: &str, value: &Value, take: &mut dyn FnMut(&str, String)) {
    let plain = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match value {
        Value::Null => {}
        Value::Object(gates) if path == "featureGates" => {
            let gates = gates
                .iter()
                .map(|(name, on)| format!("{name}={}", plain(on)));
            let gates: Vec<String> = gates.collect();
            if !gates.is_empty() {
                take(path, gates.join(","));
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                walk(&path, value, take);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            take(path, items.join(","));
        }
        Value::String(text) if text.is_empty() => {}
        other => take(path, plain(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_019_and_022_a_file_is_read_leniently_with_its_own_defaults() {
        let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n\
                    clusterCIDR: 10.244.0.0/16,fd00::/48\nclusterSomething: 1\nipvs: {scheduler: lc, strictARP: true, \
                    excludeCIDRs: [10.0.0.0/8, 11.0.0.0/8], tcpTimeout: 0s}\nfeatureGates: {A: true, B: false}\n\
                    iptables: {masqueradeAll: false, masqueradeBit: null}\nwinkernel: {networkName: ''}\nportRange: ''\n";
        let (flags, unknown) = parse(text).unwrap();
        assert_eq!(unknown, ["clusterSomething"]);
        for flag in [
            "--ipvs-min-sync-period=0s",
            "--proxy-mode=ipvs",
            "--cluster-cidr=10.244.0.0/16,fd00::/48",
            "--ipvs-scheduler=lc",
            "--ipvs-strict-arp=true",
            "--ipvs-exclude-cidrs=10.0.0.0/8,11.0.0.0/8",
            "--feature-gates=A=true,B=false",
            "--masquerade-all=false",
        ] {
            assert!(
                flags.iter().any(|found| found == flag),
                "{flag} in {flags:?}"
            );
        }
        assert_eq!(flags.len(), 9);
    }

    /// As kubeadm writes it: what is empty, null or no time at all means the default.
    #[test]
    fn kubeadms_file_is_read_without_complaint() {
        let text = r#"
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack: {maxPerCore: null, min: null, tcpBeLiberal: false, tcpCloseWaitTimeout: null,
  tcpEstablishedTimeout: null, udpStreamTimeout: 0s, udpTimeout: 0s}
detectLocal: {bridgeInterface: "", interfaceNamePrefix: ""}
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables: {localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
ipvs: {excludeCIDRs: null, minSyncPeriod: 0s, scheduler: "", strictARP: false, syncPeriod: 0s,
  tcpFinTimeout: 0s, tcpTimeout: 0s, udpTimeout: 0s}
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
  options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}
  verbosity: 0
metricsBindAddress: ""
mode: ipvs
nftables: {masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel: {enableDSR: false, forwardHealthCheckVip: false, networkName: "", rootHnsEndpointName: "", sourceVip: ""}
"#;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let (_, unknown) = parse(text).unwrap();
        assert!(unknown.is_empty(), "{unknown:?}");
        let config = format!("--config={}", file.path().display());
        let words = [
            "kube-proxy",
            config.as_str(),
            "--hostname-override=n1",
            "--v=2",
        ];
        let flags = crate::command_line::parse(words.map(Into::into).into()).unwrap();
        let config = flags.config().unwrap();
        assert_eq!(config.node_name, "n1");
        let pace = flags.pace().unwrap();
        assert_eq!((pace.min_sync.as_secs(), pace.sync.as_secs()), (0, 30));
    }

    #[test]
    fn what_is_no_configuration_for_ipvs_is_refused() {
        let refused = |text: &str| format!("{:#}", parse(text).unwrap_err());
        assert!(refused("kind: Service\napiVersion: v1\n").contains("no KubeProxyConfiguration"));
        let iptables = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: iptables\n";
        assert!(refused(iptables).contains("mode: iptables: this proxier has only ipvs"));
        assert!(refused("a: [").contains("no YAML"));
    }
}
