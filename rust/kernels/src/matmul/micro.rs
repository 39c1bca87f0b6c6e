//! The innermost loop: a tile of the product that stays in registers.

use crate::simd::{Vector, addresses};

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
/// each other unless it is copied. `c` has `M` rows of `columns` numbers, `c_row` apart.
#[inline(always)]
unsafe fn tile<V: Vector, const M: usize, const N: usize, const COPY: bool, const NEXT: bool>(
    p: Panels<V::Elem>,
    c: *mut V::Elem,
    c_row: usize,
    columns: usize,
    accumulate: bool,
) {
    let mut sums = [[V::zero(); N]; M];
    let b_step = if COPY { p.b_step } else { (N * V::LANES) as isize };
    let a_row = if NEXT { 1 } else { p.a_row };
    let (mut a, mut b, mut copy, mut ahead, mut next) = (p.a, p.b, p.copy, p.ahead, p.next);
    // With 16 registers the compiler would keep the sums of a loop in a loop in memory.
    let tall = M * N > 16;
    let chunk = if tall { CHUNK } else { p.k };
    // Of a product of fewer steps than a chunk no more than there is.
    let each = |lines: usize| (lines * chunk).div_ceil(p.k.max(chunk));
    let (c_lines, next_lines) = (each(M), each(p.next_lines));
    let ahead_step = if tall && !NEXT { a_row } else { p.ahead_step as isize };
    let (mut rest, mut c_line) = (p.k, c);
    while rest > 0 {
        for _ in 0..c_lines {
            for j in 0..N {
                V::prefetch_far(c_line.wrapping_add(j * V::LANES));
            }
            c_line = c_line.wrapping_add(c_row);
        }
        for _ in 0..next_lines {
            for j in 0..N {
                V::prefetch_far(next.wrapping_add(j * V::LANES));
            }
            // Rows need not begin where a cache line does.
            V::prefetch_far(next.wrapping_add(N * V::LANES - 1));
            next = next.wrapping_offset(p.next_step);
        }
        if tall && !NEXT {
            ahead = a.wrapping_add(AHEAD_IN_ROW);
        }
        let steps = if tall { rest.min(chunk) } else { rest };
        rest -= steps;
        for _ in 0..steps {
            let mut right = [V::zero(); N];
            for j in 0..N {
                right[j] = V::load(b.add(j * V::LANES));
                if COPY {
                    right[j].store(copy.add(j * V::LANES));
                }
                if tall {
                    V::prefetch(b.wrapping_offset(AHEAD * b_step).wrapping_add(j * V::LANES));
                }
            }
            // Between stores the compiler would not keep all sums in registers.
            let rows: [_; M] = match NEXT || COPY {
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
            b = b.wrapping_offset(b_step);
            copy = copy.wrapping_add(N * V::LANES);
        }
    }
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
                $($m if $m <= most_rows::<V>(N) => {
                    // Lower tiles are whole products of few rows, which are seldom packed.
                    if 2 * $m >= most_rows::<V>(N) && p.a_row == 1 {
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
