//! The innermost loop: a tile of the product that stays in registers.

use crate::simd::steps::{self, Steps};
use crate::simd::{Vector, addresses, line};

/// What one tile needs: `k` steps down the left panel and the right panel.
#[derive(Clone, Copy)]
pub(super) struct Panels<T> {
    pub(super) k: usize,
    pub(super) a: *const T,
    /// Distances in the left panel between rows and between steps.
    pub(super) a_row: isize,
    pub(super) a_step: isize,
    pub(super) b: *const T,
    /// Distance in the right panel between steps, where it is copied.
    pub(super) b_step: isize,
    /// Where a tile that copies the right panel puts it, step after step.
    pub(super) copy: *mut T,
    /// What will be needed of the left matrix, and how many numbers further on that is at each step;
    /// a tall tile looks ahead by itself where rows lie far apart.
    pub(super) ahead: *const T,
    pub(super) ahead_step: usize,
    /// Lines of the next right panel, and the distance between them.
    pub(super) next: *const T,
    pub(super) next_step: isize,
    pub(super) next_lines: usize,
}

/// Steps of a tall tile from one time that memory is asked for to the next. All at once would
/// hold up what the first steps ask the nearest cache for. As many numbers of a row lie in one line,
/// and there are no more rows than steps.
const CHUNK: usize = 16;

/// Numbers of a row from the one in use to those that the nearest cache is asked for.
const AHEAD_IN_ROW: usize = 4 * CHUNK;

/// Steps of a right panel from the one in use to the one that the nearest cache is asked for; twice
/// as many of a packed left panel, whose steps are half as long.
pub(super) const AHEAD: isize = 8;

/// Writes `M` rows of at most `N` vectors, `columns` numbers wide, at `c`; with `COPY` also puts the
/// right panel where its next readers find it in order. With `NEXT` the numbers of a step lie one
/// after the other in the left panel.
///
/// # Safety
/// The panels hold `k` steps of `M` numbers and of `N` full vectors; those of the right one follow
/// each other unless it is copied. Rows or steps of the left one do. `c` has `M` rows of `columns`
/// numbers, `c_row` apart.
#[inline(always)]
unsafe fn tile<V: Vector, const M: usize, const N: usize, const COPY: bool, const NEXT: bool>(
    p: Panels<V::Elem>,
    c: *mut V::Elem,
    c_row: usize,
    columns: usize,
    accumulate: bool,
) {
    let sums = if const { has_steps::<V>(M, N, COPY) } {
        in_steps::<V, M, N>(p, c, c_row)
    } else {
        in_chunks::<V, M, N, COPY, NEXT>(p, c, c_row)
    };
    if columns < N * V::LANES {
        for i in 0..M {
            for j in 0..N {
                let at = c.wrapping_add(i * c_row + j * V::LANES);
                let count = columns.saturating_sub(j * V::LANES).min(V::LANES);
                let before = if accumulate { V::load_first(at, count) } else { V::zero() };
                sums[i][j].add(before).store_first(at, count);
            }
        }
    } else if accumulate {
        for i in 0..M {
            for j in 0..N {
                let at = c.wrapping_add(i * c_row + j * V::LANES);
                sums[i][j].add(V::load(at)).store(at);
            }
        }
    } else {
        for i in 0..M {
            for j in 0..N {
                sums[i][j].store(c.wrapping_add(i * c_row + j * V::LANES));
            }
        }
    }
}

/// Whether the sums are those of [`Steps`].
const fn has_steps<V: Vector>(rows: usize, vectors: usize, copies: bool) -> bool {
    !copies && steps::suits::<V>(rows, vectors)
}

/// Whether there is a tile for numbers that lie one after the other. Lower tiles are whole products of
/// few rows, which are seldom packed.
const fn knows_next<V: Vector>(rows: usize, vectors: usize, copies: bool) -> bool {
    2 * rows >= most_rows::<V>(vectors) && !has_steps::<V>(rows, vectors, copies)
}

