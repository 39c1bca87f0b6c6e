//! The recursions in logarithms: slow, but right where the scaled ones run out of the range of
//! numbers, as where a state that explains a frame e^700 times worse than another is the only one
//! that the chain can be in.

use super::{Chain, Watch};

/// What [`sequence`] adds to.
pub(super) struct Sums<'a> {
    /// Posteriors of transitions, `[S, S]`.
    pub(super) trans: &'a mut [f64],
    /// Posteriors of states, `[rows, width]`.
    pub(super) gamma: &'a mut [f64],
    /// Columns of `gamma`.
    pub(super) width: usize,
    /// What each posterior is multiplied by.
    pub(super) weight: f64,
}

/// The log-likelihood of a sequence whose log-likelihoods by frame are the rows of `logs`, `[n, S]`,
/// and where `sums` are given, its posteriors: none where it is impossible.
pub(super) fn sequence(
    chain: Chain<'_>,
    logs: &[f64],
    sums: Option<Sums<'_>>,
    watch: &Watch<'_>,
) -> f64 {
    let states = chain.start.len();
    let trans: Vec<f64> = chain.trans.iter().map(|p| p.ln()).collect();
    let rows = logs.len() / states;
    let mut alpha = vec![f64::NEG_INFINITY; logs.len()];
    for t in 0..rows {
        for j in 0..states {
            let before = match t {
                0 => chain.start[j].ln(),
                _ => log_sum(
                    (0..states).map(|i| alpha[(t - 1) * states + i] + trans[i * states + j]),
                ),
            };
            alpha[t * states + j] = before + logs[t * states + j];
        }
        if watch.stopped() {
            return f64::NEG_INFINITY;
        }
    }
    let total = log_sum(alpha[(rows - 1) * states..].iter().copied());
    if let Some(sums) = sums {
        if total > f64::NEG_INFINITY {
            backward(&trans, logs, &alpha, total, sums, watch);
        } else {
            sums.gamma.fill(0.0);
        }
    }
    total
}

fn backward(
    trans: &[f64],
    logs: &[f64],
    alpha: &[f64],
    total: f64,
    sums: Sums<'_>,
    watch: &Watch<'_>,
) {
    let rows = sums.gamma.len() / sums.width;
    let states = logs.len() / rows;
    let mut beta = vec![0.0; states];
    for t in (0..rows).rev() {
        let alpha_row = &alpha[t * states..][..states];
        let gamma = &mut sums.gamma[t * sums.width..][..sums.width];
        gamma.fill(0.0);
        for ((to, a), b) in gamma.iter_mut().zip(alpha_row).zip(&beta) {
            *to = (a + b - total).exp() * sums.weight;
        }
        if t == 0 || watch.stopped() {
            return;
        }
        let ahead: Vec<f64> =
            beta.iter().zip(&logs[t * states..]).map(|(beta, log)| beta + log).collect();
        for i in 0..states {
            let moves = &trans[i * states..][..states];
            let before = alpha[(t - 1) * states + i] - total;
            let to = sums.trans[i * states..][..states].iter_mut();
            for ((to, step), ahead) in to.zip(moves).zip(&ahead) {
                *to += (before + step + ahead).exp() * sums.weight;
            }
            beta[i] = log_sum(moves.iter().zip(&ahead).map(|(step, ahead)| step + ahead));
        }
    }
}

/// Logarithm of the sum of exponentials; minus infinity where there is none.
pub(super) fn log_sum(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let max = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        return max;
    }
    max + values.map(|value| (value - max).exp()).sum::<f64>().ln()
}
