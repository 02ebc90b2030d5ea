//! What writing a request and reading an answer cost, beside the other crates that can do it: `cargo bench --bench codec`.
//!
//! The peers are given the objects that they can express: TCP, IPv4, network address translation. Answers are without the
//! padding that one of them fails on. A message is read as a whole: netlink header, generic header, attributes.

use std::hint::black_box;
use std::num::NonZeroU32;

use criterion::{Criterion, criterion_group, criterion_main};
use ipvs_codec::wire::{
    CmdAttr, DestAttr, IpvsCmd, IpvsMessage, IpvsPayload, Nest, ServiceAttr, Stats64Attr, StatsAttr,
};
use ipvs_codec::{Destination, Family, Protocol, Request, Scheduler, Service, ServiceKey};
use ipvs_netfilter::ipset::{self, Entry, EntryProtocol, SetName};
use netlink_packet_core::Emitable as _;
use netlink_packet_ipvs::ctrl::nlas::AddressFamily;
use netlink_packet_ipvs::ctrl::nlas::{
    IpvsCtrlAttrs, destination as npi_destination, service as npi_service,
};
use netlink_packet_ipvs::ctrl::{IpvsCtrlCmd, IpvsServiceCtrl};
use nlrs::genetlink::GenericMessageBuilder as _;
use npi_core::NetlinkMessage;
use npi_generic::GenlMessage;

type NpiMessage = NetlinkMessage<GenlMessage<IpvsServiceCtrl>>;

const FAMILY: u16 = 0x1c;
/// Messages of one datagram, about as many as the kernel sends in one. One of the peers does not end by itself.
const MESSAGES: usize = 80;

fn key() -> ServiceKey {
    ServiceKey::endpoint(Protocol::TCP, [10, 96, 0, 10].into(), 80)
}

fn encode(criterion: &mut Criterion) {
    let key = key();
    let service = Service::new(key, Scheduler::RR);
    let destination = Destination::new(([10, 244, 1, 5], 8080).into());
    let mut out = Vec::with_capacity(64 * 1024);
    let mut group = criterion.benchmark_group("encode");
    // As for the peers, which message it is is known where it is written; the objects are not.
    group.bench_function("new_service/ours", |bencher| {
        bencher.iter(|| {
            out.clear();
            Request::NewService(black_box(&service)).emit(&mut out);
        });
    });
    group.bench_function("new_dest/ours", |bencher| {
        bencher.iter(|| {
            out.clear();
            Request::NewDest(black_box(&key), black_box(&destination)).emit(&mut out);
        });
    });
    let (npi_service, npi_destination) = npi_objects();
    let npi = |cmd, nlas| IpvsServiceCtrl {
        cmd,
        nlas,
        family_id: FAMILY,
    };
    group.bench_function("new_service/netlink-packet-ipvs", |bencher| {
        bencher.iter(|| {
            let nlas = vec![IpvsCtrlAttrs::Service(
                black_box(&npi_service).create_nlas(),
            )];
            npi(IpvsCtrlCmd::NewService, nlas).serialize(false)
        });
    });
    group.bench_function("new_dest/netlink-packet-ipvs", |bencher| {
        bencher.iter(|| {
            let nlas = vec![
                IpvsCtrlAttrs::Service(black_box(&npi_service).create_nlas()),
                IpvsCtrlAttrs::Destination(black_box(&npi_destination).create_nlas()),
            ];
            npi(IpvsCtrlCmd::NewDest, nlas).serialize(false)
        });
    });
    let nlrs_service = || nlrs::ipvs::IpvsService {
        service_address: ([10, 96, 0, 10], 80).into(),
        protocol: nlrs::ipvs::Protocol::TCP,
    };
    group.bench_function("new_service/nlrs", |bencher| {
        bencher.iter(|| {
            out.clear();
            let (builder, _) = nlrs::ipvs::service::NewServiceMessageBuilder::new(
                &mut out,
                FAMILY,
                1,
                black_box(nlrs_service()),
            );
            builder.build().is_ok()
        });
    });
    group.bench_function("new_dest/nlrs", |bencher| {
        bencher.iter(|| {
            out.clear();
            let input = (nlrs_service(), ([10, 244, 1, 5], 8080).into());
            let (builder, _) = nlrs::ipvs::destination::NewDestinationMessageBuilder::new(
                &mut out,
                FAMILY,
                1,
                black_box(input),
            );
            builder.build().is_ok()
        });
    });
    if let Some(name) = SetName::new("KUBE-CLUSTER-IP") {
        let entry = Entry::IpPort([10, 96, 0, 10].into(), EntryProtocol::TCP, 80);
        let add = ipset::Request::Add(name, entry);
        group.bench_function("add_member/ours", |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(&add).emit(&mut out);
            });
        });
    }
    group.finish();
}

