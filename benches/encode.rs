//! What writing one request costs: `cargo bench --bench encode`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ipvs_codec::{Destination, Protocol, Request, Scheduler, Service, ServiceKey};
use ipvs_netfilter::ipset::{self, Entry, EntryProtocol, SetName};

fn requests(criterion: &mut Criterion) {
    let key = ServiceKey::endpoint(Protocol::TCP, [10, 96, 0, 10].into(), 80);
    let service = Service::new(key, Scheduler::RR);
    let destination = Destination::new(([10, 244, 1, 5], 8080).into());
    let mut out = Vec::with_capacity(64 * 1024);
    let mut group = criterion.benchmark_group("encode");
    let mut measure = |name: &str, request: Request<'_>| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(&request).emit(&mut out);
            });
        });
    };
    measure("new_service", Request::NewService(&service));
    measure("new_dest", Request::NewDest(&key, &destination));
    if let Some(name) = SetName::new("KUBE-CLUSTER-IP") {
        let add = ipset::Request::Add(
            name,
            Entry::IpPort([10, 96, 0, 10].into(), EntryProtocol::TCP, 80),
        );
        group.bench_function("add_member", |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(&add).emit(&mut out);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, requests);
criterion_main!(benches);
