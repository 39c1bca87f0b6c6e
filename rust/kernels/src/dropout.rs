//! Dropout: `y = x / (1 - p)` with probability `1 - p`, else 0.
//!
//! The mask is a function of the seed and the position, so the backward pass draws it again and
//! nothing is stored: `dx` is the same function of `dy`. Each piece of the array has sixteen
//! generators of its own (xoshiro128++, Blackman & Vigna 2021), seeded by splitmix64.

use ndarray::{Array, ArrayView, Dimension};

use crate::{Element, Error, Result, memory, threads, vectorized};

/// Generators side by side, whatever the vector: the mask is the same on every machine.
const LANES: usize = 16;

/// Numbers in a piece.
const PIECE: usize = 16_384;

/// Drops the numbers of `x` with probability `p` and scales the others by `1 / (1 - p)`.
pub fn apply<T: Element, D: Dimension>(
    x: ArrayView<'_, T, D>,
    p: f64,
    seed: u64,
) -> Result<Array<T, D>> {
    if !(0.0..=1.0).contains(&p) {
        return Err(Error::value("dropout_apply", "p", format!("expected 0 to 1, got {p}")));
    }
    let mut y = memory::unfilled_array(x.raw_dim());
    let x = x.as_standard_layout();
    let x = x.as_slice().expect("standard layout");
    let out = y.as_slice_mut().expect("a new array");
    if p == 1.0 {
        out.fill(T::zero());
        return Ok(y);
    }
    // Draws are 32 bits wide, so p is met to 2^-32.
    let threshold = (p * 2f64.powi(32)).min(f64::from(u32::MAX)) as u32;
    let scale = T::of(1.0 / (1.0 - p));
    threads::for_each_piece(out, PIECE, x.len() / 4, |piece, y| {
        let x = &x[piece * PIECE..][..y.len()];
        drop_piece(x, threshold, scale, states(seed, piece as u64), y);
    });
    Ok(y)
}

/// Four words of state for each lane.
type States = [[u32; LANES]; 4];

fn splitmix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn states(seed: u64, piece: u64) -> States {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    // Mixed twice, so that the streams of neighbouring seeds and pieces have nothing in common.
    let mut counter = splitmix(splitmix(seed.wrapping_add(STEP)).wrapping_add(piece));
    let mut states = [[0; LANES]; 4];
    for lane in 0..LANES {
        for half in 0..2 {
            counter = counter.wrapping_add(STEP);
            let word = splitmix(counter);
            states[2 * half][lane] = word as u32;
            // A state of zeros would stay there.
            states[2 * half + 1][lane] = (word >> 32) as u32 | 1;
        }
    }
    states
}

#[inline(always)]
fn draw(s: &mut States) -> [u32; LANES] {
    let mut out = [0; LANES];
    for i in 0..LANES {
        let (s0, s1, s2, s3) = (s[0][i], s[1][i], s[2][i], s[3][i]);
        out[i] = s0.wrapping_add(s3).rotate_left(7).wrapping_add(s0);
        let (t2, t3) = (s2 ^ s0, s3 ^ s1);
        s[1][i] = s1 ^ t2;
        s[0][i] = s0 ^ t3;
        s[2][i] = t2 ^ (s1 << 9);
        s[3][i] = t3.rotate_left(11);
    }
    out
}

vectorized! {
    fn drop_piece<S, T: Element>(
        x: &[T], threshold: u32, scale: T, states: States, y: &mut [T],
    ) {
        let mut states = states;
        let mut from = x.chunks_exact(LANES);
        let mut to = y.chunks_exact_mut(LANES);
        for (x, y) in from.by_ref().zip(to.by_ref()) {
            let drawn = draw(&mut states);
            for i in 0..LANES {
                y[i] = if drawn[i] >= threshold { x[i] * scale } else { T::zero() };
            }
        }
        let drawn = draw(&mut states);
        for (i, (x, y)) in from.remainder().iter().zip(to.into_remainder()).enumerate() {
            *y = if drawn[i] >= threshold { *x * scale } else { T::zero() };
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array1;

    use super::*;

    #[test]
    fn the_share_dropped_is_p_in_every_lane() {
        let x = Array1::<f32>::ones(160_000);
        for p in [0.1, 0.5, 0.9] {
            let y = apply(x.view(), p, 7).unwrap();
            for lane in 0..LANES {
                let lanes: Vec<f32> = y.iter().copied().skip(lane).step_by(LANES).collect();
                let dropped = lanes.iter().filter(|&&y| y == 0.0).count() as f64;
                let n = lanes.len() as f64;
                let deviation = (n * p * (1.0 - p)).sqrt();
                assert!((dropped - n * p).abs() < 5.0 * deviation, "{p} {lane} {dropped}");
            }
        }
    }

    #[test]
    fn neighbouring_pieces_and_seeds_differ() {
        let x = Array1::<f64>::ones(2 * PIECE);
        let y = apply(x.view(), 0.5, 1).unwrap();
        let z = apply(x.view(), 0.5, 2).unwrap();
        let same = |a: &[f64], b: &[f64]| a.iter().zip(b).filter(|(a, b)| a == b).count();
        let (y, z) = (y.as_slice().unwrap(), z.as_slice().unwrap());
        let half = PIECE as f64 / 2.0;
        for count in [same(&y[..PIECE], &y[PIECE..]), same(&y[..PIECE], &z[..PIECE])] {
            assert!((count as f64 - half).abs() < 400.0, "{count}");
        }
    }

    #[test]
    fn ends_of_the_range() {
        let x = Array1::from_vec(vec![1.0f32, f32::NAN]);
        assert_eq!(apply(x.view(), 1.0, 3).unwrap().to_vec(), [0.0, 0.0]);
        assert_eq!(apply(x.view(), 0.0, 3).unwrap()[0], 1.0);
        assert!(apply(x.view(), 1.5, 3).is_err());
        assert!(apply(x.view(), f64::NAN, 3).is_err());
    }
}
