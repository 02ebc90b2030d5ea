//! IPVS's own counters, read when somebody asks.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use ipvs_codec::{ObservedDestination, ObservedService, ServiceKey, Stats};
use ipvs_netlink::{Error, Ipvs};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tracing::warn;

/// Real servers that are told for each virtual server, on average.
const EACH: usize = 10;

/// Counters of virtual servers and their real servers. A look costs a dump of all virtual servers, and a request for each
/// one that is told.
#[derive(Debug)]
pub(super) struct Traffic {
    ipvs: Mutex<Ipvs>,
    /// Virtual servers that are told at most, the first by address.
    most: usize,
}

type Labels = Vec<(&'static str, String)>;

#[derive(Default)]
struct Found {
    virtual_servers: Vec<(Labels, ObservedService)>,
    real_servers: Vec<(Labels, ObservedDestination)>,
    /// Whether these are all.
    complete: bool,
}

type Counter = (&'static str, &'static str, fn(&Stats) -> u64);
type Gauge = (&'static str, &'static str, fn(&ObservedDestination) -> u32);

const COUNTERS: [Counter; 5] = [
    ("connections", "Connections scheduled", |stats| {
        stats.connections
    }),
    ("in_packets", "Packets from clients", |stats| {
        stats.in_packets
    }),
    ("out_packets", "Packets to clients", |stats| {
        stats.out_packets
    }),
    ("in_bytes", "Bytes from clients", |stats| stats.in_bytes),
    ("out_bytes", "Bytes to clients", |stats| stats.out_bytes),
];

const GAUGES: [Gauge; 3] = [
    ("active_connections", "Established connections", |found| {
        found.active_connections
    }),
    (
        "inactive_connections",
        "Connections in other states",
        |found| found.inactive_connections,
    ),
    (
        "weight",
        "Share of new connections; 0 while it drains",
        |found| found.destination.weight,
    ),
];

fn labels(key: &ServiceKey) -> Labels {
    match key {
        ServiceKey::Endpoint {
            protocol,
            addr,
            port,
        } => vec![
            ("address", addr.to_string()),
            ("port", port.to_string()),
            ("protocol", protocol.to_string()),
        ],
        ServiceKey::Fwmark { family, mark } => {
            vec![
                ("fwmark", mark.to_string()),
                ("ip_family", family.to_string()),
            ]
        }
    }
}

impl Traffic {
    pub(super) const fn new(ipvs: Ipvs, most: usize) -> Self {
        Self {
            ipvs: Mutex::new(ipvs),
            most,
        }
    }

    fn read(&self) -> Result<Found, Error> {
        let mut ipvs = self.ipvs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut services = ipvs.services()?;
        services.sort_unstable_by_key(|observed| observed.service.key);
        let mut found = Found {
            complete: services.len() <= self.most,
            ..Found::default()
        };
        services.truncate(self.most);
        let most = self.most.saturating_mul(EACH);
        for observed in services {
            let key = observed.service.key;
            for real_server in ipvs.destinations(&key)? {
                if found.real_servers.len() == most {
                    found.complete = false;
                    break;
                }
                let mut labels = labels(&key);
                labels.push(("real_server", real_server.destination.addr.to_string()));
                found.real_servers.push((labels, real_server));
            }
            found.virtual_servers.push((labels(&key), observed));
        }
        Ok(found)
    }
}

impl Collector for Traffic {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let found = self.read().unwrap_or_else(|problem| {
            warn!("{problem}; counters of virtual servers are left out");
            Found::default()
        });
        for (name, help, value) in COUNTERS {
            let name_of_kind = format!("virtual_server_{name}");
            let mut metric =
                encoder.encode_descriptor(&name_of_kind, help, None, MetricType::Counter)?;
            for (labels, observed) in &found.virtual_servers {
                ConstCounter::new(value(&observed.stats)).encode(metric.encode_family(labels)?)?;
            }
            let name_of_kind = format!("real_server_{name}");
            let mut metric =
                encoder.encode_descriptor(&name_of_kind, help, None, MetricType::Counter)?;
            for (labels, observed) in &found.real_servers {
                ConstCounter::new(value(&observed.stats)).encode(metric.encode_family(labels)?)?;
            }
        }
        for (name, help, value) in GAUGES {
            let name_of_kind = format!("real_server_{name}");
            let mut metric =
                encoder.encode_descriptor(&name_of_kind, help, None, MetricType::Gauge)?;
            for (labels, observed) in &found.real_servers {
                ConstGauge::new(value(observed)).encode(metric.encode_family(labels)?)?;
            }
        }
        let help = "1 where all virtual and real servers are told";
        let metric =
            encoder.encode_descriptor("traffic_complete", help, None, MetricType::Gauge)?;
        ConstGauge::new(u32::from(found.complete)).encode(metric)
    }
}
