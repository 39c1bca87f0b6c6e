//! The tile product, and copies of rows in the layouts it reads.
#![allow(unsafe_code)]

use std::ops::Range;

use super::RowMask;
use super::rows::{Matrix, Rows};
use crate::simd::steps::{self, Steps};
use crate::simd::{Isa, MAX_LANES, Vector, addresses, line};
use crate::{Element, vectorized};

/// The part of a causal product that need not be computed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Skip {
    /// All of it is needed.
    Nothing,
    /// Row i of the result is needed in columns below `i + .0`.
    Columns(isize),
    /// `a[i, p]` is zero for `p >= i + .0`.
    After(isize),
    /// `a[i, p]` is zero for `p < i - .0`.
    Before(isize),
}

/// A left-hand matrix whose rows, or columns where `transposed`, are `ld` apart.
#[derive(Clone, Copy)]
pub(super) struct Left<'a, T> {
    pub(super) data: &'a [T],
    pub(super) ld: usize,
    pub(super) transposed: bool,
}

impl<T> Left<'_, T> {
    /// Place of element `[i, p]`.
    #[inline(always)]
    fn at(&self, i: usize, p: usize) -> usize {
        if self.transposed { p * self.ld + i } else { i * self.ld + p }
    }
}

/// Columns of the left-hand matrix that a loop takes at once: its rows are found once for all.
const UNROLL: usize = 4;

vectorized! {
    /// Numbers that fill whole vectors and hold `n` of them.
    pub(super) fn padded<S, T: Element>(n: usize) -> usize {
        n.next_multiple_of(T::V::<S>::LANES)
    }
}

/// Distance of rows of `n` numbers: an odd number of cache lines, as columns of rows an even number
/// apart would share few of the places in the first cache.
pub(super) fn distance<T>(n: usize) -> usize {
    (n.div_ceil(line::<T>()) | 1) * line::<T>()
}

vectorized! {
    /// `c = a b`, or `c += a b` where `accumulate`, for `a` `[m, k]`, `b` `[k, n]` with rows `ldb`
    /// apart, `c` `[m, n]` with rows `ldc` apart; `size` is `[m, n, k]`, `n` fills whole vectors.
    pub(super) fn product<S, T: Element>(
        size: [usize; 3],
        a: Left<'_, T>,
        b: &[T],
        ldb: usize,
        c: &mut [T],
        ldc: usize,
        accumulate: bool,
        skip: Skip
    ) {
        let [m, n, k] = size;
        if m == 0 || n == 0 {
            return;
        }
        let lanes = T::V::<S>::LANES;
        assert!(n % lanes == 0 && c.len() >= (m - 1) * ldc + n);
        assert!(k == 0 || b.len() >= (k - 1) * ldb + n);
        assert!(k == 0 || a.data.len() > a.at(m - 1, k - 1));
        let most_vectors = if lanes == MAX_LANES { 4 } else { 2 };
        for (j, vectors) in Split::new(n / lanes, most_vectors) {
            for (i, rows) in Split::new(m, most_rows(lanes, vectors)) {
                let (mut vectors, mut first, mut last) = (vectors, 0, k);
                match skip {
                    Skip::Nothing => {}
                    Skip::Columns(d) => {
                        let needed = ((i + rows - 1) as isize + d).max(0) as usize;
                        vectors = vectors.min(needed.div_ceil(lanes).saturating_sub(j));
                    }
                    Skip::After(d) => {
                        last = k.min(((i + rows - 1) as isize + d).max(0) as usize);
                    }
                    Skip::Before(d) => first = k.min((i as isize - d).max(0) as usize),
                }
                if vectors == 0 {
                    continue;
                }
                // SAFETY: rows `i` to `i + rows` are below `m`, columns below `n`, the inner index
                // below `k`, and the slices were measured above.
                unsafe {
                    let step = Step {
                        k: last - first,
                        a: a.data.as_ptr().add(a.at(i, first)),
                        lda: a.ld,
                        b: b.as_ptr().add(first * ldb + j * lanes),
                        ldb,
                        c: c.as_mut_ptr().add(i * ldc + j * lanes),
                        ldc,
                        accumulate,
                    };
                    if a.transposed {
                        step.vectors::<S, true>(rows, vectors);
                    } else {
                        step.vectors::<S, false>(rows, vectors);
                    }
                }
            }
        }
    }
}