/// Sums of a tile for which there are [`Steps`].
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn in_steps<V: Vector, const M: usize, const N: usize>(
    p: Panels<V::Elem>,
    c: *mut V::Elem,
    c_row: usize,
) -> [[V; N]; M] {
    debug_assert!(p.a_row == 1 || p.a_step == 1);
    Later::new(&p, c, c_row).ask::<V, N>(M, p.next_lines);
    let mut ahead = p.ahead;
    let ask = || {
        for at in (0..steps::TOGETHER * M).step_by(line::<V::Elem>()) {
            V::prefetch(ahead.wrapping_add(at));
        }
        ahead = ahead.wrapping_add(steps::TOGETHER * p.ahead_step);
    };
    let (count, a, b, b_step) = (p.k, p.a, p.b, N * V::LANES);
    if p.a_step == 1 {
        Steps { count, a, apart: p.a_row, b, b_step }.sums::<V, M, N, true, true>(ask)
    } else {
        Steps { count, a, apart: p.a_step, b, b_step }.sums::<V, M, N, false, true>(ask)
    }
}

/// Sums of any tile, and the copy of the right panel.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn in_chunks<
    V: Vector,
    const M: usize,
    const N: usize,
    const COPY: bool,
    const NEXT: bool,
>(
    p: Panels<V::Elem>,
    c: *mut V::Elem,
    c_row: usize,
) -> [[V; N]; M] {
    let mut sums = [[V::zero(); N]; M];
    let b_step = if COPY { p.b_step } else { (N * V::LANES) as isize };
    let a_row = if NEXT { 1 } else { p.a_row };
    let (mut a, mut b, mut from, mut copy, mut ahead) = (p.a, p.b, p.b, p.copy, p.ahead);
    // With 16 registers the compiler would keep the sums of a loop in a loop in memory.
    let tall = M * N > 16;
    let chunk = if tall { CHUNK } else { p.k };
    // Nor would it keep many of them between stores: such a tile copies a chunk before it uses it.
    let copies_first = COPY && M * N > 20;
    let copies_along = COPY && !copies_first;
    // Of a product of fewer steps than a chunk no more than there is.
    let each = |lines: usize| (lines * chunk).div_ceil(p.k.max(chunk));
    let (c_lines, next_lines) = (each(M), each(p.next_lines));
    let mut later = Later::new(&p, c, c_row);
    let ahead_step = if tall && !NEXT { a_row } else { p.ahead_step as isize };
    let mut rest = p.k;
    while rest > 0 {
        later.ask::<V, N>(c_lines, next_lines);
        let steps = if tall { rest.min(chunk) } else { rest };
        rest -= steps;
        if copies_first {
            copy_rows::<V, N>(steps, from, b_step, copy);
            (b, copy) = (copy.cast_const(), copy.wrapping_add(steps * N * V::LANES));
            from = from.wrapping_offset(steps as isize * b_step);
        }
        if tall {
            in_registers(&mut sums);
        }
        if tall && !NEXT {
            ahead = a.wrapping_add(AHEAD_IN_ROW);
        }
        for _ in 0..steps {
            let mut right = [V::zero(); N];
            for j in 0..N {
                right[j] = V::load(b.add(j * V::LANES));
                if copies_along {
                    right[j].store(copy.add(j * V::LANES));
                }
                if tall && !copies_first {
                    V::prefetch(b.wrapping_offset(AHEAD * b_step).wrapping_add(j * V::LANES));
                }
            }
            // Between stores the compiler would not keep all sums in registers.
            let rows: [_; M] = match NEXT || copies_along {
                true => std::array::from_fn(|i| a.wrapping_offset(i as isize * a_row)),
                false => addresses(a, a_row),
            };
            for i in 0..M {
                let left = V::splat(*rows[i]);
                for j in 0..N {
                    sums[i][j] = left.mul_add(right[j], sums[i][j]);
                }
            }
            V::prefetch(ahead);
            ahead = ahead.wrapping_offset(ahead_step);
            a = a.wrapping_offset(p.a_step);
            b = b.wrapping_offset(if copies_first { (N * V::LANES) as isize } else { b_step });
            if copies_along {
                copy = copy.wrapping_add(N * V::LANES);
            }
        }
    }
    sums
}

