use std::fmt;
use std::net::IpAddr;

use ipvs_codec::{ForwardMethod, Scheduler, ServiceKey};
use serde::Serialize;

use crate::error::InputError;
use crate::input::ObjectName;

/// Why something that a Service asks for is not programmed. Everything else of the Service is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "problem", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Problem {
    /// A value of a field or an annotation is impossible; it counts as absent.
    Input {
        /// Which, what it says, and what would be possible.
        #[serde(serialize_with = "as_text")]
        error: InputError,
    },
    /// An older service has the virtual server, or one whose name comes first.
    Taken {
        /// What both claim.
        key: ServiceKey,
        /// The service that has it.
        by: ObjectName,
    },
    /// Somebody else has the virtual server, with other settings or real servers, and the node is told to keep it. It is left
    /// as it is, and its address is not bound for it. A node port is then served on none of the node's addresses: its entry
    /// would be about that one, too.
    Foreign {
        /// What is asked for.
        key: ServiceKey,
    },
    /// The node is told never to bind the address.
    NeverBound {
        /// The address.
        address: IpAddr,
        /// Whose it is, or what forbids it.
        because: Protected,
    },
    /// The kernel has no such scheduler; the node's is used.
    NoScheduler {
        /// The scheduler.
        scheduler: Scheduler,
    },
    /// This method leaves ports as they are, and the endpoints listen on others: packets are masqueraded.
    PortsDiffer {
        /// What would be forwarded.
        key: ServiceKey,
        /// How.
        method: ForwardMethod,
    },
}

/// Why an address is never bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protected {
    /// It is in a network of the deny list.
    DenyList,
    /// It is another node's.
    Node,
    /// It is a gateway of this node.
    Gateway,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input { error } => write!(f, "{error}; ignored"),
            Self::Taken { key, by } => write!(f, "{key} is {by}'s: the older service keeps it"),
            Self::Foreign { key } => write!(
                f,
                "{key} is somebody else's virtual server, which is kept as it is (foreign objects stay here); not programmed \
                 until it is gone: `ipvsadm -Ln` shows it"
            ),
            Self::NeverBound { address, because } => {
                let whose = match because {
                    Protected::DenyList => "is never bound here",
                    Protected::Node => "is another node's",
                    Protected::Gateway => "is a gateway of this node",
                };
                write!(f, "{address} {whose}; not programmed")
            }
            Self::NoScheduler { scheduler } => write!(
                f,
                "the kernel has no scheduler {scheduler} (`modprobe ip_vs_{scheduler}`); the node's is used"
            ),
            Self::PortsDiffer { key, method } => write!(
                f,
                "{key} cannot be forwarded by {method}, which keeps ports: endpoints listen on others; masqueraded"
            ),
        }
    }
}

fn as_text<S: serde::Serializer>(error: &InputError, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(error)
}
