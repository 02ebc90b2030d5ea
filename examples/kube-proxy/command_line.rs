//! Which words of the command line count, beside a configuration file and from other eras.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use anyhow::{Result, bail};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};
use support::output::exit;
use tracing::{info, warn};

use crate::config_file::{self, is_default};
use crate::flags::{Flags, OURS, boolean};

/// Flags that count beside `--config`.
const BESIDE_A_FILE: [&str; 8] = [
    "config",
    "v",
    "vmodule",
    "logging-format",
    "hostname-override",
    "master",
    "cleanup",
    "init-only",
];

impl Flags {
    /// Says what is ignored.
    pub(crate) fn tell(&self) {
        for warning in &self.warnings {
            warn!("{warning}");
        }
        let accepted = self.accepted.iter();
        for (flag, value) in accepted.filter(|(flag, value)| !is_default(flag, value)) {
            info!("--{flag}={value}: accepted, changes nothing here");
        }
        for (name, is_on) in self.other_gates() {
            info!("--feature-gates={name}={is_on}: accepted, changes nothing here");
        }
        if !self.words.contains_key("nodeport-addresses") {
            info!(
                "every address of this node serves node ports; --nodeport-addresses=primary would make it one"
            );
        }
        if let Some(warning) = self.node_port_warning() {
            warn!("{warning}");
        }
    }
}

/// The flags of the command line, or of the file that it names and what counts beside it.
///
/// # Errors
/// When the file cannot be used, or with everything that is wrong with the flags. Help and version end the process.
pub(crate) fn parse(words: Vec<OsString>) -> Result<Flags> {
    let words = plain(words);
    let (flags, problems) =
        from_words(words.clone()).unwrap_or_else(|said| exit("kube-proxy", &said, 2));
    let Some(path) = flags.config_file.clone() else {
        return judge("", flags, problems);
    };
    let contents = config_file::read(&path)?;
    with_file(&words, &path, contents)
}

/// Whether the flags could be had from such contents of the file that these words name.
///
/// # Errors
/// With everything that is wrong.
pub(crate) fn check(words: &[OsString], path: &Path, contents: &[u8]) -> Result<()> {
    with_file(&plain(words.to_vec()), path, contents.to_vec()).map(drop)
}

fn with_file(words: &[OsString], path: &Path, contents: Vec<u8>) -> Result<Flags> {
    let program = words.first().cloned().unwrap_or_default();
    let (beside, ignored) = beside_a_file(words);
    let ignored = ignored
        .iter()
        .map(|flag| format!("--{flag}: ignored, --config has its own"));
    let (from_file, unknown) = config_file::flags_of(path, &contents)?;
    let warnings = ignored.chain(unknown).collect();
    let all = [program]
        .into_iter()
        .chain(from_file.into_iter().map(OsString::from));
    match from_words(all.chain(beside).collect()) {
        Ok((mut flags, problems)) => {
            flags.warnings = warnings;
            flags.config_contents = contents;
            judge(&format!("--config: {}: ", path.display()), flags, problems)
        }
        Err(error) => bail!("--config: {}: {error}", path.display()),
    }
}

/// Everything that is wrong, in one error.
fn judge(place: &str, flags: Flags, mut problems: Vec<String>) -> Result<Flags> {
    problems.extend(flags.problems());
    if problems.is_empty() {
        return Ok(flags);
    }
    bail!("{place}{}", problems.join("\n"))
}

/// Flags that templates may leave empty, as in `--cluster-cidr=`: the same as not given.
const EMPTY: [&str; 9] = [
    "--bind-address",
    "--cluster-cidr",
    "--config",
    "--detect-local-mode",
    "--feature-gates",
    "--ipvs-exclude-cidrs",
    "--nodeport-addresses",
    "--proxy-mode",
    "--write-config-to",
];

/// The words in the form that is looked at here: kube-proxy takes `_` for `-` in the names of flags, a value of
/// `--version`, and another name of `--cleanup` from its early days.
fn plain(words: Vec<OsString>) -> Vec<OsString> {
    let may_be_empty = |name: &str| EMPTY.contains(&name);
    let mut plain: Vec<OsString> = Vec::with_capacity(words.len());
    for word in words {
        let text = word.to_str().unwrap_or("not text");
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.replace('_', "-"), Some(value)),
            None => (text.replace('_', "-"), None),
        };
        let last = plain.last().and_then(|last| last.to_str());
        match (name.as_str(), value) {
            ("", None) if last.is_some_and(may_be_empty) => drop(plain.pop()),
            (name, Some("")) if may_be_empty(name) => {}
            ("--version", Some("raw")) => plain.push(name.into()),
            ("--version", Some(value)) if boolean(value) == Ok(true) => plain.push(name.into()),
            ("--version", Some(value)) if boolean(value) == Ok(false) => {}
            ("--cleanup-iptables", None) => plain.push("--cleanup".into()),
            ("--cleanup-iptables", Some(value)) => plain.push(format!("--cleanup={value}").into()),
            (flag, Some(value)) if flag.starts_with("--") => {
                plain.push(format!("{flag}={value}").into())
            }
            (flag, None) if flag.starts_with("--") => plain.push(name.into()),
            _ => plain.push(word),
        }
    }
    plain
}

