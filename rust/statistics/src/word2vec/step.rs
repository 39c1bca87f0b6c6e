//! One step of training: a few rows of the input table against a few of the output table.
//!
//! With rows `x_c`, targets `t_k`, labels `l_k` (one for the word that is there, zero for others) and
//! weights `w_k`, all at the values they have before the step:
//!
//! `g_ck = alpha w_k (l_k - sigmoid(x_c t_k))`, `x_c += sum_k g_ck t_k`, `t_k += sum_c g_ck x_c`.
//!
//! Beyond ±6 the sigmoid is taken for 0 or 1, as in word2vec's C program: a pair that is told apart
//! for certain is not driven further.
//!
//! Other threads may change the same rows meanwhile, without locks (Hogwild): a number may be read
//! before or after such a change and a change may be lost, which training bears as it bears the
//! noise of its samples. Rows never move and are never freed while threads run.
#![allow(unsafe_code)]

use lamina_kernels::simd::Vector;
use lamina_kernels::vectorized;

use super::PAD;
use super::tables::Huffman;
use super::window::{Item, Items, MAX_INPUTS};

/// Targets whose sums fit the registers together.
const TILE: usize = 6;
/// Products beyond which the sigmoid is 0 or 1.
const CERTAIN: f32 = 6.0;
/// Steps ahead of which rows are asked for.
const AHEAD: usize = 2;

/// A table whose rows several threads change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    start: *mut f32,
    stride: usize,
    len: usize,
}

// SAFETY: a pointer to numbers that outlive the threads; that these write to the same numbers is
// the accepted race of this module.
unsafe impl Send for Rows {}
// SAFETY: as above.
unsafe impl Sync for Rows {}

impl Rows {
    pub(super) fn new(table: &mut [f32], stride: usize) -> Self {
        Self { start: table.as_mut_ptr(), stride, len: table.len() / stride.max(1) }
    }

    #[inline(always)]
    fn row(&self, index: u32) -> *mut f32 {
        debug_assert!((index as usize) < self.len);
        // SAFETY: places of words, subwords and nodes are below the number of rows, which
        // `Trainer::train` has checked.
        unsafe { self.start.add(index as usize * self.stride) }
    }

    #[inline(always)]
    fn prefetch<V: Vector<Elem = f32>>(&self, index: u32) {
        let row = self.row(index);
        for at in (0..self.stride).step_by(PAD) {
            V::prefetch(row.wrapping_add(at));
        }
    }
}

/// What one thread trains with.
pub(super) struct Machine<'a> {
    pub(super) input: Rows,
    pub(super) hidden: Rows,
    pub(super) nodes: Rows,
    pub(super) tree: Option<&'a Huffman>,
    /// Whether the rows of an item make one input together.
    pub(super) joined: bool,
    /// Whether that is their mean rather than their sum.
    pub(super) mean: bool,
    pub(super) compute_loss: bool,
    pub(super) alpha: f32,
    pub(super) loss: f64,
    scratch: Scratch,
}

struct Scratch {
    xs: Vec<*mut f32>,
    ts: Vec<*mut f32>,
    /// Products, then gradients: a row of `pitch` for each input.
    grads: Vec<f32>,
    losses: Vec<f32>,
    x: Vec<f32>,
    work: Vec<f32>,
    total: Vec<f32>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(
        tables: [Rows; 3],
        tree: Option<&'a Huffman>,
        (joined, mean): (bool, bool),
        compute_loss: bool,
    ) -> Self {
        let [input, hidden, nodes] = tables;
        let row = || vec![0.0; input.stride];
        let scratch = Scratch {
            xs: vec![],
            ts: vec![],
            grads: vec![],
            losses: vec![],
            x: row(),
            work: row(),
            total: row(),
        };
        let (alpha, loss) = (0.0, 0.0);
        Self { input, hidden, nodes, tree, joined, mean, compute_loss, alpha, loss, scratch }
    }
}