fn npi_objects() -> (npi_service::Service, npi_destination::Destination) {
    let service = npi_service::Service {
        address: [10, 96, 0, 10].into(),
        netmask: npi_service::Netmask::new(32, AddressFamily::IPv4),
        scheduler: npi_service::Scheduler::RoundRobin,
        flags: npi_service::Flags(0),
        port: Some(80),
        fw_mark: None,
        persistence_timeout: None::<NonZeroU32>,
        family: AddressFamily::IPv4,
        protocol: npi_service::Protocol::TCP,
    };
    let destination = npi_destination::Destination {
        address: [10, 244, 1, 5].into(),
        fwd_method: npi_destination::ForwardTypeFull::Masquerade,
        weight: 1,
        upper_threshold: None,
        lower_threshold: None,
        port: 8080,
        family: AddressFamily::IPv4,
    };
    (service, destination)
}

fn stats() -> (Vec<StatsAttr>, Vec<Stats64Attr>) {
    use {Stats64Attr as Wide, StatsAttr as Narrow};
    let narrow = vec![
        Narrow::Conns(6),
        Narrow::InPkts(27),
        Narrow::OutPkts(26),
        Narrow::InBytes(1457),
        Narrow::OutBytes(1425),
        Narrow::Cps(1),
        Narrow::InPps(3),
        Narrow::OutPps(3),
        Narrow::InBps(182),
        Narrow::OutBps(178),
    ];
    let wide = vec![
        Wide::Conns(6),
        Wide::InPkts(27),
        Wide::OutPkts(26),
        Wide::InBytes(1457),
        Wide::OutBytes(1425),
        Wide::Cps(1),
        Wide::InPps(3),
        Wide::OutPps(3),
        Wide::InBps(182),
        Wide::OutBps(178),
    ];
    (narrow, wide)
}

/// A datagram of the kernel's answers, in its order of attributes.
fn datagram(cmd: IpvsCmd, attr: &CmdAttr) -> Vec<u8> {
    let message = IpvsMessage::new(cmd, IpvsPayload::Cmd(vec![attr.clone()]));
    let size = 20 + message.buffer_len();
    let mut one = vec![0; size];
    one[..4].copy_from_slice(&u32::try_from(size).unwrap_or_default().to_ne_bytes());
    one[4..6].copy_from_slice(&FAMILY.to_ne_bytes());
    one[6..8].copy_from_slice(&2_u16.to_ne_bytes());
    one[16..18].copy_from_slice(&[cmd.0, 1]);
    message.emit(&mut one[20..]);
    one.repeat(MESSAGES)
}

/// A nest as the kernel sends it.
fn unflagged<A>(attrs: Vec<A>) -> Nest<A> {
    Nest {
        flagged: false,
        ..attrs.into()
    }
}

fn services() -> Vec<u8> {
    let (narrow, wide) = stats();
    let mut attrs = Service::new(key(), Scheduler::RR).to_attrs();
    attrs.push(ServiceAttr::Stats(unflagged(narrow)));
    attrs.push(ServiceAttr::Stats64(unflagged(wide)));
    datagram(IpvsCmd::NEW_SERVICE, &CmdAttr::Service(unflagged(attrs)))
}

