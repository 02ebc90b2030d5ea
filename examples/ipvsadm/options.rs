//! The options, and which command takes which.

use std::fmt;

use crate::failure::Failure;

/// What the first option says is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    AddService,
    EditService,
    DeleteService,
    Clear,
    List,
    AddServer,
    DeleteServer,
    EditServer,
    Set,
    StartDaemon,
    StopDaemon,
    Restore,
    Save,
    Zero,
    Help,
    Version,
}

/// What the other options say, in the order in which their legality is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Opt {
    Numeric,
    Connection,
    Service,
    Scheduler,
    Persistent,
    Netmask,
    Server,
    Forward,
    Weight,
    UpperThreshold,
    LowerThreshold,
    McastInterface,
    Timeout,
    Daemon,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    Nosort,
    SyncId,
    Exact,
    OnePacket,
    PersistenceEngine,
    SchedFlags,
    McastGroup,
    McastPort,
    McastTtl,
    SyncMaxlen,
    TunInfo,
    TunType,
    TunPort,
    TunNocsum,
    TunCsum,
    TunRemcsum,
}

/// What a name on the command line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    Command(Command),
    Option(Opt),
    /// `-6`: the mark before it is of IPv6.
    Ipv6,
    /// `--sort`, which is what happens anyway.
    Sort,
}

/// Whether an option has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    None,
    Needed,
    Optional,
}

/// A name on the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spec {
    pub(crate) long: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) value: Value,
    pub(crate) meaning: Meaning,
}

const fn command(long: &'static str, short: char, command: Command) -> Spec {
    Spec {
        long,
        short: Some(short),
        value: Value::None,
        meaning: Meaning::Command(command),
    }
}

const fn long_command(long: &'static str, value: Value, command: Command) -> Spec {
    Spec {
        long,
        short: None,
        value,
        meaning: Meaning::Command(command),
    }
}

const fn flag(long: &'static str, short: Option<char>, option: Opt) -> Spec {
    Spec {
        long,
        short,
        value: Value::None,
        meaning: Meaning::Option(option),
    }
}

const fn value(long: &'static str, short: Option<char>, option: Opt) -> Spec {
    Spec {
        long,
        short,
        value: Value::Needed,
        meaning: Meaning::Option(option),
    }
}

pub(crate) const SPECS: &[Spec] = &[
    command("add-service", 'A', Command::AddService),
    command("edit-service", 'E', Command::EditService),
    command("delete-service", 'D', Command::DeleteService),
    command("clear", 'C', Command::Clear),
    command("list", 'L', Command::List),
    command("list", 'l', Command::List),
    command("zero", 'Z', Command::Zero),
    command("add-server", 'a', Command::AddServer),
    command("edit-server", 'e', Command::EditServer),
    command("delete-server", 'd', Command::DeleteServer),
    command("restore", 'R', Command::Restore),
    command("save", 'S', Command::Save),
    command("help", 'h', Command::Help),
    command("version", 'v', Command::Version),
    long_command("set", Value::None, Command::Set),
    long_command("start-daemon", Value::Needed, Command::StartDaemon),
    long_command("stop-daemon", Value::Needed, Command::StopDaemon),
    value("tcp-service", Some('t'), Opt::Service),
    value("udp-service", Some('u'), Opt::Service),
    value("sctp-service", None, Opt::Service),
    value("fwmark-service", Some('f'), Opt::Service),
    value("scheduler", Some('s'), Opt::Scheduler),
    Spec {
        long: "persistent",
        short: Some('p'),
        value: Value::Optional,
        meaning: Meaning::Option(Opt::Persistent),
    },
    value("netmask", Some('M'), Opt::Netmask),
    value("real-server", Some('r'), Opt::Server),
    flag("masquerading", Some('m'), Opt::Forward),
    flag("ipip", Some('i'), Opt::Forward),
    flag("gatewaying", Some('g'), Opt::Forward),
    value("weight", Some('w'), Opt::Weight),
    value("u-threshold", Some('x'), Opt::UpperThreshold),
    value("l-threshold", Some('y'), Opt::LowerThreshold),
    flag("numeric", Some('n'), Opt::Numeric),
    flag("connection", Some('c'), Opt::Connection),
    value("mcast-interface", None, Opt::McastInterface),
    value("syncid", None, Opt::SyncId),
    flag("timeout", None, Opt::Timeout),
    flag("daemon", None, Opt::Daemon),
    flag("stats", None, Opt::Stats),
    flag("rate", None, Opt::Rate),
    flag("thresholds", None, Opt::Thresholds),
    flag("persistent-conn", None, Opt::PersistentConn),
    flag("nosort", None, Opt::Nosort),
    Spec {
        long: "sort",
        short: None,
        value: Value::None,
        meaning: Meaning::Sort,
    },
    flag("exact", Some('X'), Opt::Exact),
    Spec {
        long: "ipv6",
        short: Some('6'),
        value: Value::None,
        meaning: Meaning::Ipv6,
    },
    flag("ops", Some('o'), Opt::OnePacket),
    value("pe", None, Opt::PersistenceEngine),
    value("sched-flags", Some('b'), Opt::SchedFlags),
    value("mcast-group", None, Opt::McastGroup),
    value("mcast-port", None, Opt::McastPort),
    value("mcast-ttl", None, Opt::McastTtl),
    value("sync-maxlen", None, Opt::SyncMaxlen),
    flag("tun-info", None, Opt::TunInfo),
    value("tun-type", None, Opt::TunType),
    value("tun-port", None, Opt::TunPort),
    flag("tun-nocsum", None, Opt::TunNocsum),
    flag("tun-csum", None, Opt::TunCsum),
    flag("tun-remcsum", None, Opt::TunRemcsum),
];

/// The options that were given.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Given(u64);

