//! Flags of kube-proxy, of today and of its early days, that change nothing here. Their values are looked at all the same:
//! who mistypes one is told by either.

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::flags::{boolean, integer, verbosity};
use crate::go_duration::parse as duration;

/// What a flag's value must be.
#[derive(Debug, Clone, Copy)]
enum Value {
    /// `true` where nothing is said.
    Switch,
    Text,
    Duration,
    /// Longer than nothing.
    Period,
    Float,
    /// Not negative, of 32 bits with a sign.
    Count,
    /// Of 64 bits.
    Size,
    /// `file=2,others*=3`.
    Levels,
    /// `1.35`.
    Version,
}

const ACCEPTED: [(&str, Value); 33] = [
    ("add-dir-header", Value::Switch),
    ("alsologtostderr", Value::Switch),
    ("boot-id-file", Value::Text),
    ("cleanup-ipvs", Value::Switch),
    ("config-sync-period", Value::Period),
    ("conntrack-max", Value::Count),
    ("iptables-localhost-nodeports", Value::Switch),
    ("iptables-min-sync-period", Value::Duration),
    ("iptables-sync-period", Value::Duration),
    ("kube-api-burst", Value::Count),
    ("kube-api-content-type", Value::Text),
    ("kube-api-qps", Value::Float),
    ("log-backtrace-at", Value::Text),
    ("log-dir", Value::Text),
    ("log-file", Value::Text),
    ("log-file-max-size", Value::Size),
    ("log-flush-frequency", Value::Duration),
    ("log-json-info-buffer-size", Value::Text),
    ("log-json-split-stream", Value::Switch),
    ("log-text-info-buffer-size", Value::Text),
    ("log-text-split-stream", Value::Switch),
    ("logtostderr", Value::Switch),
    ("machine-id-file", Value::Text),
    ("one-output", Value::Switch),
    ("profiling", Value::Switch),
    ("proxy-port-range", Value::Text),
    ("resource-container", Value::Text),
    ("show-hidden-metrics-for-version", Value::Version),
    ("skip-headers", Value::Switch),
    ("skip-log-headers", Value::Switch),
    ("stderrthreshold", Value::Text),
    ("udp-timeout", Value::Duration),
    ("vmodule", Value::Levels),
];

impl Value {
    fn check(self, text: &str) -> Result<String, String> {
        let is_one = match self {
            Self::Switch => boolean(text).is_ok(),
            Self::Text => true,
            Self::Duration => duration(text).is_ok(),
            Self::Period => duration(text).is_ok_and(|period| !period.is_zero()),
            Self::Float => text.parse::<f32>().is_ok(),
            Self::Count => integer(text, 0..=i32::MAX).is_ok(),
            Self::Size => !text.starts_with(['+', '-']) && integer(text, 0..=u64::MAX).is_ok(),
            Self::Levels => text.split(',').all(is_level),
            Self::Version => {
                let is_number = |part: &str| part.parse::<u16>().is_ok();
                let parts = text.split_once('.');
                text.is_empty()
                    || parts.is_some_and(|(major, minor)| is_number(major) && is_number(minor))
            }
        };
        let wanted = match self {
            Self::Switch => "true or false",
            Self::Text => "any text",
            Self::Duration => "a duration as 30s",
            Self::Period => "a duration longer than 0",
            Self::Float => "a number",
            Self::Count => "a number from 0 to 2147483647",
            Self::Size => "a number from 0 to 18446744073709551615",
            Self::Levels => "PATTERN=LEVEL,...",
            Self::Version => "a version as 1.35",
        };
        is_one
            .then(|| text.to_owned())
            .ok_or_else(|| wanted.to_owned())
    }
}

/// Empty ones, as after a comma at the end, do not count.
fn is_level(text: &str) -> bool {
    let parts = text.split_once('=');
    text.is_empty()
        || parts.is_some_and(|(pattern, level)| !pattern.is_empty() && verbosity(level).is_ok())
}

/// Those that were given, with their values.
#[derive(Debug, Default)]
pub(crate) struct Accepted(Vec<(&'static str, String)>);

impl Accepted {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(flag, value)| (*flag, value.as_str()))
    }
}

impl Args for Accepted {
    fn augment_args(command: Command) -> Command {
        let arguments = ACCEPTED.into_iter().map(|(name, value)| {
            let argument = Arg::new(name)
                .long(name)
                .hide(true)
                .action(ArgAction::Set)
                .value_parser(ValueParser::from(move |text: &str| value.check(text)));
            match value {
                Value::Switch => argument
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true"),
                _ => argument.allow_hyphen_values(true),
            }
        });
        command.args(arguments)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Accepted {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = ACCEPTED.into_iter().filter_map(|(name, _)| {
            let value = matches.get_one::<String>(name)?;
            Some((name, value.clone()))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
