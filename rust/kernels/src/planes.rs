//! Windows that move over a plane, and rows of the plane as such windows want them.
//!
//! At output `j` and tap `k` a window sees column `s j + d k` of the padded plane. Rows are copied
//! with their padding, columns apart by their remainder of `s`, so each tap reads one stretch of
//! consecutive numbers and the edges need no test.
#![allow(unsafe_code)]

use std::ops::Range;

use crate::layout::spaced_of;
use crate::memory::Scratch;
use crate::simd::{MAX_LANES, Vector};
use crate::threads::{self, Shared};
use crate::{Element, vectorized};

/// Numbers of a band of a plane, whose rows with padding stay in the first cache.
pub(crate) const BAND: usize = 1 << 12;

/// How much longer than the plane a window may be before copies of its rows are mostly padding.
const FAR: usize = 64;

/// How windows move over a plane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moves {
    pub image: [usize; 2],
    pub out: [usize; 2],
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Padding before the plane; less than zero where its first numbers are left out.
    pub pad: [isize; 2],
}

impl Moves {
    /// Steps from the first tap to the last.
    pub fn reach(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilation[axis]
    }

    /// Whether padding, steps and taps are not out of all proportion to the plane, so that padded
    /// copies of its rows are.
    pub fn are_ordinary(&self) -> bool {
        (0..2).all(|axis| {
            let near = self.image[axis] + FAR;
            self.reach(axis) <= near
                && self.pad[axis].unsigned_abs() <= near
                && self.stride[axis] <= 8
        })
    }

    /// Whether outputs of a row see one row further than those before.
    pub fn row_by_row(&self) -> bool {
        self.stride[0] == 1 && self.dilation[0] == 1
    }

    /// Whether outputs that lie side by side see what lies side by side, tap for tap.
    pub fn is_dense(&self) -> bool {
        self.stride == [1, 1] && self.dilation == [1, 1]
    }

    /// Columns of one remainder, with room for whole vectors from any tap on.
    pub fn phase_len(&self) -> usize {
        let len = self.out[1].next_multiple_of(MAX_LANES) + self.reach(1) / self.stride[1];
        // Several begin at a cache line each.
        if self.stride[1] > 1 { len.next_multiple_of(MAX_LANES) } else { len }
    }

    /// Numbers of a copied row.
    pub fn row_len(&self) -> usize {
        self.stride[1] * self.phase_len()
    }

    /// Where in a copied row tap `kx` reads for the first output.
    #[inline(always)]
    pub fn tap(&self, kx: usize) -> usize {
        let (at, stride) = (kx * self.dilation[1], self.stride[1]);
        at % stride * self.phase_len() + at / stride
    }

    /// Where each tap reads for the first output, from the first row that it sees on.
    pub fn taps(&self) -> Vec<usize> {
        let row = |ky: usize| ky * self.dilation[0] * self.row_len();
        let all = |ky: usize| (0..self.kernel[1]).map(move |kx| row(ky) + self.tap(kx));
        (0..self.kernel[0]).flat_map(all).collect()
    }

    /// First tap with which output `index` sees the plane rather than the padding before it.
    #[inline(always)]
    pub fn first_tap(&self, axis: usize, index: usize) -> usize {
        let before = self.pad[axis] - (index * self.stride[axis]) as isize;
        (before.max(0) as usize).div_ceil(self.dilation[axis])
    }

    /// Rows of the plane from the first to the last that outputs of row `out` see.
    pub fn seen_rows(&self, out: usize) -> Range<usize> {
        let first = (out * self.stride[0]) as isize - self.pad[0];
        let start = first + (self.first_tap(0, out) * self.dilation[0]) as isize;
        let end = (first + self.reach(0) as isize + 1).min(self.image[0] as isize);
        start as usize..end as usize
    }

    /// Rows of the padded plane that the outputs in rows `out` see.
    pub fn rows(&self, out: &Range<usize>) -> Range<usize> {
        let last = (out.end - 1) * self.stride[0] + self.reach(0);
        out.start * self.stride[0]..last + 1
    }
}