/// The flags, and what is wrong with those that are left out for it.
fn from_words(mut words: Vec<OsString>) -> Result<(Flags, Vec<String>), clap::Error> {
    let mut problems = Vec::new();
    loop {
        let error = match Flags::command().try_get_matches_from(&words) {
            Ok(matches) => {
                let mut flags = Flags::from_arg_matches(&matches)?;
                flags.words = values(&matches);
                flags.add_ports();
                return Ok((flags, problems));
            }
            Err(error) => error,
        };
        let before = words.len();
        if let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) {
            let flag = argument.split([' ', '=', '[']).next().unwrap_or_default();
            leave_out(&mut words, flag);
        }
        if words.len() == before || !is_about_a_flag(&error) {
            return Err(error);
        }
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        problems.push(line.trim_start_matches("error: ").to_owned());
    }
}

fn is_about_a_flag(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::UnknownArgument
    )
}

/// Takes a flag away, with its value where that is a word of its own.
fn leave_out(words: &mut Vec<OsString>, flag: &str) {
    let mut after_flag = false;
    words.retain(|word| {
        let text = word.to_string_lossy();
        let is_value = after_flag && !text.starts_with('-');
        let is_flag = text == flag
            || text
                .strip_prefix(flag)
                .is_some_and(|rest| rest.starts_with('='));
        after_flag = text == flag;
        !is_flag && !is_value
    });
}

/// Every flag that has a value, as it was typed or by default.
fn values(matches: &ArgMatches) -> BTreeMap<String, String> {
    let command = Flags::command();
    let arguments = command.get_arguments();
    let values = arguments.filter_map(|argument| {
        let raw = matches.try_get_raw(argument.get_id().as_str()).ok()??;
        let raw: Vec<_> = raw.map(|value| value.to_string_lossy()).collect();
        Some((argument.get_long()?.to_owned(), raw.join(",")))
    });
    values.filter(|(_, value)| !value.is_empty()).collect()
}

/// The flag that a word names, and whether its value is in the same word: `--flag=value`, `-v=5`, `-v5`.
fn named(word: &str) -> (&str, bool) {
    if let Some(name) = word.strip_prefix("--") {
        return match name.split_once('=') {
            Some((name, _)) => (name, true),
            None => (name, false),
        };
    }
    let Some(short) = word.strip_prefix('-') else {
        return (word, false);
    };
    match short.char_indices().nth(1) {
        Some((end, _)) => (short.split_at(end).0, true),
        None => (short, false),
    }
}