/// Copies `count` rows of `N` vectors, `step` apart, one after the other.
///
/// # Safety
/// The rows are readable, and `to` has room for them.
#[inline(always)]
unsafe fn copy_rows<V: Vector, const N: usize>(
    count: usize,
    from: *const V::Elem,
    step: isize,
    to: *mut V::Elem,
) {
    for k in 0..count {
        let row = from.wrapping_offset(k as isize * step);
        for j in 0..N {
            V::prefetch(row.wrapping_offset(CHUNK as isize * step).wrapping_add(j * V::LANES));
            V::load(row.add(j * V::LANES)).store(to.add((k * N + j) * V::LANES));
        }
    }
}

/// Keeps the compiler from putting sums away between one loop and the next: it does so with all of them
/// where they are many.
#[inline(always)]
fn in_registers<V: Vector, const M: usize, const N: usize>(sums: &mut [[V; N]; M]) {
    for i in 0..M {
        for j in 0..N / 2 {
            (sums[i][2 * j], sums[i][2 * j + 1]) = sums[i][2 * j].together(sums[i][2 * j + 1]);
        }
    }
    if N % 2 == 1 {
        for i in 0..M / 2 {
            let both = sums[2 * i][N - 1].together(sums[2 * i + 1][N - 1]);
            (sums[2 * i][N - 1], sums[2 * i + 1][N - 1]) = both;
        }
    }
}

/// What the second cache is asked for while a tile is computed: where it goes, and lines of the next
/// right panel.
struct Later<T> {
    c: *const T,
    c_row: usize,
    next: *const T,
    next_step: isize,
}

impl<T> Later<T> {
    #[inline(always)]
    fn new(p: &Panels<T>, c: *mut T, c_row: usize) -> Self {
        Self { c, c_row, next: p.next, next_step: p.next_step }
    }

    /// Asks for so many rows of the target and lines of the panel, `N` vectors each.
    #[inline(always)]
    fn ask<V: Vector<Elem = T>, const N: usize>(&mut self, rows: usize, lines: usize) {
        for _ in 0..rows {
            for j in 0..N {
                V::prefetch_far(self.c.wrapping_add(j * V::LANES));
            }
            self.c = self.c.wrapping_add(self.c_row);
        }
        for _ in 0..lines {
            for j in 0..N {
                V::prefetch_far(self.next.wrapping_add(j * V::LANES));
            }
            // Rows need not begin where a cache line does.
            V::prefetch_far(self.next.wrapping_add(N * V::LANES - 1));
            self.next = self.next.wrapping_offset(self.next_step);
        }
    }
}

/// Most rows of a tile `n` vectors wide; those wider than the usual leave registers of 32 for a row of
/// the right panel and one number of the left.
const fn most_rows<V: Vector>(n: usize) -> usize {
    if n <= V::TILE_VECTORS { V::TILE_ROWS } else { (31 - n) / n }
}

/// [`tile`] for a height known at run time, at most [`most_rows`].
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
pub(super) unsafe fn tile_of<V: Vector, const N: usize, const COPY: bool>(
    rows: usize,
    p: Panels<V::Elem>,
    c: *mut V::Elem,
    c_row: usize,
    columns: usize,
    accumulate: bool,
) {
    macro_rules! heights {
        ($($m:literal)*) => {
            match rows {
                $($m if const { $m <= most_rows::<V>(N) } => {
                    if const { knows_next::<V>($m, N, COPY) } && p.a_row == 1 {
                        tile::<V, $m, N, COPY, true>(p, c, c_row, columns, accumulate);
                    } else {
                        tile::<V, $m, N, COPY, false>(p, c, c_row, columns, accumulate);
                    }
                })*
                _ => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    heights!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}
