//! The innermost loop of a matrix product where registers are few: sums of at most six rows and two
//! vectors, which with two vectors of the right operand and a number of the left one fill sixteen.

use super::{MAX_LANES, Vector, hidden};

/// Most rows.
const ROWS: usize = 6;

/// Steps written out one after the other. The compiler would write out one, and of 26 instructions
/// six would count and move addresses: time, where another thread uses the same core.
pub const TOGETHER: usize = 4;

/// Whether tiles of so many rows and vectors gain by this loop: those of single precision where
/// vectors are registers. Others would take as long to compile.
pub const fn suits<V: Vector>(rows: usize, vectors: usize) -> bool {
    let few = V::LANES < MAX_LANES && V::TILE_VECTORS == 2;
    few && 3 <= rows && rows <= ROWS && vectors == 2
}

/// The operands. Numbers of the left one follow each other along a row, or at a step; a row or a step
/// is `apart` from the one before. Two vectors of the right one begin `b_step` after those before.
#[derive(Debug, Clone, Copy)]
pub struct Steps<T> {
    /// How many.
    pub count: usize,
    /// The left operand.
    pub a: *const T,
    /// Distance between its rows, or between its steps.
    pub apart: isize,
    /// The right operand.
    pub b: *const T,
    /// Distance between its steps.
    pub b_step: usize,
}

impl<T: Copy> Steps<T> {
    /// The sums over all steps for `M` rows and `N` vectors that [suit](suits). Numbers of the left
    /// operand follow each other `ALONG` a row, or else at a step; steps of the right one follow each
    /// other where it is a `PANEL`. `ask` is called every [`TOGETHER`] steps, to ask for memory that
    /// is needed later.
    ///
    /// # Safety
    /// All numbers of both operands are readable.
    #[inline(always)]
    pub unsafe fn sums<V, const M: usize, const N: usize, const ALONG: bool, const PANEL: bool>(
        self,
        ask: impl FnMut(),
    ) -> [[V; N]; M]
    where
        V: Vector<Elem = T>,
    {
        debug_assert!(suits::<V>(M, N) && (!PANEL || self.b_step == 2 * V::LANES));
        let found = if const { PANEL && !ALONG } && self.apart == M as isize {
            self.run::<V, M, ALONG, true, PANEL>(M as isize, ask)
        } else {
            self.run::<V, M, ALONG, false, PANEL>(self.apart, ask)
        };
        let mut sums = [[V::zero(); N]; M];
        for (sums, found) in sums.iter_mut().zip(found) {
            sums.copy_from_slice(&found[..N]);
        }
        sums
    }

