//! What counts are worth after a discount: absolute, Kneser-Ney's, Good-Turing and Katz's.

use super::super::kneser_ney::{self, Options, Report};
use super::{OP, Rule, Smoothing, good_turing};
use crate::{Error, Result};

/// Discount of all counts where the counts of counts define none.
const FALLBACK: f64 = 0.5;

/// The rule of the order `index` + 1, whose n-grams have these counts.
pub(super) fn rule(
    index: usize,
    counts: &[u32],
    options: &Options,
    report: &mut Report,
) -> Result<Rule> {
    let worth = match options.smoothing {
        Smoothing::ModifiedKneserNey { .. } => {
            let [one, two, more] = kneser_ney::discount(index, counts, options, report)?;
            report.discounts.push(vec![one, two, more]);
            return Ok(Rule::Worth(vec![0.0, 1.0 - one, 2.0 - two, 3.0 - more]));
        }
        Smoothing::Absolute { discount: Some(discount), .. }
        | Smoothing::KneserNey { discount: Some(discount), .. } => Ok(vec![0.0, 1.0 - discount]),
        Smoothing::Absolute { .. } | Smoothing::KneserNey { .. } => absolute(counts),
        Smoothing::GoodTuring => good_turing::smoothed(&counts_of_counts(counts)),
        Smoothing::Katz { largest } => good_turing::katz(&counts_of_counts(counts), largest),
        _ => Ok(vec![0.0]),
    };
    let worth = match worth {
        Ok(worth) => worth,
        Err(reason) => fallback(index, &reason, options, report)?,
    };
    let discounted = worth.iter().enumerate().skip(1).take(options.smoothing.shown());
    report.discounts.push(discounted.map(|(count, worth)| count as f64 - worth).collect());
    Ok(Rule::Worth(worth))
}

fn fallback(
    index: usize,
    reason: &str,
    options: &Options,
    report: &mut Report,
) -> Result<Vec<f64>> {
    let length = index + 1;
    let Some(discounts) = options.discount_fallback else {
        let message = format!(
            "the discounts of order {length} are undefined ({reason}); give more text, a lower order \
             or a discount_fallback"
        );
        return Err(Error::value(OP, "tokens", message));
    };
    // As with modified Kneser-Ney, single ids of a small closed set are no reason to warn.
    if index > 0 || !options.closed {
        report.undefined.push(format!("order {length} ({reason})"));
    }
    Ok(vec![0.0, 1.0 - discounts[0].min(FALLBACK)])
}

/// Ney, Essen & Kneser, On structuring probabilistic dependences in stochastic language modelling,
/// 1994: t_1 / (t_1 + 2 t_2), t_r the number of n-grams that occur r times.
fn absolute(counts: &[u32]) -> std::result::Result<Vec<f64>, String> {
    let times = |wanted: u32| counts.iter().filter(|&&count| count == wanted).count() as f64;
    let (once, twice) = (times(1), times(2));
    if once == 0.0 || twice == 0.0 {
        let count = if once == 0.0 { 1 } else { 2 };
        return Err(format!("none has a count of {count}"));
    }
    Ok(vec![0.0, 1.0 - once / (once + 2.0 * twice)])
}

/// How many n-grams have each count that there is, ascending.
fn counts_of_counts(counts: &[u32]) -> Vec<(u32, f64)> {
    let mut sorted: Vec<u32> = counts.iter().copied().filter(|&count| count > 0).collect();
    sorted.sort_unstable();
    sorted.chunk_by(|a, b| a == b).map(|equal| (equal[0], equal.len() as f64)).collect()
}
