//! Many numbers as few: each becomes the nearest of a handful that lie well among them.
//!
//! The first guess gives each the same count of numbers; then, as Lloyd (1982) does, each moves to the
//! mean of the numbers nearest to it.

/// How often they move.
const ROUNDS: usize = 12;
/// Numbers that are looked at; of more, evenly spaced ones in their order.
const SAMPLE: usize = 1 << 20;

/// At most `most` numbers, ascending, and the most that one of `values` is from the nearest.
pub(super) fn centers(values: &[f32], most: usize) -> Vec<f32> {
    let step = values.len().div_ceil(SAMPLE).max(1);
    let mut sorted: Vec<f32> = values.iter().step_by(step).copied().collect();
    // The ends, which are the farthest from the others.
    sorted.extend(values.iter().copied().reduce(f32::min));
    sorted.extend(values.iter().copied().reduce(f32::max));
    sorted.sort_unstable_by(f32::total_cmp);
    let mut distinct = sorted.clone();
    distinct.dedup();
    if distinct.len() <= most {
        return distinct;
    }
    let mut sums = vec![0.0f64];
    for &value in &sorted {
        sums.push(sums[sums.len() - 1] + f64::from(value));
    }
    let mean = |from: usize, to: usize| ((sums[to] - sums[from]) / (to - from) as f64) as f32;
    // Equal counts of distinct numbers cover the ends, equal counts of all the middle: half each.
    let (half, rest) = (most / 2, most - most / 2);
    let mut found: Vec<f32> = (0..half)
        .map(|part| distinct[(2 * part + 1) * distinct.len() / (2 * half)])
        .chain((0..rest).map(|part| sorted[(2 * part + 1) * sorted.len() / (2 * rest)]))
        .collect();
    found.sort_unstable_by(f32::total_cmp);
    found.dedup();
    for _ in 0..ROUNDS {
        let mut from = 0;
        let mut moved = Vec::with_capacity(found.len());
        for (at, &center) in found.iter().enumerate() {
            let to = match found.get(at + 1) {
                Some(&next) => {
                    let middle = middle(center, next);
                    from + sorted[from..].partition_point(|&value| value < middle)
                }
                None => sorted.len(),
            };
            if to > from {
                moved.push(mean(from, to));
            }
            from = to;
        }
        moved.dedup();
        found = moved;
    }
    found
}

fn middle(a: f32, b: f32) -> f32 {
    a + (b - a) / 2.0
}

/// Finds the nearest of some numbers.
pub(super) struct Nearest {
    bounds: Vec<f32>,
}

impl Nearest {
    /// `centers` ascend.
    pub(super) fn new(centers: &[f32]) -> Self {
        Self { bounds: centers.windows(2).map(|pair| middle(pair[0], pair[1])).collect() }
    }

    pub(super) fn of(&self, value: f32) -> usize {
        self.bounds.partition_point(|&bound| bound <= value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_numbers_stay_and_many_are_near() {
        assert_eq!(centers(&[], 4), []);
        assert_eq!(centers(&[-1.0, -3.0, -1.0], 4), [-3.0, -1.0]);
        let values: Vec<f32> = (0..100_000).map(|i| -((i % 10_007) as f32).sqrt() / 20.0).collect();
        let found = centers(&values, 256);
        assert!(found.len() <= 256 && found.is_sorted());
        let nearest = Nearest::new(&found);
        let errors = values.iter().map(|&value| (found[nearest.of(value)] - value).abs());
        let (sum, worst) =
            errors.fold((0.0, 0.0f32), |(sum, worst), error| (sum + error, worst.max(error)));
        assert!(sum < 0.02 * values.len() as f32 && worst < 0.3, "{sum} {worst}");
    }
}
