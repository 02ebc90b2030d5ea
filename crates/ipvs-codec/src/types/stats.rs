use crate::error::WireError;
use crate::wire::{Attribute as _, Stats64Attr, StatsAttr, for_each_raw};

/// Counters and two-second rates of a service or a destination. The kernel refreshes both only every two seconds,
/// and not at all while `net.ipv4.vs.run_estimation` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Stats {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Packets to clients.
    pub out_packets: u64,
    /// Bytes from clients.
    pub in_bytes: u64,
    /// Bytes to clients.
    pub out_bytes: u64,
    /// Connections a second.
    pub connections_per_second: u64,
    /// Packets from clients a second.
    pub in_packets_per_second: u64,
    /// Packets to clients a second.
    pub out_packets_per_second: u64,
    /// Bytes from clients a second.
    pub in_bytes_per_second: u64,
    /// Bytes to clients a second.
    pub out_bytes_per_second: u64,
}

macro_rules! read {
    ($space:ident, $nest:expr) => {{
        let mut stats = Stats::default();
        for_each_raw("stats", $nest, |raw| {
            match $space::read(&raw)? {
                $space::Conns(count) => stats.connections = count.into(),
                $space::InPkts(count) => stats.in_packets = count.into(),
                $space::OutPkts(count) => stats.out_packets = count.into(),
                $space::InBytes(count) => stats.in_bytes = count,
                $space::OutBytes(count) => stats.out_bytes = count,
                $space::Cps(rate) => stats.connections_per_second = rate.into(),
                $space::InPps(rate) => stats.in_packets_per_second = rate.into(),
                $space::OutPps(rate) => stats.out_packets_per_second = rate.into(),
                $space::InBps(rate) => stats.in_bytes_per_second = rate.into(),
                $space::OutBps(rate) => stats.out_bytes_per_second = rate.into(),
                $space::Other(_) => {}
            }
            Ok::<_, WireError>(())
        })?;
        Ok(stats)
    }};
}

/// The two nests of counters as they lie in an answer; only the better one is read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StatsNests<'a> {
    pub(crate) narrow: Option<&'a [u8]>,
    pub(crate) wide: Option<&'a [u8]>,
}

impl StatsNests<'_> {
    /// The counters of 64 bits where the kernel has them (4.1), else those of 32 bits.
    pub(crate) fn read(self) -> Result<Stats, WireError> {
        match (self.wide, self.narrow) {
            (Some(nest), _) => Stats::parse64(nest),
            (None, Some(nest)) => Stats::parse(nest),
            (None, None) => Ok(Stats::default()),
        }
    }
}

impl Stats {
    /// Reads an `IPVS_*_ATTR_STATS` nest.
    fn parse(nest: &[u8]) -> Result<Self, WireError> {
        read!(StatsAttr, nest)
    }

    /// Reads an `IPVS_*_ATTR_STATS64` nest.
    fn parse64(nest: &[u8]) -> Result<Self, WireError> {
        match Self::in_order(nest) {
            Some(stats) => Ok(stats),
            None => read!(Stats64Attr, nest),
        }
    }

    /// The ten counters if they stand as most kernels send them: in their order and without padding.
    fn in_order(nest: &[u8]) -> Option<Self> {
        let whole: &[u8; 120] = nest.try_into().ok()?;
        let mut values = [0; 10];
        let counters = whole.chunks_exact(12).zip(&mut values).zip(1_u16..);
        for ((counter, value), kind) in counters {
            let [a, b, c, d, number @ ..] = *counter.first_chunk::<12>()?;
            if u16::from_ne_bytes([a, b]) != 12 || u16::from_ne_bytes([c, d]) != kind {
                return None;
            }
            *value = u64::from_ne_bytes(number);
        }
        Some(Self {
            connections: values[0],
            in_packets: values[1],
            out_packets: values[2],
            in_bytes: values[3],
            out_bytes: values[4],
            connections_per_second: values[5],
            in_packets_per_second: values[6],
            out_packets_per_second: values[7],
            in_bytes_per_second: values[8],
            out_bytes_per_second: values[9],
        })
    }
}
