//! What the hot path allocates: nothing, for a request written to a buffer that is large enough, and for a service or
//! destination read from a datagram.

use ipvs_codec::wire::{
    CmdAttr, DestAttr, IpvsCmd, IpvsMessage, IpvsPayload, ServiceAttr, Stats64Attr, StatsAttr,
};
use ipvs_codec::{
    Destination, Family, PeName, Protocol, Request, Scheduler, Service, ServiceKey, destinations,
    services,
};
use netlink_packet_core::Emitable as _;

fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}

fn key() -> ServiceKey {
    ServiceKey::endpoint(Protocol::TCP, "10.96.0.10".parse().unwrap(), 80)
}

#[test]
fn writing_to_a_reused_buffer_allocates_nothing() {
    let service = Service {
        pe: Some(PeName::SIP),
        ..Service::new(key(), Scheduler::WRR).persistent(60).unwrap()
    };
    let destination = Destination::new("10.1.0.1:8080".parse().unwrap());
    let requests = [
        Request::NewService(&service),
        Request::SetService(&service),
        Request::DelService(&service.key),
        Request::NewDest(&service.key, &destination),
        Request::SetDest(&service.key, &destination),
        Request::DelDest(&service.key, destination.addr),
        Request::DumpDests(&service.key),
        Request::Flush,
    ];
    let mut out = Vec::with_capacity(64 * 1024);
    let count = allocations(|| {
        for _ in 0..50 {
            out.clear();
            requests.iter().for_each(|request| request.emit(&mut out));
        }
    });
    assert_eq!((count, out.is_empty()), (0, false));
    // The counter counts.
    assert!(allocations(|| requests[0].emit(&mut Vec::new())) > 0);
}

fn datagram(cmd: IpvsCmd, attr: CmdAttr) -> Vec<u8> {
    let message = IpvsMessage::new(cmd, IpvsPayload::Cmd(vec![attr]));
    let mut one = vec![0; 20 + message.buffer_len()];
    let length = u32::try_from(one.len()).unwrap();
    one[..4].copy_from_slice(&length.to_ne_bytes());
    one[4..6].copy_from_slice(&0x1c_u16.to_ne_bytes());
    one[16] = cmd.0;
    message.emit(&mut one[20..]);
    one.repeat(10)
}

#[test]
fn reading_a_dump_allocates_nothing() {
    let narrow = || vec![StatsAttr::Conns(1), StatsAttr::InBytes(2)];
    let wide = || vec![Stats64Attr::Conns(1), Stats64Attr::OutBytes(2)];
    let mut attrs = Service::new(key(), Scheduler::RR).to_attrs();
    attrs.extend([
        ServiceAttr::Stats(narrow().into()),
        ServiceAttr::Stats64(wide().into()),
    ]);
    let of_services = datagram(IpvsCmd::NEW_SERVICE, CmdAttr::Service(attrs.into()));
    let mut attrs = Destination::new("10.1.0.1:8080".parse().unwrap()).to_attrs();
    attrs.extend([DestAttr::ActiveConns(3), DestAttr::Stats(narrow().into())]);
    let of_destinations = datagram(IpvsCmd::NEW_DEST, CmdAttr::Dest(attrs.into()));

    let mut read = (0, 0);
    let count = allocations(|| {
        read.0 = services(&of_services).map(Result::unwrap).count();
        let destinations = destinations(&of_destinations, Family::Ipv4).map(Result::unwrap);
        read.1 = destinations
            .filter(|observed| observed.active_connections == 3)
            .count();
    });
    assert_eq!((count, read), (0, (10, 10)));
}