/// The words that count beside a file, and the flags that do not.
fn beside_a_file(words: &[OsString]) -> (Vec<OsString>, Vec<String>) {
    let command = Flags::command();
    let (mut kept, mut ignored) = (Vec::new(), Vec::new());
    let mut rest = words.iter().skip(1);
    while let Some(word) = rest.next() {
        let text = word.to_string_lossy();
        let (name, has_value) = named(&text);
        let argument = command.get_arguments().find(|argument| {
            argument.get_long() == Some(name)
                || argument.get_short().map(String::from).as_deref() == Some(name)
        });
        let Some(argument) = argument else { continue };
        let separate =
            !has_value && argument.get_action().takes_values() && !argument.is_require_equals_set();
        let value = if separate { rest.next() } else { None };
        let is_ours = argument.get_help_heading() == Some(OURS);
        if is_ours || BESIDE_A_FILE.contains(&name) {
            kept.push(word.clone());
            kept.extend(value.cloned());
        } else {
            ignored.push(name.to_owned());
        }
    }
    (kept, ignored)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::logging::LoggingFormat;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn row_024_the_seeds_command_line_is_accepted() {
        let line = "kube-proxy --bind-address=10.10.1.8 --hostname-override=docker4.node --masquerade-all \
                    --feature-gates=SupportIPVSProxyMode=true --proxy-mode=ipvs --ipvs-min-sync-period=5s \
                    --ipvs-sync-period=5s --ipvs-scheduler=rr --kubeconfig=/x --cluster-cidr=10.254.0.0/16 \
                    --logtostderr=true -v 2 --cleanup-ipvs=false --conntrack-max=0 --nodeport-addresses=";
        let flags = parse(words(line)).unwrap();
        let config = flags.config().unwrap();
        assert!(config.masquerade_all);
        assert_eq!(config.node_name, "docker4.node");
        assert_eq!(flags.pace().unwrap().min_sync.as_secs(), 5);
    }

    #[test]
    fn row_020_beside_a_file_few_flags_count() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n\
                    ipvs: {scheduler: lc}\nhostnameOverride: other\n";
        std::fs::write(file.path(), text).unwrap();
        let line = format!(
            "kube-proxy --ipvs-scheduler=wrr --ipvs-sync-period 7s --config {} --hostname-override=N1 --vip-binding route",
            file.path().display()
        );
        let flags = parse(words(&line)).unwrap();
        let config = flags.config().unwrap();
        assert_eq!(config.scheduler, ipvs_codec::Scheduler::LC);
        assert_eq!(config.node_name, "n1");
        assert_eq!(config.vip_binding, ipvs_model::VipBinding::Route);
        let pace = flags.pace().unwrap();
        assert_eq!((pace.min_sync.as_secs(), pace.sync.as_secs()), (0, 30));
    }

    /// Words that some manifest of the last ten years has.
    #[test]
    fn row_024_flags_of_any_era_are_accepted_in_any_form() {
        let line = "kube-proxy --config-sync-period 15m --kube-api-qps 50 --kube-api-burst=100 --stderrthreshold=2 \
                    --log_dir=/tmp --masquerade-all=True --ipvs-strict-arp=0 --detect-local-mode= --feature-gates= \
                    --conntrack-max 0 --profiling --log-json-info-buffer-size=0 --vmodule=proxier=4 --cleanup-ipvs \
                    --bind-address=010.10.1.08 --healthz-bind-address=127.000.000.001:10256 --cluster_cidr=010.0.0.0/8";
        let flags = parse(words(line)).unwrap();
        assert!(
            flags
                .accepted
                .iter()
                .any(|given| given == ("kube-api-qps", "50"))
        );
        assert!(!flags.ipvs_strict_arp);
        let config = flags.config().unwrap();
        assert!(config.masquerade_all);
        assert_eq!(config.node_ips, ["10.10.1.8".parse::<IpAddr>().unwrap()]);
        let networks = ipvs_model::LocalTraffic::ClusterCidrs(vec!["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(config.local_traffic, networks);
        let empty = [
            "kube-proxy",
            "--cluster-cidr",
            "",
            "--nodeport-addresses",
            "",
        ];
        assert!(parse(empty.map(Into::into).into()).is_ok());
        let unsaid = parse(words(
            "kube-proxy --proxy-mode= --bind-address= --version=false --version=F --boot-id-file=/proc/boot_id \
             --machine-id-file /etc/machine-id",
        ));
        let unsaid = unsaid.unwrap().words;
        assert_eq!(
            (&*unsaid["proxy-mode"], &*unsaid["bind-address"]),
            ("ipvs", "0.0.0.0")
        );
        let numbers = parse(words(
            "kube-proxy -v300 --log-file-max-size=0xffffffffffffffff --iptables-masquerade-bit=0xe --conntrack-min=1_000 \
             --oom-score-adj=-0x10 --kube-api-burst=0b11 --vmodule=a*=2,b=3,",
        ));
        let numbers = numbers.unwrap();
        let read = (
            numbers.verbosity,
            numbers.conntrack_min,
            numbers.oom_score_adj,
        );
        assert_eq!(read, (300, 1000, -16));
        assert_eq!(numbers.config().unwrap().masquerade_mark, 1 << 14);
        let told = config_file::of(&numbers.words);
        assert_eq!(told["iptables"]["masqueradeBit"], 14);
        for wrong in [
            "--config-sync-period=1M",
            "--ipvs-sync-period=1d",
            "--log-flush-frequency=often",
            "--kube-api-burst=-1",
            "--kube-api-qps=fast",
            "--config-sync-period=0s",
            "--show-hidden-metrics-for-version=yes",
            "--profiling=maybe",
            "--masquerade-all=yes",
            "--log-file-max-size=-1",
            "--log-file-max-size=+1",
            "--log-file-max-size=18446744073709551616",
            "--kube-api-burst=2147483648",
            "--vmodule=proxier",
            "--vmodule=proxier=-1",
            "--v=-1",
            "--v=2147483648",
            "--conntrack-min=-1",
            "--healthz-bind-address=0.0.0.0:0",
            "word",
        ] {
            let refused = parse(words(&format!("kube-proxy {wrong}"))).unwrap_err();
            let flag = wrong.split('=').next().unwrap();
            assert!(refused.to_string().contains(flag), "{wrong}: {refused}");
        }
    }

    /// All of it in one error.
    #[test]
    fn row_018_impossible_values_are_refused() {
        let wrong = [
            ("--ipvs-tcp-timeout=-1s", "--ipvs-tcp-timeout"),
            ("--iptables-masquerade-bit=32", "32 is not in 0..=31"),
            ("--ipvs-exclude-cidrs=x", "--ipvs-exclude-cidrs"),
            (
                "--detect-local-mode=BridgeInterface",
                "--pod-bridge-interface",
            ),
            ("--no-such-flag=1", "--no-such-flag"),
            ("--nodeport-addresses=primary,10.0.0.0/8", "primary"),
            ("--ipvs-min-sync-period=60s", "--ipvs-min-sync-period"),
            ("--healthz-bind-address=here", "--healthz-bind-address"),
        ];
        let flags: Vec<&str> = wrong.iter().map(|(flag, _)| *flag).collect();
        let line = format!("kube-proxy {}", flags.join(" "));
        let error = parse(words(&line)).unwrap_err().to_string();
        for (_, said) in wrong {
            assert!(error.contains(said), "{said} in {error}");
        }
        assert_eq!(error.lines().count(), wrong.len(), "{error}");
        for flag in [
            "--cluster-cidr=10.0.0.0/33",
            "--cluster-cidr 10.0.0.0/33",
            "--detect-local-mode=Nothing",
            "--cluster-cidr=10.0.0.0/8,11.0.0.0/8",
            "--ipvs-sync-period=0s",
        ] {
            let refused = parse(words(&format!("kube-proxy {flag}")));
            assert!(refused.is_err(), "{flag}");
        }
    }

    #[test]
    fn row_016_without_timeouts_none_are_set() {
        let timeouts = |line| parse(words(line)).unwrap().timeouts();
        assert_eq!(timeouts("kube-proxy --ipvs-tcp-timeout=0s"), None);
        assert!(timeouts("kube-proxy --ipvs-udp-timeout=5m").is_some());
    }

    #[test]
    fn addresses_of_a_family_that_the_node_lacks_are_refused() {
        use ipvs_codec::Family;
        let ipv4: &[Family] = &[Family::Ipv4];
        for (flags, families, suits) in [
            ("--cluster-cidr=fd00::/48", ipv4, false),
            ("--cluster-cidr=fd00::/48", &Family::ALL, true),
            ("--cluster-cidr=fd00::/48,10.0.0.0/8", ipv4, true),
            (
                "--cluster-cidr=fd00::/48 --detect-local-mode=NodeCIDR",
                ipv4,
                true,
            ),
            ("--bind-address=fd00::1", ipv4, false),
            (
                "--bind-address=:: --ipvs-exclude-cidrs=fd00::/48",
                ipv4,
                true,
            ),
        ] {
            let parsed = parse(words(&format!("kube-proxy {flags}"))).unwrap();
            assert_eq!(parsed.suit(families).is_ok(), suits, "{flags}");
        }
    }

    #[test]
    fn deprecated_ports_complete_the_addresses() {
        let words_of = |line: &str| parse(words(line)).unwrap().words;
        let given =
            words_of("kube-proxy --healthz-port=0 --metrics-bind-address=::1 --metrics-port=7");
        assert_eq!(given["healthz-bind-address"], "");
        assert_eq!(given["metrics-bind-address"], "[::1]:7");
        let given = words_of("kube-proxy --healthz-port=7 --metrics-bind-address=10.0.0.1");
        assert_eq!(given["healthz-bind-address"], "0.0.0.0:10256");
        assert_eq!(given["metrics-bind-address"], "10.0.0.1:10249");
    }

    #[test]
    fn the_log_is_as_the_command_line_says_also_beside_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n\
                    logging: {format: json, verbosity: 1}\n";
        std::fs::write(file.path(), text).unwrap();
        let log = |more: &str| {
            let line = format!("kube-proxy --config {}{more}", file.path().display());
            let flags = parse(words(&line)).unwrap();
            (flags.verbosity, flags.logging_format, flags.warnings)
        };
        assert_eq!(log(""), (1, LoggingFormat::Json, vec![]));
        assert_eq!(
            log(" -v 5 --logging-format=text"),
            (5, LoggingFormat::Text, vec![])
        );
        for more in [" -v5", " -v=5", " --v=5", " --v 5"] {
            assert_eq!(log(more), (5, LoggingFormat::Json, vec![]), "{more}");
        }
        assert_eq!(log(" -v300").0, 300);
        assert_eq!(log(" -v=5 --proxy-mode=ipvs").2.len(), 1);
        assert!(parse(words("kube-proxy --oom-score-adj=-1001")).is_err());
    }

    #[test]
    fn q9_kept_the_least_time_between_syncs_is_a_second_by_flag() {
        let flags = parse(words("kube-proxy")).unwrap();
        assert_eq!(flags.pace().unwrap().min_sync.as_secs(), 1);
    }

    #[test]
    fn q15_fixed_an_empty_metrics_address_is_accepted() {
        assert!(parse(words("kube-proxy --metrics-bind-address=")).is_ok());
        assert!(parse(words("kube-proxy --metrics-bind-address=here")).is_err());
    }
}