/// Most rows of a tile. Rows of a causal product whose rest is skipped are read as far as those of
/// their tile.
const MOST_ROWS: usize = 12;

/// Zeros for as many numbers of `rest`, which are behind those of a row that count, as a causal
/// product may read.
#[inline(always)]
pub(super) fn clear<V: Vector>(rest: &mut [V::Elem]) {
    for rest in rest.chunks_exact_mut(V::LANES).take(MOST_ROWS.div_ceil(V::LANES)) {
        V::zero().write(rest);
    }
}

/// Most rows of a tile whose sums leave registers, of 32 in AVX-512 and else 16, for one row of `b`.
const fn most_rows(lanes: usize, vectors: usize) -> usize {
    match vectors {
        _ if lanes < MAX_LANES => 6,
        4 => 6,
        3 => 8,
        _ => MOST_ROWS,
    }
}

/// `total` cut into as few parts of at most `most` as possible, nearly equal: their starts and
/// lengths.
struct Split {
    next: usize,
    end: usize,
    parts: usize,
}

impl Split {
    #[inline(always)]
    fn new(total: usize, most: usize) -> Self {
        Self { next: 0, end: total, parts: total.div_ceil(most) }
    }
}

impl Iterator for Split {
    type Item = (usize, usize);

    #[inline(always)]
    fn next(&mut self) -> Option<(usize, usize)> {
        if self.parts == 0 {
            return None;
        }
        let length = (self.end - self.next).div_ceil(self.parts);
        let start = self.next;
        self.next += length;
        self.parts -= 1;
        Some((start, length))
    }
}

/// One register tile of the product.
#[derive(Clone, Copy)]
struct Step<T> {
    k: usize,
    a: *const T,
    lda: usize,
    b: *const T,
    ldb: usize,
    c: *mut T,
    ldc: usize,
    accumulate: bool,
}

impl<T: Element> Step<T> {
    #[inline(always)]
    unsafe fn vectors<S: Isa, const TRANSPOSED: bool>(self, rows: usize, vectors: usize) {
        match vectors {
            1 => self.rows::<S, 1, TRANSPOSED>(rows),
            2 => self.rows::<S, 2, TRANSPOSED>(rows),
            3 if const { T::V::<S>::LANES == MAX_LANES } => self.rows::<S, 3, TRANSPOSED>(rows),
            4 if const { T::V::<S>::LANES == MAX_LANES } => self.rows::<S, 4, TRANSPOSED>(rows),
            _ => unreachable!("{vectors} vectors"),
        }
    }

    #[inline(always)]
    unsafe fn rows<S: Isa, const N: usize, const TRANSPOSED: bool>(self, rows: usize) {
        macro_rules! heights {
            ($($m:literal)*) => {
                match rows {
                    $($m if const { $m <= most_rows(T::V::<S>::LANES, N) } => {
                        self.run::<S, $m, N, TRANSPOSED>()
                    })*
                    _ => unreachable!("{rows} rows"),
                }
            };
        }
        heights!(1 2 3 4 5 6 7 8 9 10 11 12);
    }

    #[inline(always)]
    unsafe fn run<S: Isa, const M: usize, const N: usize, const TRANSPOSED: bool>(self) {
        let lanes = T::V::<S>::LANES;
        let sum = if const { steps::suits::<T::V<S>>(M, N) } {
            let Self { k: count, a, lda, b, ldb: b_step, .. } = self;
            let steps = Steps { count, a, apart: lda as isize, b, b_step };
            if TRANSPOSED {
                steps.sums::<T::V<S>, M, N, false, false>(|| ())
            } else {
                steps.sums::<T::V<S>, M, N, true, false>(|| ())
            }
        } else {
            self.sums::<S, M, N, TRANSPOSED>()
        };
        for i in 0..M {
            for j in 0..N {
                let c = self.c.add(i * self.ldc + j * lanes);
                let sum = sum[i][j];
                if self.accumulate { T::V::<S>::load(c).add(sum).store(c) } else { sum.store(c) }
            }
        }
    }