impl Given {
    pub(crate) const fn has(self, option: Opt) -> bool {
        self.0 & (1 << option as u32) != 0
    }

    pub(crate) fn has_any(self, options: &[Opt]) -> bool {
        options.iter().any(|option| self.has(*option))
    }

    /// Notes an option; each may be given once.
    pub(crate) fn add(&mut self, option: Opt) -> Result<(), Failure> {
        if self.has(option) {
            return Err(Failure::wrong(format!(
                "multiple '{option}' options specified"
            )));
        }
        self.0 |= 1 << option as u32;
        Ok(())
    }
}

/// How a command takes options.
struct Rules {
    needs: &'static [Opt],
    takes: &'static [Opt],
    /// At most one of them.
    one_of: &'static [Opt],
}

const fn rules(needs: &'static [Opt], takes: &'static [Opt]) -> Rules {
    Rules {
        needs,
        takes,
        one_of: &[],
    }
}

impl Command {
    fn rules(self) -> Rules {
        use Opt::{
            Connection, Daemon, Exact, Forward, LowerThreshold, McastGroup, McastInterface,
            McastPort, McastTtl, Netmask, Nosort, Numeric, OnePacket, PersistenceEngine,
            Persistent, PersistentConn, Rate, SchedFlags, Scheduler, Server, Service, Stats,
            SyncId, SyncMaxlen, Thresholds, Timeout, TunCsum, TunInfo, TunNocsum, TunPort,
            TunRemcsum, TunType, UpperThreshold, Weight,
        };
        match self {
            Self::AddService | Self::EditService => rules(
                &[Service],
                &[
                    Scheduler,
                    Persistent,
                    Netmask,
                    OnePacket,
                    PersistenceEngine,
                    SchedFlags,
                ],
            ),
            Self::DeleteService => rules(&[Service], &[]),
            Self::Zero => rules(&[], &[Service]),
            Self::AddServer | Self::EditServer => rules(
                &[Service, Server],
                &[
                    Forward,
                    Weight,
                    UpperThreshold,
                    LowerThreshold,
                    TunType,
                    TunPort,
                    TunNocsum,
                    TunCsum,
                    TunRemcsum,
                ],
            ),
            Self::DeleteServer => rules(&[Service, Server], &[]),
            Self::List => Rules {
                needs: &[],
                takes: &[
                    Numeric,
                    Stats,
                    Rate,
                    Thresholds,
                    PersistentConn,
                    Nosort,
                    SyncId,
                    Exact,
                    TunInfo,
                ],
                one_of: &[Connection, Service, Timeout, Daemon],
            },
            Self::StartDaemon => rules(
                &[],
                &[
                    McastInterface,
                    SyncId,
                    McastGroup,
                    McastPort,
                    McastTtl,
                    SyncMaxlen,
                ],
            ),
            Self::StopDaemon => rules(&[], &[SyncId]),
            Self::Save => rules(&[], &[Numeric]),
            Self::Clear | Self::Set | Self::Restore | Self::Help | Self::Version => rules(&[], &[]),
        }
    }

    /// Whether the options go with the command. The first that does not, in their order, is reported.
    pub(crate) fn check(self, given: Given) -> Result<(), Failure> {
        let rules = self.rules();
        let mut first: Option<Opt> = None;
        for option in Opt::ALL {
            let given = given.has(option);
            if !given && rules.needs.contains(&option) {
                return Err(Failure::wrong(format!(
                    "You need to supply the '{option}' option for the '{self}' command"
                )));
            }
            if !given || rules.needs.contains(&option) || rules.takes.contains(&option) {
                continue;
            }
            if !rules.one_of.contains(&option) {
                return Err(Failure::wrong(format!(
                    "Illegal '{option}' option with the '{self}' command"
                )));
            }
            if let Some(first) = first.replace(option) {
                return Err(Failure::wrong(format!(
                    "The option '{option}' conflicts with the '{first}' option in the '{self}' command"
                )));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddService => "add-service",
            Self::EditService => "edit-service",
            Self::DeleteService => "delete-service",
            Self::Clear => "flush",
            Self::List => "list",
            Self::AddServer => "add-server",
            Self::DeleteServer => "delete-server",
            Self::EditServer => "edit-server",
            Self::Set => "set",
            Self::StartDaemon => "start-daemon",
            Self::StopDaemon => "stop-daemon",
            Self::Restore => "restore",
            Self::Save => "save",
            Self::Zero => "zero",
            Self::Help => "help",
            Self::Version => "version",
        })
    }
}

macro_rules! options {
    ($($option:ident $name:literal,)*) => {
        impl Opt {
            /// All, in their order.
            const ALL: [Self; 34] = [$(Self::$option),*];
        }

        impl fmt::Display for Opt {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$option => $name,)*
                })
            }
        }
    };
}

options! {
    Numeric "numeric", Connection "connection", Service "service-address", Scheduler "scheduler",
    Persistent "persistent", Netmask "netmask", Server "real-server", Forward "forwarding-method",
    Weight "weight", UpperThreshold "u-threshold", LowerThreshold "l-threshold",
    McastInterface "mcast-interface", Timeout "timeout", Daemon "daemon", Stats "stats", Rate "rate",
    Thresholds "thresholds", PersistentConn "persistent-conn", Nosort "nosort", SyncId "syncid",
    Exact "exact", OnePacket "ops", PersistenceEngine "pe", SchedFlags "sched-flags",
    McastGroup "mcast-group", McastPort "mcast-port", McastTtl "mcast-ttl", SyncMaxlen "sync-maxlen",
    TunInfo "tun-info", TunType "tun-type", TunPort "tun-port", TunNocsum "tun-nocsum",
    TunCsum "tun-csum", TunRemcsum "tun-remcsum",
}
