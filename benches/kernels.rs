//! The kernels without Python: `cargo bench`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lamina_kernels::matmul::Activation;
use lamina_kernels::{conv, matmul, softmax};
use ndarray::{Array2, Array3, Array4};

fn products(c: &mut Criterion) {
    let mut group = c.benchmark_group("matmul");
    for n in [64, 256, 1024] {
        let (a, b) = (Array2::<f32>::ones((n, n)), Array2::<f32>::ones((n, n)));
        let mut out = Array2::zeros((n, n));
        group.throughput(Throughput::Elements(2 * (n * n * n) as u64));
        group.bench_function(format!("{n}"), |bench| {
            bench.iter(|| matmul::gemm(a.view(), b.view(), out.view_mut(), false));
        });
        let packed = matmul::Packed::new(b.view());
        group.bench_function(format!("{n} packed"), |bench| {
            bench.iter(|| matmul::gemm_packed(a.view(), &packed, out.view_mut(), false));
        });
    }
    group.finish();
}

fn images(c: &mut Criterion) {
    let x = Array4::<f32>::ones((8, 64, 56, 56));
    let weight = Array4::<f32>::ones((64, 64, 3, 3));
    let options =
        conv::Options { stride: [1; 2], padding: [[1; 2]; 2], dilation: [1; 2], groups: 1 };
    c.bench_function("conv2d 8x64x56x56 -> 64, 3x3", |bench| {
        bench.iter(|| conv::forward(x.view(), weight.view(), None, &options, Activation::Identity));
    });
}

fn rows(c: &mut Criterion) {
    let x = Array3::<f32>::from_shape_fn((4096, 768, 1), |(i, j, _)| ((i * j) % 17) as f32);
    c.bench_function("softmax 4096x768", |bench| bench.iter(|| softmax::forward(x.view())));
}

criterion_group!(benches, products, images, rows);
criterion_main!(benches);