    /// Sums of a tile for which there are no [`Steps`].
    ///
    /// # Safety
    /// As for [`Self::run`].
    #[inline(always)]
    unsafe fn sums<S: Isa, const M: usize, const N: usize, const TRANSPOSED: bool>(
        self,
    ) -> [[T::V<S>; N]; M] {
        let (row, step) = if TRANSPOSED { (1, self.lda) } else { (self.lda, 1) };
        let mut sum = [[T::V::<S>::zero(); N]; M];
        let (mut a, mut b) = (self.a, self.b);
        for _ in 0..self.k / UNROLL {
            for p in 0..UNROLL {
                Self::add::<S, M, N, TRANSPOSED>(
                    a.add(p * step),
                    row,
                    b.add(p * self.ldb),
                    &mut sum,
                );
            }
            (a, b) = (a.add(UNROLL * step), b.add(UNROLL * self.ldb));
        }
        for _ in 0..self.k % UNROLL {
            Self::add::<S, M, N, TRANSPOSED>(a, row, b, &mut sum);
            (a, b) = (a.add(step), b.add(self.ldb));
        }
        sum
    }

    /// Adds the product of a column of the left-hand matrix and a row of the right-hand one.
    #[inline(always)]
    unsafe fn add<S: Isa, const M: usize, const N: usize, const TRANSPOSED: bool>(
        a: *const T,
        row: usize,
        b: *const T,
        sum: &mut [[T::V<S>; N]; M],
    ) {
        let mut right = [T::V::<S>::zero(); N];
        for j in 0..N {
            right[j] = T::V::<S>::load(b.add(j * T::V::<S>::LANES));
        }
        let rows: [_; M] = match TRANSPOSED {
            true => std::array::from_fn(|i| a.wrapping_add(i)),
            false => addresses(a, row as isize),
        };
        for i in 0..M {
            let left = T::V::<S>::splat(*rows[i]);
            for j in 0..N {
                sum[i][j] = left.mul_add(right[j], sum[i][j]);
            }
        }
    }
}

/// Numbers that [`matrix`] needs for a copy of `tokens` rows.
pub(super) fn copied_len<T: Element>(from: Rows<'_, T>, tokens: usize) -> usize {
    if from.serve_in_place(tokens) { 0 } else { tokens * distance::<T>(from.width()) }
}

/// Rows `tokens` of one head where they are, or a copy in `to` where that has room for one.
pub(super) fn matrix<'a, T: Element>(
    from: Rows<'a, T>,
    b: usize,
    h: usize,
    tokens: Range<usize>,
    to: &'a mut [T],
) -> Matrix<'a, T> {
    if to.is_empty() {
        return from.in_place(b, h, tokens);
    }
    let ld = distance::<T>(from.width());
    copy(from, b, h, tokens, to, ld);
    Matrix { data: to, ld }
}

vectorized! {
    /// Rows `tokens` of one head, `ld` apart, zero behind their end.
    pub(super) fn copy<S, T: Element>(
        from: Rows<'_, T>,
        b: usize,
        h: usize,
        tokens: Range<usize>,
        to: &mut [T],
        ld: usize
    ) {
        if ld == 0 {
            return;
        }
        let lanes = T::V::<S>::LANES;
        for (t, to) in tokens.zip(to.chunks_exact_mut(ld)) {
            let row = from.row(b, h, t);
            from.ask_behind(row);
            for (from, to) in row.chunks(lanes).zip(to.chunks_exact_mut(lanes)) {
                T::V::<S>::read(from).write(to);
            }
        }
    }
}