/// Work on planes cut into bands of rows, which follow from the shape alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bands {
    planes: usize,
    /// Bands of each plane.
    pub count: usize,
    /// Simple operations of a band.
    cost: usize,
}

impl Bands {
    /// For `planes` of `moves` with `work` simple operations for each beside the copying.
    pub fn new(moves: &Moves, planes: usize, work: usize) -> Self {
        let rows = moves.image[0].max(moves.out[0]);
        let fewest = moves.image[0].min(moves.out[0]);
        let count = (rows * moves.row_len()).div_ceil(BAND).clamp(1, fewest);
        Self { planes, count, cost: work / count + 100 }
    }

    /// The plane that the band `index` of all belongs to, and which of its bands it is.
    pub fn place(&self, index: usize) -> (usize, usize) {
        (index / self.count, index % self.count)
    }

    /// Which of the `rows` of a plane the band `index` has.
    pub fn rows(&self, rows: usize, index: usize) -> Range<usize> {
        threads::part_of(rows, self.count, index)
    }

    /// Most of the `rows` of a plane that any band has.
    pub fn most(&self, rows: usize) -> usize {
        rows.div_ceil(self.count)
    }

    /// Numbers of the copied rows that any band sees.
    pub fn seen_len(&self, moves: &Moves) -> usize {
        moves.rows(&(0..self.most(moves.out[0]))).len() * moves.row_len()
    }

    /// Runs `run` for pieces of all bands, numbered plane by plane.
    pub fn for_each(&self, run: impl Fn(Range<usize>) + Sync) {
        let bands = self.planes * self.count;
        let piece = threads::piece_len(bands, self.cost);
        threads::for_each(bands.div_ceil(piece), bands * self.cost, |task| {
            run(task * piece..((task + 1) * piece).min(bands));
        });
    }
}

/// How the gradient of what windows saw is gathered for rows of the plane: each stretch of columns
/// of one remainder is a sum over stretches of rows of `dy`.
#[derive(Debug)]
pub(crate) struct Gather {
    /// How rows of `dy` are copied: behind as many zeros as taps reach back.
    pub moves: Moves,
    /// Those rows, some of them past the last.
    pub rows: Range<usize>,
    /// Numbers of a row of the plane with its columns apart by their remainder.
    pub apart_len: usize,
    /// Where a sum is written, and its terms.
    sums: Vec<(Range<usize>, Range<usize>)>,
    /// A tap of the window, and where its stretch begins in the copied rows.
    terms: Vec<(usize, usize)>,
}

impl Gather {
    /// For `rows` of a plane of which windows saw what `moves` says.
    pub fn new(moves: &Moves, rows: Range<usize>) -> Self {
        let ([_, width], [down, across]) = (moves.image, moves.stride);
        let pad = moves.pad.map(|pad| pad.max(0).unsigned_abs());
        let back = moves.reach(1) / across;
        let first = (rows.start + pad[0]).saturating_sub(moves.reach(0)) / down;
        let len = width.div_ceil(across).next_multiple_of(MAX_LANES);
        let copied = Moves {
            image: moves.out,
            // Whole vectors are read from any column on.
            out: [moves.out[0], (pad[1] + width).div_ceil(across) + MAX_LANES],
            kernel: [1, back + 1],
            stride: [1, 1],
            dilation: [1, 1],
            pad: [0, back as isize],
        };
        let mut gather = Self {
            moves: copied,
            rows: first..(rows.end - 1 + pad[0]) / down + 1,
            apart_len: across * len,
            sums: Vec::new(),
            terms: Vec::new(),
        };
        for (i, row) in rows.enumerate() {
            for q in 0..across.min(width) {
                let start = gather.terms.len();
                gather.add_terms(moves, row + pad[0], pad[1] + q, first);
                let to = i * gather.apart_len + q * len;
                let to = to..to + (width - q).div_ceil(across);
                gather.sums.push((to, start..gather.terms.len()));
            }
        }
        gather
    }

