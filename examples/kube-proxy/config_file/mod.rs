//! `--config`: a KubeProxyConfiguration, read as the flags that say the same; `--write-config-to` and `/configz`: written as
//! the flags say.

mod fields;
mod written;

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use ipvs_proxier::{file_text, read_file};
use serde_json::Value;
use serde_saphyr::options::DuplicateKeyPolicy;

pub(crate) use self::written::{is_default, of};

use self::fields::{FIELDS, is_of_others};

const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";

/// What the file does not say but means: it has another default than the flag.
const DEFAULTS: [&str; 1] = ["--ipvs-min-sync-period=0s"];

/// Likewise, where `bindAddress` is IPv6.
const DEFAULTS_IPV6: [&str; 2] = [
    "--healthz-bind-address=[::]:10256",
    "--metrics-bind-address=[::1]:10249",
];

/// A file is read up to so many bytes.
pub(crate) const AT_MOST: u64 = 1 << 20;

/// The contents of the file.
///
/// # Errors
/// When it cannot be read, is no regular file, or is larger than any configuration.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    read_file(path, AT_MOST).with_context(|| format!("--config: {}", path.display()))
}

/// The flags that say what the contents say, and warnings.
///
/// # Errors
/// When they are no KubeProxyConfiguration. Unknown fields and such that stand twice only make warnings, as with kube-proxy.
pub(crate) fn flags_of(path: &Path, contents: &[u8]) -> Result<(Vec<String>, Vec<String>)> {
    let place = format!("--config: {}", path.display());
    let text = file_text(contents).with_context(|| place.clone())?;
    let (flags, complaints) = parse(text).with_context(|| place.clone())?;
    let warnings = complaints
        .iter()
        .map(|complaint| format!("{place}: {complaint}"));
    Ok((flags, warnings.collect()))
}

fn parse(text: &str) -> Result<(Vec<String>, Vec<String>)> {
    let mut complaints = Vec::new();
    let documents = match documents(text, DuplicateKeyPolicy::Error) {
        Ok(documents) => documents,
        Err(error) => {
            // A field that stands twice is no reason to end: the last one counts.
            let Ok(documents) = documents(text, DuplicateKeyPolicy::LastWins) else {
                return Err(error).context("no YAML");
            };
            let line = error.location().map_or(0, |location| location.line());
            complaints.push(format!(
                "line {line}: a field stands twice, the last one counts"
            ));
            documents
        }
    };
    let value = match &documents[..] {
        [] => Value::Null,
        [value] => value.clone(),
        several => bail!(
            "it has {} documents, separated by lines of ---: a configuration is one",
            several.len()
        ),
    };
    let word = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (word("apiVersion"), word("kind"));
    if version != API_VERSION || kind != "KubeProxyConfiguration" {
        bail!("apiVersion: {version}, kind: {kind}: no KubeProxyConfiguration of {API_VERSION}");
    }
    match word("mode") {
        "ipvs" => {}
        // In a file kube-proxy takes it for iptables: nobody asked for ipvs.
        "" => bail!("mode: this proxier has only ipvs, write `mode: ipvs`"),
        other => bail!("mode: {other}: this proxier has only ipvs, write `mode: ipvs`"),
    }
    let mut flags = DEFAULTS.map(str::to_owned).to_vec();
    if word("bindAddress")
        .parse()
        .is_ok_and(|address: IpAddr| address.is_ipv6())
    {
        flags.extend(DEFAULTS_IPV6.map(str::to_owned));
    }
    walk("", &value, &mut |field, value| {
        let means_default = ["ipvs.syncPeriod", "configSyncPeriod"].contains(&field);
        if means_default && matches!(&*value, "0" | "0s") {
            return;
        }
        let flag = FIELDS.iter().find(|(known, ..)| *known == field);
        match flag {
            // A plain number is one of nanoseconds.
            Some((_, flag, _)) if is_number(field, &value) => {
                flags.push(format!("--{flag}={value}ns"));
            }
            Some((_, flag, _)) if flag.len() == 1 => flags.push(format!("-{flag}={value}")),
            Some((_, flag, _)) => flags.push(format!("--{flag}={value}")),
            None if is_of_others(field) => {}
            None => complaints.push(format!(
                "unknown field {field}; going on leniently, without it"
            )),
        }
    });
    Ok((flags, complaints))
}