    /// The same for rows or steps `apart`, a distance that may be `KNOWN`: it then becomes part of the
    /// instructions.
    ///
    /// # Safety
    /// As for [`Self::sums`].
    #[inline(always)]
    unsafe fn run<V, const M: usize, const ALONG: bool, const KNOWN: bool, const PANEL: bool>(
        self,
        apart: isize,
        mut ask: impl FnMut(),
    ) -> [[V; 2]; ROWS]
    where
        V: Vector<Elem = T>,
    {
        let b_step = if PANEL { 2 * V::LANES } else { self.b_step } as isize;
        // Three places are reached from one register, and the others from a second.
        let second = |from: *const T, apart, known| {
            let from = from.wrapping_offset(3 * apart);
            if known { from } else { hidden(from) }
        };
        let (mut a, mut b) = (self.a, self.b);
        let (mut a_second, mut b_second) = (second(a, apart, KNOWN), second(b, b_step, PANEL));
        let mut sums = [[V::zero(); 2]; ROWS];
        // Every index is written out: sums that a loop goes through would be kept in memory.
        macro_rules! step {
            ($step:literal: $($row:literal)*) => {
                let from = if $step < 3 { b } else { b_second };
                let from = from.wrapping_offset($step % 3 * b_step);
                let right = [V::load(from), V::load(from.wrapping_add(V::LANES))];
                $(if const { $row < M } {
                    let (far, near) = if ALONG { ($row, $step) } else { ($step, $row) };
                    let from = if far < 3 { a } else { a_second };
                    let left = V::splat(*from.wrapping_offset(far % 3 * apart + near));
                    sums[$row][0] = left.mul_add(right[0], sums[$row][0]);
                    sums[$row][1] = left.mul_add(right[1], sums[$row][1]);
                })*
            };
        }
        macro_rules! advance {
            ($steps:expr) => {
                let by = if ALONG { $steps } else { $steps * apart };
                (a, a_second) = (a.wrapping_offset(by), a_second.wrapping_offset(by));
                let by = $steps * b_step;
                (b, b_second) = (b.wrapping_offset(by), b_second.wrapping_offset(by));
            };
        }
        for _ in 0..self.count / TOGETHER {
            step!(0: 0 1 2 3 4 5);
            ask();
            step!(1: 0 1 2 3 4 5);
            step!(2: 0 1 2 3 4 5);
            step!(3: 0 1 2 3 4 5);
            advance!(TOGETHER as isize);
        }
        for _ in 0..self.count % TOGETHER {
            step!(0: 0 1 2 3 4 5);
            advance!(1);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Element, vectorized};

    vectorized! {
        /// The sums of three to six rows, and the number of times that memory is asked for.
        fn sums_of<S, T: Element>(
            rows: usize,
            steps: Steps<T>,
            along: bool,
            panel: bool,
            out: &mut [T],
        ) -> usize {
            let mut asked = 0;
            macro_rules! sums {
                ($m:literal, $along:literal, $panel:literal) => {{
                    // SAFETY: the tests say how long the operands are.
                    let sums = unsafe { steps.sums::<T::V<S>, $m, 2, $along, $panel>(|| asked += 1) };
                    write(&sums, out);
                }};
            }
            macro_rules! rows {
                ($($m:literal)*) => {
                    match (rows, along, panel) {
                        $(($m, true, true) => sums!($m, true, true),
                        ($m, true, false) => sums!($m, true, false),
                        ($m, false, true) => sums!($m, false, true),
                        ($m, false, false) => sums!($m, false, false),)*
                        _ => unreachable!("{rows} rows"),
                    }
                };
            }
            rows!(3 4 5 6);
            asked
        }
    }

    fn write<V: Vector, const M: usize>(sums: &[[V; 2]; M], out: &mut [V::Elem]) {
        for (sum, out) in sums.as_flattened().iter().zip(out.chunks_exact_mut(V::LANES)) {
            sum.write(out);
        }
    }

    vectorized! {
        fn lanes<S, T: Element>() -> usize {
            if suits::<T::V<S>>(ROWS, 2) { T::V::<S>::LANES } else { 0 }
        }
    }

    fn check<T: Element>() {
        let wide = 2 * lanes::<T>();
        if wide == 0 {
            return;
        }
        let number = |i: usize| T::of((i * 7 % 13) as f64 - 6.0);
        let (a, b): (Vec<T>, Vec<T>) =
            ((0..600).map(number).collect(), (0..2000).map(number).collect());
        for (rows, count) in (3..=ROWS).flat_map(|rows| (0..14).map(move |count| (rows, count))) {
            for (along, apart) in [(false, rows), (false, 9), (true, 17), (true, 1)] {
                for (panel, b_step) in [(true, wide), (false, wide), (false, wide + 5)] {
                    let steps = Steps {
                        count,
                        a: a.as_ptr(),
                        apart: apart as isize,
                        b: b.as_ptr(),
                        b_step,
                    };
                    let mut out = vec![T::one(); rows * wide];
                    assert_eq!(sums_of(rows, steps, along, panel, &mut out), count / TOGETHER);
                    let (a_row, a_step) = if along { (apart, 1) } else { (1, apart) };
                    for (i, sum) in out.iter().enumerate() {
                        let (row, column) = (i / wide, i % wide);
                        let expected = (0..count).fold(T::zero(), |sum, k| {
                            sum + a[row * a_row + k * a_step] * b[k * b_step + column]
                        });
                        assert_eq!(*sum, expected, "{rows} rows, {count} steps");
                    }
                }
            }
        }
    }

    #[test]
    fn sums_are_those_of_a_plain_product() {
        check::<f32>();
    }
}