fn destinations() -> Vec<u8> {
    let (narrow, wide) = stats();
    let mut attrs = Destination::new(([10, 244, 1, 5], 8080).into()).to_attrs();
    attrs.extend([
        DestAttr::ActiveConns(1),
        DestAttr::InactConns(5),
        DestAttr::PersistConns(0),
        DestAttr::Stats(unflagged(narrow)),
        DestAttr::Stats64(unflagged(wide)),
    ]);
    datagram(IpvsCmd::NEW_DEST, &CmdAttr::Dest(unflagged(attrs)))
}

/// Splits a datagram by the lengths of its messages.
fn messages(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    datagram.chunks_exact(datagram.len() / MESSAGES)
}

fn decode(criterion: &mut Criterion) {
    let (services, destinations) = (services(), destinations());
    let mut group = criterion.benchmark_group(format!("decode_{MESSAGES}"));
    group.bench_function("services/ours borrowed", |bencher| {
        bencher.iter(|| {
            ipvs_codec::services(black_box(&services))
                .filter_map(Result::ok)
                .map(|observed| observed.stats.connections)
                .sum::<u64>()
        });
    });
    group.bench_function("destinations/ours borrowed", |bencher| {
        bencher.iter(|| {
            ipvs_codec::destinations(black_box(&destinations), Family::Ipv4)
                .filter_map(Result::ok)
                .map(|observed| observed.stats.connections)
                .sum::<u64>()
        });
    });
    for (name, datagram) in [("services", &services), ("destinations", &destinations)] {
        group.bench_function(format!("{name}/ours lossless"), |bencher| {
            bencher.iter(|| {
                messages(black_box(datagram))
                    .filter_map(|message| IpvsMessage::parse(&message[16..]).ok())
                    .count()
            });
        });
    }
    group.bench_function("services/netlink-packet-ipvs", |bencher| {
        bencher.iter(|| {
            messages(black_box(&services))
                .filter_map(npi_read_service)
                .count()
        });
    });
    group.bench_function("destinations/netlink-packet-ipvs", |bencher| {
        bencher.iter(|| {
            messages(black_box(&destinations))
                .filter_map(npi_read_destination)
                .count()
        });
    });
    group.bench_function("services/nlrs", |bencher| {
        bencher.iter(|| {
            let mut reader = black_box(&services[..]);
            nlrs::ipvs::service::read_get_service_response(&mut reader)
                .take(MESSAGES)
                .count()
        });
    });
    group.bench_function("destinations/nlrs", |bencher| {
        bencher.iter(|| {
            let mut reader = black_box(&destinations[..]);
            nlrs::ipvs::destination::read_get_destination_response(&mut reader)
                .take(MESSAGES)
                .count()
        });
    });
    group.finish();
}

fn npi_payload(message: &[u8]) -> Option<IpvsServiceCtrl> {
    let message = NpiMessage::deserialize(message).ok()?;
    match message.payload {
        npi_core::NetlinkPayload::InnerMessage(message) => Some(message.payload),
        _ => None,
    }
}

fn npi_read_service(message: &[u8]) -> Option<u64> {
    let payload = npi_payload(message)?;
    let IpvsCtrlAttrs::Service(nlas) = payload.nlas.first()? else {
        return None;
    };
    let read = npi_service::Service::from_nlas(nlas).ok()?;
    Some(read.stats64.connections)
}

fn npi_read_destination(message: &[u8]) -> Option<u64> {
    let payload = npi_payload(message)?;
    let IpvsCtrlAttrs::Destination(nlas) = payload.nlas.first()? else {
        return None;
    };
    let read = npi_destination::DestinationExtended::from_nlas(nlas).ok()?;
    Some(read.stats64.connections)
}

criterion_group!(benches, encode, decode);
criterion_main!(benches);