/// What of aliases, in nodes, a configuration has at most; it has hardly any.
const ALIASED: usize = 1000;

/// Those that have something. An error is one line of a log, and shows nothing of a file that is perhaps another one than was
/// meant.
fn documents(
    text: &str,
    duplicate_keys: DuplicateKeyPolicy,
) -> Result<Vec<Value>, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        duplicate_keys: duplicate_keys,
        budget: serde_saphyr::budget! { max_recorded_anchor_events: ALIASED },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: ALIASED },
    };
    serde_saphyr::from_multiple_with_options(text, options)
}

fn is_number(field: &str, value: &str) -> bool {
    field == "logging.flushFrequency" && value.parse::<u64>().is_ok()
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
        let (flags, complaints) = parse(text).unwrap();
        assert_eq!(complaints.len(), 1);
        assert!(
            complaints[0].contains("unknown field clusterSomething"),
            "{complaints:?}"
        );
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
        let (flags, complaints) = parse(&format!("{text}ipvs: {{scheduler: wrr}}\n")).unwrap();
        assert!(
            flags.iter().any(|flag| flag == "--ipvs-scheduler=wrr"),
            "{flags:?}"
        );
        assert!(complaints[0].contains("stands twice"), "{complaints:?}");
    }

    #[test]
    fn a_file_with_several_documents_is_refused_and_empty_ones_do_not_count() {
        let one = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n";
        for text in [
            format!("---\n{one}"),
            format!("{one}---\n"),
            format!("# head\n---\n{one}...\n---\n# nothing\n"),
        ] {
            let (_, complaints) = parse(&text).unwrap();
            assert!(complaints.is_empty(), "{complaints:?}");
        }
        let error = parse(&format!("{one}---\n{one}")).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "it has 2 documents, separated by lines of ---: a configuration is one"
        );
    }

    /// Ten thousand nodes by four lines.
    #[test]
    fn aliases_that_stand_for_too_much_are_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for at in 1..4 {
            let alias = format!("*a{}", at - 1);
            let aliases = [alias.as_str(); 10].join(", ");
            text.push_str(&format!("a{at}: &a{at} [{aliases}]\n"));
        }
        let error = format!("{:#}", parse(&text).unwrap_err());
        assert!(error.starts_with("no YAML: "), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
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
        let (_, complaints) = parse(text).unwrap();
        assert!(complaints.is_empty(), "{complaints:?}");
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
    fn row_023_an_ipv6_bind_address_moves_the_defaults_of_a_file_only() {
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\nbindAddress: ";
        let has = |address: &str, more: &str, flag: &str| {
            let (flags, _) = parse(&format!("{head}{address}\n{more}")).unwrap();
            flags
                .iter()
                .rfind(|found| found.starts_with(flag.split('=').next().unwrap()))
                == Some(&flag.to_owned())
        };
        assert!(has("fd00::1", "", "--healthz-bind-address=[::]:10256"));
        assert!(has("fd00::1", "", "--metrics-bind-address=[::1]:10249"));
        assert!(!has("10.0.0.1", "", "--healthz-bind-address=[::]:10256"));
        let own = "healthzBindAddress: 127.0.0.1:1\n";
        assert!(has("fd00::1", own, "--healthz-bind-address=127.0.0.1:1"));
        let words = ["kube-proxy", "--bind-address=fd00::1"].map(Into::into);
        let flags = crate::command_line::parse(words.into()).unwrap();
        assert_eq!(flags.words["healthz-bind-address"], "0.0.0.0:10256");
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let words = [
            "kube-proxy",
            "--cluster-cidr=10.244.0.0/16,fd00::/48",
            "--ipvs-exclude-cidrs=10.0.0.0/8",
            "--ipvs-strict-arp",
            "--ipvs-tcp-timeout=15m",
            "--feature-gates=A=true,B=false",
            "--ipvs-scheduler=wrr",
            "--hostname-override=n1",
        ];
        let flags = crate::command_line::parse(words.map(Into::into).into()).unwrap();
        let written = of(&flags.words);
        assert_eq!(written["ipvs"]["strictARP"], true);
        assert_eq!(written["ipvs"]["excludeCIDRs"][0], "10.0.0.0/8");
        assert_eq!(written["featureGates"]["B"], false);
        assert_eq!(written["iptables"]["masqueradeBit"], 14);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), serde_saphyr::to_string(&written).unwrap()).unwrap();
        let config = format!("--config={}", file.path().display());
        let words = ["kube-proxy", config.as_str()].map(Into::into);
        let read = crate::command_line::parse(words.into()).unwrap();
        assert_eq!(of(&read.words), written);
        assert_eq!(written["ipvs"]["tcpTimeout"], "15m0s");
        assert_eq!(written["conntrack"]["tcpEstablishedTimeout"], "24h0m0s");
        assert!(read.warnings.is_empty(), "{:?}", read.warnings);
    }

    /// What kube-proxy 1.36 tells of itself where nothing is said but the mode.
    #[test]
    fn every_field_has_its_default() {
        let flags = crate::command_line::parse(vec!["kube-proxy".into()]).unwrap();
        let defaults: Value = serde_json::from_str(fields::DEFAULTS).unwrap();
        assert_eq!(of(&flags.words), defaults);
        for section in [
            "clientConnection",
            "conntrack",
            "ipvs",
            "iptables",
            "nftables",
            "winkernel",
        ] {
            assert!(defaults[section].is_object(), "{section}");
        }
        assert!(is_default("oom-score-adj", "-999") && !is_default("oom-score-adj", "-998"));
        assert!(is_default("config-sync-period", "15m") && !is_default("config-sync-period", "1m"));
        assert!(!is_default("log-dir", ""));
    }

    /// As kubeadm writes it where the kubelet was given one, and as a number of nanoseconds.
    #[test]
    fn the_flush_frequency_is_a_duration_in_either_form() {
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n";
        for (value, flag) in [
            ("0", "--log-flush-frequency=0ns"),
            ("5000000000", "--log-flush-frequency=5000000000ns"),
            ("5s", "--log-flush-frequency=5s"),
        ] {
            let (flags, _) =
                parse(&format!("{head}logging: {{flushFrequency: {value}}}\n")).unwrap();
            assert!(
                flags.iter().any(|found| found == flag),
                "{flag} in {flags:?}"
            );
        }
    }

    #[test]
    fn what_is_no_configuration_for_ipvs_is_refused() {
        let refused = |text: &str| format!("{:#}", parse(text).unwrap_err());
        assert!(refused("kind: Service\napiVersion: v1\n").contains("no KubeProxyConfiguration"));
        let iptables = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: iptables\n";
        assert!(refused(iptables).contains("mode: iptables: this proxier has only ipvs"));
        assert!(refused("a: [").contains("no YAML"));
        let told = refused("users:\n- token: secret\n  key: [\n");
        assert!(
            !told.contains("secret") && told.lines().count() == 1,
            "{told}"
        );
        assert!(told.contains("line "), "{told}");
        let head = "kind: KubeProxyConfiguration\napiVersion: kubeproxy.config.k8s.io";
        let next = refused(&format!("{head}/v1beta1\nmode: ipvs\n"));
        assert!(next.contains("no KubeProxyConfiguration of kubeproxy.config.k8s.io/v1alpha1"));
        for mode in ["", "mode: ''\n"] {
            let unsaid = refused(&format!("{head}/v1alpha1\n{mode}"));
            assert!(unsaid.contains("write `mode: ipvs`"), "{unsaid}");
        }
    }
}