    /// Terms of the sum that begins at place `y`, `x` of the padded plane.
    fn add_terms(&mut self, moves: &Moves, y: usize, x: usize, first: usize) {
        let ([down, across], back) = (moves.stride, self.moves.kernel[1] - 1);
        for ky in 0..moves.kernel[0] {
            let Some(from) = y.checked_sub(ky * moves.dilation[0]) else { break };
            if !from.is_multiple_of(down) || from / down >= moves.out[0] {
                continue;
            }
            let line = (from / down - first) * self.moves.row_len() + x / across + back;
            for kx in 0..moves.kernel[1] {
                let shift = kx * moves.dilation[1];
                if shift % across == x % across {
                    self.terms.push((ky * moves.kernel[1] + kx, line - shift / across));
                }
            }
        }
    }

    /// Writes `dx`, `planes` of what `moves` says: for each band, `sum` writes its sums `apart` with
    /// two scratches for copied rows that are zero around them.
    pub fn each_band<T: Element>(
        moves: &Moves,
        planes: usize,
        work: usize,
        dx: &mut [T],
        sum: impl Fn(&Self, usize, [&mut [T]; 2], &mut [T]) + Sync,
    ) {
        let bands = Bands::new(moves, planes, work);
        let rows = |band: usize| bands.rows(moves.image[0], band);
        let gathers: Vec<_> = (0..bands.count).map(|band| Self::new(moves, rows(band))).collect();
        let seen_len = gathers.iter().map(Self::seen_len).max().unwrap_or(0);
        let out = Shared::new(dx);
        bands.for_each(|piece| {
            let mut scratch = [Scratch::zeros(seen_len), Scratch::zeros(seen_len)];
            let mut apart = Scratch::new(bands.most(moves.image[0]) * gathers[0].apart_len);
            for index in piece {
                let (plane, band) = bands.place(index);
                sum(
                    &gathers[band],
                    plane,
                    scratch.each_mut().map(|scratch| &mut **scratch),
                    &mut apart,
                );
                // SAFETY: bands differ.
                let dx = unsafe { out.slice(part(plane, moves.image, &rows(band))) };
                join_rows(&apart, gathers[band].apart_len, moves.image[1], moves.stride[1], dx);
            }
        });
    }

    /// Panics where a stretch of `len` numbers leaves the `seen` copied ones.
    #[inline(always)]
    pub fn check(&self, terms: &[(usize, usize)], len: usize, seen: usize) {
        assert!(terms.iter().all(|term| term.1 + len <= seen), "rows that were copied");
    }

    /// Numbers of the copied rows.
    pub fn seen_len(&self) -> usize {
        self.rows.len() * self.moves.row_len()
    }

    /// Where each sum is written, and its terms.
    pub fn sums(&self) -> impl Iterator<Item = (Range<usize>, &[(usize, usize)])> {
        self.sums.iter().map(|(to, terms)| (to.clone(), &self.terms[terms.clone()]))
    }
}

/// The numbers of `rows` of the plane `index`.
pub(crate) fn part(index: usize, plane: [usize; 2], rows: &Range<usize>) -> Range<usize> {
    let first = index * plane[0];
    (first + rows.start) * plane[1]..(first + rows.end) * plane[1]
}

/// Copies `rows` of the padded plane to `to`; those outside the plane are all `padding`, which `to`
/// already holds on either side of the others.
#[inline(always)]
pub(crate) fn copy_rows<V: Vector>(
    moves: &Moves,
    plane: &[V::Elem],
    rows: Range<usize>,
    padding: V::Elem,
    to: &mut [V::Elem],
) {
    let width = moves.image[1];
    for (row, to) in rows.zip(to.chunks_exact_mut(moves.row_len())) {
        let y = (row as isize - moves.pad[0]) as usize;
        if y >= moves.image[0] {
            to.fill(padding);
            continue;
        }
        copy_row::<V>(moves, &plane[y * width..(y + 1) * width], to);
    }
}

/// Copies a row of the plane; `to` already holds the padding on either side.
#[inline(always)]
pub(crate) fn copy_row<V: Vector>(moves: &Moves, line: &[V::Elem], to: &mut [V::Elem]) {
    let (pad, stride) = (moves.pad[1], moves.stride[1]);
    let line = &line[pad.min(0).unsigned_abs().min(line.len())..];
    let pad = pad.max(0).unsigned_abs();
    if stride == 1 {
        let to = stretch(to, pad);
        let count = line.len().min(to.len());
        spaced_of::<V>(line, 1, &mut to[..count]);
    } else {
        split_row::<V>(line, pad, stride, to);
    }
}