/// How a step's targets are labelled.
#[derive(Clone, Copy)]
enum Labels<'a> {
    /// The first is there, the others are not; weights of all.
    First(&'a [f32]),
    /// Each by itself, all with the weight one.
    Each(&'a [f32]),
}

vectorized! {
    /// Takes the steps of `items` in their order.
    pub(super) fn run<S>(machine: &mut Machine<'_>, items: &Items) {
        for (index, item) in items.items.iter().enumerate() {
            if let Some(later) = items.items.get(index + AHEAD) {
                prefetch::<S::F32>(machine, items, later, item);
            }
            // SAFETY: rows as in `Rows::row`; buffers are as long as a row.
            unsafe {
                if machine.joined {
                    joined::<S::F32>(machine, items, item);
                } else {
                    apart::<S::F32>(machine, items, item);
                }
            }
        }
    }
}

#[inline(always)]
fn prefetch<V: Vector<Elem = f32>>(machine: &Machine<'_>, items: &Items, item: &Item, now: &Item) {
    for &row in &items.inputs[item.inputs.clone()] {
        machine.input.prefetch::<V>(row);
    }
    let known = items.groups[now.groups.clone()].first().map(|group| group.word);
    for group in &items.groups[item.groups.clone()] {
        for &row in &items.targets[group.targets.clone()] {
            if Some(row) != known {
                machine.hidden.prefetch::<V>(row);
            }
        }
        if let Some(tree) = machine.tree.filter(|_| Some(group.word) != known) {
            for &node in tree.path(group.word).0 {
                machine.nodes.prefetch::<V>(node);
            }
        }
    }
}

/// Steps of rows that are inputs of their own.
#[inline(always)]
unsafe fn apart<V: Vector<Elem = f32>>(machine: &mut Machine<'_>, items: &Items, item: &Item) {
    let mut xs = std::mem::take(&mut machine.scratch.xs);
    xs.clear();
    xs.extend(items.inputs[item.inputs.clone()].iter().map(|&row| machine.input.row(row)));
    for group in &items.groups[item.groups.clone()] {
        if let Some(tree) = machine.tree {
            let (nodes, labels) = tree.path(group.word);
            for x in &xs {
                let x = std::slice::from_ref(x);
                step::<V>(machine, machine.nodes, nodes, Labels::Each(labels), x, x);
            }
        }
        let targets = &items.targets[group.targets.clone()];
        let labels = Labels::First(&items.weights[group.targets.clone()]);
        step::<V>(machine, machine.hidden, targets, labels, &xs, &xs);
    }
    machine.scratch.xs = xs;
}

/// Steps of one input that is made of several rows, each of which then gets the change of it.
#[inline(always)]
unsafe fn joined<V: Vector<Elem = f32>>(machine: &mut Machine<'_>, items: &Items, item: &Item) {
    let rows = &items.inputs[item.inputs.clone()];
    let width = machine.input.stride;
    let x = machine.scratch.x.as_mut_ptr();
    let work = machine.scratch.work.as_mut_ptr();
    let total = machine.scratch.total.as_mut_ptr();
    let share = 1.0 / rows.len() as f32;
    let scale = V::splat(if machine.mean { share } else { 1.0 });
    for at in (0..width).step_by(V::LANES) {
        let mut sum = V::zero();
        for &row in rows {
            sum = sum.add(V::load(machine.input.row(row).add(at)));
        }
        sum.mul(scale).store(x.add(at));
        V::zero().store(total.add(at));
    }
    for group in &items.groups[item.groups.clone()] {
        if let Some(tree) = machine.tree {
            let (nodes, labels) = tree.path(group.word);
            clear::<V>(work, width);
            step::<V>(machine, machine.nodes, nodes, Labels::Each(labels), &[x], &[work]);
            add::<V>(work, &[x, total], width);
        }
        let targets = &items.targets[group.targets.clone()];
        if !targets.is_empty() {
            let labels = Labels::First(&items.weights[group.targets.clone()]);
            clear::<V>(work, width);
            step::<V>(machine, machine.hidden, targets, labels, &[x], &[work]);
            add::<V>(work, &[x, total], width);
        }
    }
    let scale = V::splat(if machine.mean { 1.0 } else { share });
    for at in (0..width).step_by(V::LANES) {
        let change = V::load(total.add(at)).mul(scale);
        for &row in rows {
            let row = machine.input.row(row).add(at);
            V::load(row).add(change).store(row);
        }
    }
}

#[inline(always)]
unsafe fn clear<V: Vector<Elem = f32>>(row: *mut f32, width: usize) {
    for at in (0..width).step_by(V::LANES) {
        V::zero().store(row.add(at));
    }
}

/// Adds a row to others.
#[inline(always)]
unsafe fn add<V: Vector<Elem = f32>>(row: *const f32, to: &[*mut f32; 2], width: usize) {
    for at in (0..width).step_by(V::LANES) {
        let change = V::load(row.add(at));
        for to in to {
            V::load(to.add(at)).add(change).store(to.add(at));
        }
    }
}

/// The step of this module's head; what is added to each `x` goes to its place in `into`.
#[inline(always)]
unsafe fn step<V: Vector<Elem = f32>>(
    machine: &mut Machine<'_>,
    table: Rows,
    targets: &[u32],
    labels: Labels<'_>,
    xs: &[*mut f32],
    into: &[*mut f32],
) {
    let (alpha, width) = (machine.alpha, table.stride);
    let Scratch { ts, grads, losses, .. } = &mut machine.scratch;
    ts.clear();
    ts.extend(targets.iter().map(|&target| table.row(target)));
    let pitch = targets.len().next_multiple_of(V::LANES);
    if grads.len() < xs.len() * pitch {
        grads.resize(xs.len() * pitch, 0.0);
        losses.resize(xs.len() * pitch, 0.0);
    }
    products::<V>(xs, ts, width, grads, pitch);
    for c in 0..xs.len() {
        let grads = &mut grads[c * pitch..][..pitch];
        if machine.compute_loss {
            machine.loss += loss::<V>(grads, targets.len(), labels, losses);
        }
        gradients::<V>(grads, targets.len(), labels, alpha);
    }
    if let ([x], [into]) = (xs, into) {
        change_one::<V>(*x, *into, ts, grads, width);
    } else {
        change::<V>(xs, into, ts, grads, pitch, width);
    }
}

/// Calls a function with the number of targets in a tile as a constant.
macro_rules! by_count {
    ($count:expr, $function:ident::<$($constant:tt),*>($($argument:expr),* $(,)?)) => {
        match $count {
            1 => $function::<$($constant,)* 1>($($argument),*),
            2 => $function::<$($constant,)* 2>($($argument),*),
            3 => $function::<$($constant,)* 3>($($argument),*),
            4 => $function::<$($constant,)* 4>($($argument),*),
            5 => $function::<$($constant,)* 5>($($argument),*),
            _ => $function::<$($constant,)* TILE>($($argument),*),
        }
    };
}

/// `x_c t_k` for all inputs and targets.
#[inline(always)]
unsafe fn products<V: Vector<Elem = f32>>(
    xs: &[*mut f32],
    ts: &[*mut f32],
    width: usize,
    out: &mut [f32],
    pitch: usize,
) {
    let mut c = 0;
    while c < xs.len() {
        let pair = xs.len() - c >= 2;
        for (tile, ts) in ts.chunks(TILE).enumerate() {
            let out = out[c * pitch + tile * TILE..].as_mut_ptr();
            if pair {
                by_count!(ts.len(), product_tile::<V, 2>(&xs[c..], ts, width, out, pitch));
            } else {
                by_count!(ts.len(), product_tile::<V, 1>(&xs[c..], ts, width, out, pitch));
            }
        }
        c += if pair { 2 } else { 1 };
    }
}

#[inline(always)]
unsafe fn product_tile<V: Vector<Elem = f32>, const C: usize, const K: usize>(
    xs: &[*mut f32],
    ts: &[*mut f32],
    width: usize,
    out: *mut f32,
    pitch: usize,
) {
    let xs: [*mut f32; C] = std::array::from_fn(|c| xs[c]);
    let ts: [*mut f32; K] = std::array::from_fn(|k| ts[k]);
    let mut sums = [[V::zero(); K]; C];
    let mut at = 0;
    while at < width {
        let mut x = [V::zero(); C];
        for c in 0..C {
            x[c] = V::load(xs[c].add(at));
        }
        for k in 0..K {
            let t = V::load(ts[k].add(at));
            for c in 0..C {
                sums[c][k] = x[c].mul_add(t, sums[c][k]);
            }
        }
        at += V::LANES;
    }
    for c in 0..C {
        for k in 0..K {
            *out.add(c * pitch + k) = sums[c][k].sum();
        }
    }
}

/// Labels and weights of the targets from `at` on.
#[inline(always)]
fn labelled<V: Vector<Elem = f32>>(labels: Labels<'_>, at: usize) -> (V, V) {
    const FIRST: [f32; PAD] = {
        let mut first = [0.0; PAD];
        first[0] = 1.0;
        first
    };
    match labels {
        Labels::First(weights) if at == 0 => (V::read(&FIRST), V::read(weights)),
        Labels::First(weights) => (V::zero(), V::read(&weights[at..])),
        Labels::Each(labels) => (V::read(&labels[at..]), V::splat(1.0)),
    }
}

/// Products become gradients.
#[inline(always)]
unsafe fn gradients<V: Vector<Elem = f32>>(
    products: &mut [f32],
    count: usize,
    labels: Labels<'_>,
    alpha: f32,
) {
    let (zero, one, certain) = (V::zero(), V::splat(1.0), V::splat(CERTAIN));
    for at in (0..count).step_by(V::LANES) {
        let (label, weight) = labelled::<V>(labels, at);
        let place = products[at..].as_mut_ptr();
        let product = V::load(place);
        let sigmoid = one.div(product.neg().exp().add(one));
        let sigmoid = V::select(certain.lt(product), one, sigmoid);
        let sigmoid = V::select(product.lt(certain.neg()), zero, sigmoid);
        weight.mul(V::splat(alpha)).mul(label.sub(sigmoid)).store(place);
    }
}

/// Sum of `-w ln sigmoid(x t)` of targets that are there and `-w ln sigmoid(-x t)` of others.
#[inline(always)]
unsafe fn loss<V: Vector<Elem = f32>>(
    products: &[f32],
    count: usize,
    labels: Labels<'_>,
    losses: &mut [f32],
) -> f64 {
    let one = V::splat(1.0);
    for at in (0..count).step_by(V::LANES) {
        let (label, weight) = labelled::<V>(labels, at);
        let product = V::load(products[at..].as_ptr());
        let sign = one.sub(label.add(label));
        let soft = product.abs().neg().exp().add(one).ln();
        let loss = product.mul(sign).max(V::zero()).add(soft);
        weight.mul(loss).store(losses[at..].as_mut_ptr());
    }
    losses[..count].iter().map(|&loss| f64::from(loss)).sum()
}

/// The changes of one input and the targets.
#[inline(always)]
unsafe fn change_one<V: Vector<Elem = f32>>(
    x: *mut f32,
    into: *mut f32,
    ts: &[*mut f32],
    grads: &[f32],
    width: usize,
) {
    let mut at = 0;
    while at < width {
        let from = V::load(x.add(at));
        let mut sum = V::zero();
        for (t, &grad) in ts.iter().zip(grads) {
            let (grad, t) = (V::splat(grad), t.add(at));
            let target = V::load(t);
            sum = grad.mul_add(target, sum);
            grad.mul_add(from, target).store(t);
        }
        V::load(into.add(at)).add(sum).store(into.add(at));
        at += V::LANES;
    }
}

/// The changes of several inputs, at most [`MAX_INPUTS`], and the targets.
#[inline(always)]
unsafe fn change<V: Vector<Elem = f32>>(
    xs: &[*mut f32],
    into: &[*mut f32],
    ts: &[*mut f32],
    grads: &[f32],
    pitch: usize,
    width: usize,
) {
    let mut sums = [V::zero(); MAX_INPUTS];
    let sums = &mut sums[..xs.len()];
    for at in (0..width).step_by(V::LANES) {
        sums.fill(V::zero());
        for (tile, ts) in ts.chunks(TILE).enumerate() {
            let grads = grads[tile * TILE..].as_ptr();
            by_count!(ts.len(), change_tile::<V>(xs, ts, at, grads, pitch, sums));
        }
        // The same row may be among the inputs twice, so they change one after the other.
        for (into, &sum) in into.iter().zip(sums.iter()) {
            V::load(into.add(at)).add(sum).store(into.add(at));
        }
    }
}

#[inline(always)]
unsafe fn change_tile<V: Vector<Elem = f32>, const K: usize>(
    xs: &[*mut f32],
    ts: &[*mut f32],
    at: usize,
    grads: *const f32,
    pitch: usize,
    sums: &mut [V],
) {
    let ts: [*mut f32; K] = std::array::from_fn(|k| ts[k]);
    let (mut t, mut change) = ([V::zero(); K], [V::zero(); K]);
    for k in 0..K {
        t[k] = V::load(ts[k].add(at));
    }
    for (c, (x, sum)) in xs.iter().zip(sums).enumerate() {
        let x = V::load(x.add(at));
        let grads = grads.add(c * pitch);
        for k in 0..K {
            let grad = V::splat(*grads.add(k));
            *sum = grad.mul_add(t[k], *sum);
            change[k] = grad.mul_add(x, change[k]);
        }
    }
    for k in 0..K {
        t[k].add(change[k]).store(ts[k].add(at));
    }
}
