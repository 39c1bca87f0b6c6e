//! Counting n-grams of ids.

use super::keys::{Key, Layout, with_key};
use super::sort::{self, Sorted, Windows, written};
use super::{Stop, check_order};
use crate::Result;
use crate::threads;

/// Distinct n-grams in ascending order and how often each occurs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Words in each n-gram.
    pub order: usize,
    /// The n-grams one after the other.
    pub words: Vec<u32>,
    /// How often each occurs.
    pub counts: Vec<i64>,
}

/// Counts the n-grams of `order` consecutive ids.
pub fn count(ids: &[u32], order: usize, stop: Stop<'_>) -> Result<Counts> {
    const OP: &str = "ngram_count";
    check_order(OP, order)?;
    let layout = sort::layout(OP, ids, order, Windows::Full)?;
    with_key!(layout, K => Ok(unpack(&sort::sorted::<K>(ids, &layout, Windows::Full, None, stop)?, &layout)))
}

#[allow(unsafe_code)]
fn unpack<K: Key>(sorted: &Sorted<K>, layout: &Layout) -> Counts {
    let order = layout.order;
    let mut starts = vec![0];
    for part in 0..sorted.parts() {
        starts.push(starts[part] + sorted.part(part).0.len());
    }
    let total = starts[sorted.parts()];
    let range = |part: usize| starts[part]..starts[part + 1];
    // SAFETY: parts do not overlap, and together they are all there is.
    let words = unsafe {
        written(total * order, |out| {
            threads::for_each(sorted.parts(), total * order, |part| {
                let words = out.slice(range(part).start * order..range(part).end * order);
                for (key, words) in sorted.part(part).0.iter().zip(words.chunks_exact_mut(order)) {
                    for (index, word) in words.iter_mut().enumerate() {
                        word.write(key.word(index, layout));
                    }
                }
            });
        })
    };
    // SAFETY: as above.
    let counts = unsafe {
        written(total, |out| {
            threads::for_each(sorted.parts(), total, |part| {
                for (&times, count) in sorted.part(part).1.iter().zip(out.slice(range(part))) {
                    count.write(i64::from(times));
                }
            });
        })
    };
    Counts { order, words, counts }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Error;

    fn plain(ids: &[u32], order: usize) -> BTreeMap<Vec<u32>, i64> {
        let mut counts = BTreeMap::new();
        for window in ids.windows(order) {
            *counts.entry(window.to_vec()).or_default() += 1;
        }
        counts
    }

    fn noise(len: usize, largest: u32) -> Vec<u32> {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u32 as f64 / f64::from(1u32 << 31)
        };
        (0..len).map(|_| (next() * next() * next() * f64::from(largest)) as u32).collect()
    }

    #[test]
    fn agrees_with_a_map() {
        for (len, largest) in [(0, 3), (1, 3), (5, 1), (300, 4), (70_000, 500), (9_000, u32::MAX)] {
            let ids = noise(len, largest);
            for order in [1, 2, 3, 5, 7, 20] {
                let got = count(&ids, order, &|| false).unwrap();
                let expected = plain(&ids, order);
                assert!(got.counts.iter().eq(expected.values()), "{len} {largest} {order}");
                assert!(got.words.iter().eq(expected.keys().flatten()), "{len} {largest} {order}");
            }
        }
    }

    #[test]
    fn stops_when_asked_and_refuses_other_orders() {
        assert_eq!(count(&[1, 2], 1, &|| true), Err(Error::Interrupted));
        for order in [0, 21] {
            let message = count(&[1], order, &|| false).unwrap_err().to_string();
            assert_eq!(message, format!("[ngram_count] order: expected 1 to 20, got {order}"));
        }
    }
}