vectorized! {
    /// The transpose of rows `tokens` of one head times `scale`: rows `ld` apart, zero behind their end.
    pub(super) fn transpose<S, T: Element>(
        from: Rows<'_, T>,
        b: usize,
        h: usize,
        tokens: Range<usize>,
        scale: T,
        to: &mut [T],
        ld: usize
    ) {
        if tokens.is_empty() {
            return;
        }
        let lanes = T::V::<S>::LANES;
        let count = tokens.len();
        let width = from.row(b, h, tokens.start).len();
        let to = &mut to[..width * ld];
        assert!(count.next_multiple_of(lanes) <= ld);
        let (whole, blocks) = (count / lanes * lanes, width / lanes * lanes);
        for first in (0..whole).step_by(lanes) {
            for i in 0..lanes {
                from.ask_behind(from.row(b, h, tokens.start + first + i));
            }
            for column in (0..blocks).step_by(lanes) {
                let mut block = [T::V::<S>::zero(); MAX_LANES];
                for (i, vector) in block[..lanes].iter_mut().enumerate() {
                    let row = from.row(b, h, tokens.start + first + i);
                    *vector = T::V::<S>::read(&row[column..]).mul(T::V::<S>::splat(scale));
                }
                T::V::<S>::transpose(&mut block);
                for (i, vector) in block[..lanes].iter().enumerate() {
                    vector.write(&mut to[(column + i) * ld + first..][..lanes]);
                }
            }
        }
        for (j, t) in tokens.enumerate() {
            let done = if j < whole { blocks } else { 0 };
            for (i, x) in from.row(b, h, t).iter().enumerate().skip(done) {
                to[i * ld + j] = *x * scale;
            }
        }
        let end = count.next_multiple_of(lanes);
        for i in 0..width {
            to[i * ld + count..i * ld + end].fill(T::zero());
        }
    }
}

vectorized! {
    /// Adds the mask times `unit` of keys `first` to `first + keys` to the scores of queries from `t` on.
    pub(super) fn add_mask<S, T: Element>(
        mask: &RowMask<'_, T>,
        unit: T,
        b: usize,
        h: usize,
        t: usize,
        first: usize,
        keys: usize,
        scores: &mut [T],
        ld: usize
    ) {
        let (lanes, unit) = (T::V::<S>::LANES, T::V::<S>::splat(unit));
        for (i, scores) in scores.chunks_mut(ld).enumerate() {
            match mask {
                RowMask::None => {}
                RowMask::Keep(keep) => {
                    let keep = &keep.row(b, h, t + i)[first..first + keys];
                    for (score, keep) in scores.iter_mut().zip(keep) {
                        *score = if *keep != 0 { *score } else { T::neg_infinity() };
                    }
                }
                RowMask::Add(add) => {
                    let add = &add.row(b, h, t + i)[first..first + keys];
                    for (score, add) in scores.chunks_exact_mut(lanes).zip(add.chunks(lanes)) {
                        let add = T::V::<S>::read(add).mul_add(unit, T::V::<S>::read(score));
                        add.write(score);
                    }
                }
            }
        }
    }
}

/// The numbers of a row that count: `x` where its column, `base` on, is below `length`, else
/// `-inf`.
#[inline(always)]
pub(super) fn visible<S: Isa, T: Element>(x: T::V<S>, base: usize, length: usize) -> T::V<S> {
    if base + T::V::<S>::LANES <= length {
        return x;
    }
    let mut columns = [T::zero(); MAX_LANES];
    for (column, x) in columns.iter_mut().enumerate() {
        *x = T::of(column as f64);
    }
    let below = T::V::<S>::read(&columns).lt(T::V::<S>::of(length as f64 - base as f64));
    T::V::<S>::select(below, x, T::V::<S>::splat(T::neg_infinity()))
}

/// `2^x` for `x` that is not far above zero, exactly 0 below -125; NaN for NaN.
#[inline(always)]
pub(super) fn exp2<V: Vector>(x: V) -> V {
    if size_of::<V::Elem>() != size_of::<f32>() {
        return x.mul(V::of(std::f64::consts::LN_2)).exp();
    }
    let low = V::of(-125.0);
    // `max` returns its second operand for a NaN, which so survives.
    let clamped = low.max(x);
    let n = clamped.round();
    let r = clamped.sub(n);
    // Fitted to `2^r - 1` on [-1/2, 1/2] with nearly equal relative errors, 2e-9 at most.
    let mut y = V::of(1.535_336_38e-4);
    for c in
        [1.339_887_45e-3, 9.618_437_35e-3, 5.550_332_47e-2, 2.402_264_79e-1, 6.931_472_03e-1, 1.0]
    {
        y = y.mul_add(r, V::of(c));
    }
    y.scale_by_power(n).zero_where(x.lt(low))
}
