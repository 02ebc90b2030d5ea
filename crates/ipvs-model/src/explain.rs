//! Why an object of the kernel exists: found on demand, so that nothing is kept for it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipvs_codec::ServiceKey;
use serde::Serialize;

use crate::escaped::Escaped;
use crate::filter::FilterEntry;
use crate::input::ObjectName;
use crate::key::Key;

/// What can be asked about. As text: `10.96.0.10:80/TCP`, `10.96.0.10:80/TCP -> 10.244.0.5:8080`,
/// `cluster-ip 10.96.0.10:80/TCP` (as [`FilterEntry`]) and `10.96.0.10`.
///
/// ```
/// use ipvs_model::Subject;
/// let subject: Subject = "node-port-tcp IPv4:30080".parse().unwrap();
/// assert_eq!(subject.to_string(), "node-port-tcp IPv4:30080");
/// assert!("no such thing".parse::<Subject>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A virtual server.
    VirtualServer(ServiceKey),
    /// A real server of a virtual server.
    RealServer(ServiceKey, SocketAddr),
    /// An entry of a set.
    Member(FilterEntry),
    /// A virtual address.
    Vip(IpAddr),
}

/// A text is no [`Subject`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?}: neither a virtual server (10.96.0.10:80/TCP), a real server (10.96.0.10:80/TCP -> 10.244.0.5:8080), \
     a member (cluster-ip 10.96.0.10:80/TCP) nor an address (10.96.0.10)"
)]
pub struct NoSubject(String);

impl Subject {
    /// The key that is planned for; a real server is part of its virtual server.
    pub(crate) const fn key(&self) -> Key {
        match self {
            Self::VirtualServer(key) | Self::RealServer(key, _) => Key::VirtualServer(*key),
            Self::Member(member) => Key::Member(*member),
            Self::Vip(address) => Key::Vip(*address),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VirtualServer(key) => key.fmt(f),
            Self::RealServer(key, addr) => write!(f, "{key} -> {addr}"),
            Self::Member(member) => member.fmt(f),
            Self::Vip(address) => address.fmt(f),
        }
    }
}

impl FromStr for Subject {
    type Err = NoSubject;

    fn from_str(text: &str) -> Result<Self, NoSubject> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let found = match words[..] {
            [server, "->", real] => {
                let real = real.parse().ok();
                let key = server.parse().ok();
                key.zip(real).map(|(key, real)| Self::RealServer(key, real))
            }
            [one] => {
                let address = one.parse().ok().map(Self::Vip);
                address.or_else(|| one.parse().ok().map(Self::VirtualServer))
            }
            _ => text.parse().ok().map(Self::Member),
        };
        found.ok_or_else(|| NoSubject(text.to_owned()))
    }
}

/// An object, and why a service contributes it. Taken down only for explanations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) key: Key,
    /// Index of the service port.
    pub(crate) port: usize,
    pub(crate) because: Because,
}

/// Which part of a Service makes an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Because {
    /// The Service has a cluster IP.
    ClusterIp,
    /// The Service has external IPs.
    ExternalIp,
    /// A load balancer sends traffic with its address kept.
    LoadBalancerIp,
    /// The Service has a port on nodes.
    NodePort,
    /// Load balancers ask this port whether the node has endpoints.
    HealthCheck,
    /// An endpoint of this node may connect to itself.
    Hairpin,
}

impl Because {
    /// The field of the Kubernetes object.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::ClusterIp => "spec.clusterIPs",
            Self::ExternalIp => "spec.externalIPs",
            Self::LoadBalancerIp => "status.loadBalancer.ingress",
            Self::NodePort => "spec.ports[].nodePort",
            Self::HealthCheck => "spec.healthCheckNodePort",
            Self::Hairpin => "endpoints[].nodeName",
        }
    }

    /// What the field means.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::ClusterIp => "every port of a Service is served on its cluster IPs",
            Self::ExternalIp => "every port of a Service is served on its external IPs",
            Self::LoadBalancerIp => {
                "every port of a Service is served on load balancer addresses that arrive here"
            }
            Self::NodePort => "a node port is served on this node's own addresses",
            Self::HealthCheck => {
                "the port on which load balancers look for endpoints is let through"
            }
            Self::Hairpin => "an endpoint of this node that connects to itself is masqueraded",
        }
    }
}

/// Why an endpoint is a real server, or why it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is ready.
    Ready,
    /// It terminates but serves, and none is ready.
    LastResort,
    /// It is not ready.
    NotReady,
    /// It terminates, and others are ready.
    Terminating,
    /// It is on another node, and the traffic policy is Local.
    OnAnotherNode,
    /// It is meant for other nodes or zones (`hints`).
    HintedElsewhere,
}

impl Verdict {
    const fn text(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::LastResort => "terminates but serves, and none is ready",
            Self::NotReady => "not ready",
            Self::Terminating => "terminates, and others are ready",
            Self::OnAnotherNode => "on another node, and the traffic policy is Local",
            Self::HintedElsewhere => "hinted for other nodes or zones",
        }
    }
}

/// A service that makes an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The Service.
    pub service: ObjectName,
    /// Its port, as `http 80/TCP`.
    pub port: String,
    /// Which part of it.
    pub because: Because,
    /// The field of the object.
    pub field: &'static str,
    /// Whether it is this service's, and not only claimed by it.
    pub wins: bool,
}

/// An endpoint of the service that has a virtual server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Address and port.
    pub address: SocketAddr,
    /// Where it stands.
    pub slice: ObjectName,
    /// The node it runs on.
    pub node: Option<String>,
    /// The weight of the real server; none if it is not one.
    pub weight: Option<u32>,
    /// Why.
    pub because: Verdict,
}

/// Why an object exists; no reasons if it should not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What was asked about.
    #[serde(serialize_with = "as_text")]
    pub subject: Subject,
    /// The services that make it: it stays until none is left.
    pub reasons: Vec<Reason>,
    /// For a virtual server all endpoints of its service, for a real server the one that it is.
    pub endpoints: Vec<Candidate>,
}

fn as_text<S: serde::Serializer>(subject: &Subject, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(subject)
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.subject)?;
        if self.reasons.is_empty() {
            writeln!(f, "  nothing asks for it")?;
        }
        for reason in &self.reasons {
            let Reason {
                service,
                port,
                because,
                field,
                wins,
            } = reason;
            let verb = if *wins { "of" } else { "claimed by" };
            let rule = because.rule();
            writeln!(f, "  {verb} Service {service} port {port}, {field}: {rule}")?;
        }
        for candidate in &self.endpoints {
            let address = candidate.address;
            match candidate.weight {
                Some(weight) => write!(f, "  real server {address} weight {weight}")?,
                None => write!(f, "  not {address}")?,
            }
            write!(f, ", EndpointSlice {}", candidate.slice)?;
            if let Some(node) = &candidate.node {
                write!(f, " on {}", Escaped(node))?;
            }
            writeln!(f, ": {}", candidate.because.text())?;
        }
        Ok(())
    }
}
