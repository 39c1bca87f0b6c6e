//! The statistical models without Python: `cargo bench`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lamina_statistics::ngram;

fn counts(c: &mut Criterion) {
    let ids: Vec<u32> = (0..1_000_000u64).map(|i| ((i * i) % 20_011) as u32).collect();
    let mut group = c.benchmark_group("ngram");
    group.throughput(Throughput::Elements(ids.len() as u64));
    group.bench_function("count 3-grams of 1 M ids", |bench| {
        bench.iter(|| ngram::count(&ids, 3, &|| false));
    });
    group.finish();
}

criterion_group!(benches, counts);
criterion_main!(benches);
