//! What one change costs the model, by the number of services: `cargo bench --bench change`. The line is meant to be flat.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ipvs_model::input::{Change, Manifest};
use ipvs_model::{Config, Known, Model};

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
const ENDPOINTS: usize = 10;

fn change(json: &str) -> Change {
    let manifest: Manifest = serde_json::from_str(json).unwrap_or_default();
    manifest
        .into_changes()
        .ok()
        .and_then(|mut changes| changes.pop())
        .unwrap_or_else(|| unreachable!("{json}"))
}

fn service(number: usize) -> Change {
    let [.., a, b, c] = (number + 1).to_be_bytes();
    change(&format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s{number}"}},
             "spec": {{"clusterIP": "10.{}.{b}.{c}", "ports": [{{"port": 80}}]}}}}"#,
        96 + u32::from(a)
    ))
}

fn slice(number: usize, first_is_ready: bool) -> Change {
    let endpoints = (0..ENDPOINTS).map(|endpoint| {
        let [.., a, b, c] = (number * ENDPOINTS + endpoint + 1).to_be_bytes();
        let ready = endpoint > 0 || first_is_ready;
        format!(
            r#"{{"addresses": ["10.{}.{b}.{c}"], "conditions": {{"ready": {ready}}}}}"#,
            128 + u32::from(a)
        )
    });
    change(&format!(
        r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {{"name": "s{number}-a", "labels": {{"kubernetes.io/service-name": "s{number}"}}}},
             "ports": [{{"port": 8080}}], "endpoints": [{}]}}"#,
        endpoints.collect::<Vec<_>>().join(",")
    ))
}

fn one_endpoint(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one_endpoint");
    for services in SIZES {
        let mut model = Model::new(Config::default());
        let mut known = Known::default();
        for number in 0..services {
            model.change(service(number));
            model.change(slice(number, true));
        }
        let plan = model.plan_everything(&known);
        plan.operations
            .iter()
            .for_each(|operation| known.applied(operation));
        model.share(&plan, &mut known);
        let flips = [slice(services / 2, false), slice(services / 2, true)];
        let mut turn = 0;
        group.bench_function(BenchmarkId::from_parameter(services), |bencher| {
            bencher.iter_batched(
                || {
                    turn += 1;
                    flips[turn % 2].clone()
                },
                |flip| {
                    model.change(flip);
                    let plan = model.plan(black_box(&known));
                    plan.operations
                        .iter()
                        .for_each(|operation| known.applied(operation));
                    model.share(&plan, &mut known);
                    plan
                },
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, one_endpoint);
criterion_main!(benches);
