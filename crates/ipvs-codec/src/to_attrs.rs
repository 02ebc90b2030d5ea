//! Services and destinations as attributes: those that their requests carry, read back from what is written.

use crate::encode;
use crate::request::Request;
use crate::types::{Destination, Service};
use crate::wire::{DestAttr, ServiceAttr, parse_whole};

impl Service {
    /// The attributes of a request that makes or changes the service.
    #[must_use]
    pub fn to_attrs(&self) -> Vec<ServiceAttr> {
        let mut bytes = Vec::new();
        Request::NewService(self).emit(&mut bytes);
        // Behind the message's header and that of its nest.
        parse_whole(bytes.get(8..).unwrap_or_default()).0
    }
}

impl Destination {
    /// The attributes of a request that makes or changes the destination.
    #[must_use]
    pub fn to_attrs(&self) -> Vec<DestAttr> {
        let mut nest = Vec::new();
        encode::destination_nest(self, &mut nest);
        // Behind its head.
        parse_whole(nest.get(4..).unwrap_or_default()).0
    }
}