/// Copies a line behind `pad` columns, each column to the stretch of its remainder.
#[inline(always)]
fn split_row<V: Vector>(line: &[V::Elem], pad: usize, stride: usize, to: &mut [V::Elem]) {
    let phase_len = to.len() / stride;
    if stride == 2 {
        let (first, second) = to.split_at_mut(phase_len);
        let (even, odd) = if pad.is_multiple_of(2) { (first, second) } else { (second, first) };
        let skip = |to| stretch(to, pad / 2);
        let odd = stretch(odd, pad.div_ceil(2));
        return split::<V>(line, skip(even), odd);
    }
    for (first, at) in (pad..).take(stride.min(line.len())).enumerate() {
        let to = stretch(&mut to[at % stride * phase_len..][..phase_len], at / stride);
        let count = (line.len() - first).div_ceil(stride).min(to.len());
        spaced_of::<V>(&line[first..], stride, &mut to[..count]);
    }
}

/// What follows the first `skip` numbers, if there are so many.
#[inline(always)]
fn stretch<T>(from: &mut [T], skip: usize) -> &mut [T] {
    let skip = skip.min(from.len());
    &mut from[skip..]
}

/// Numbers of even and of odd index of `line`, as many as there is room for.
#[inline(always)]
fn split<V: Vector>(line: &[V::Elem], even: &mut [V::Elem], odd: &mut [V::Elem]) {
    let evens = line.len().div_ceil(2).min(even.len());
    let pairs = (line.len() / 2).min(odd.len()).min(evens);
    let Some(last) = pairs.checked_sub(V::LANES) else {
        let (first, second) = V::read_pairs(line);
        first.write(&mut even[..evens]);
        return second.write(&mut odd[..pairs]);
    };
    for at in (0..pairs).step_by(V::LANES) {
        // A last full vector over the one before is cheaper than part of one.
        let at = at.min(last);
        let (start, end) = line[2 * at..][..2 * V::LANES].split_at(V::LANES);
        // The next band.
        V::prefetch_far(start.as_ptr().wrapping_add(BAND));
        V::prefetch_far(end.as_ptr().wrapping_add(BAND));
        let (first, second) = V::read(start).deinterleave(V::read(end));
        first.write(&mut even[at..][..V::LANES]);
        second.write(&mut odd[at..][..V::LANES]);
    }
    if evens > pairs {
        even[pairs] = line[2 * pairs];
    }
}

vectorized! {
    /// Writes the rows `to` of `width` columns, which `apart` holds `len` numbers a row, apart by
    /// their remainder of `stride`.
    pub(crate) fn join_rows<S, T: Element>(
        apart: &[T],
        len: usize,
        width: usize,
        stride: usize,
        to: &mut [T],
    ) {
        for (apart, to) in apart.chunks_exact(len).zip(to.chunks_exact_mut(width)) {
            join::<T::V<S>>(apart, len / stride, stride, to);
        }
    }
}

/// Writes `line`, whose columns of remainder `q` of `stride` lie at `q * len` of `from`.
#[inline(always)]
fn join<V: Vector>(from: &[V::Elem], len: usize, stride: usize, line: &mut [V::Elem]) {
    if stride == 1 {
        return spaced_of::<V>(from, 1, line);
    }
    if stride == 2 {
        let (even, odd) = from.split_at(len);
        for (i, to) in line.chunks_mut(2 * V::LANES).enumerate() {
            let (first, second) =
                V::read(&even[i * V::LANES..]).interleave(V::read(&odd[i * V::LANES..]));
            first.write(to);
            if to.len() > V::LANES {
                second.write(&mut to[V::LANES..]);
            }
        }
        return;
    }
    for (q, from) in from.chunks_exact(len).enumerate().take(line.len()) {
        line[q..].iter_mut().step_by(stride).zip(from).for_each(|(to, &x)| *to = x);
    }
}
