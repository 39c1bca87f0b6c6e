//! Estimates of Good and Turing: an n-gram that occurs r times is worth
//!
//! r* = (r + 1) t_(r+1) / t_r
//!
//! occurrences, where t_r n-grams occur r times.
//!
//! References: Gale & Sampson, Good-Turing frequency estimation without tears, 1995; Katz, Estimation
//! of probabilities from sparse data for the language model component of a speech recognizer, 1987.

/// Above this count the discount is constant, which the smoothed estimates are to within 1 in 100,000.
const LARGEST: u32 = 1 << 16;
/// Standard deviations that a Turing estimate must lie off the line to be preferred to it.
const DEVIATIONS: f64 = 1.65;

/// What the counts are worth, from none up, or why that is undefined: Turing estimates while they
/// differ significantly from a line through the logarithms of t_r, then those on the line.
pub(super) fn smoothed(found: &[(u32, f64)]) -> Result<Vec<f64>, String> {
    if found.len() < 3 {
        return Err("fewer than three different counts".into());
    }
    let slope = slope(found);
    if slope >= -1.0 {
        return Err(format!("the slope of the counts of counts is {slope:.3}, not below -1"));
    }
    let largest = found[found.len() - 1].0.min(LARGEST);
    let times = |r: u32| found.binary_search_by_key(&r, |&(r, _)| r).map_or(0.0, |at| found[at].1);
    let mut worth = vec![0.0];
    let mut on_line = false;
    for r in 1..=largest {
        let count = f64::from(r);
        let line = count * (1.0 + 1.0 / count).powf(slope + 1.0);
        let (own, next) = (times(r), times(r + 1));
        let turing = (count + 1.0) * next / own;
        let deviation = (count + 1.0) / own * (next * (1.0 + next / own)).sqrt();
        on_line |= own == 0.0 || next == 0.0 || (turing - line).abs() <= DEVIATIONS * deviation;
        let usable = !on_line && turing < count;
        worth.push(if usable { turing } else { line });
    }
    Ok(worth)
}

/// Slope of the least squares line of log Z_r on log r, Z_r being t_r over half the distance of the
/// counts on both sides.
fn slope(found: &[(u32, f64)]) -> f64 {
    let points: Vec<(f64, f64)> = (0..found.len())
        .map(|at| {
            let r = f64::from(found[at].0);
            let before = if at == 0 { 0.0 } else { f64::from(found[at - 1].0) };
            let after = found.get(at + 1).map_or(2.0 * r - before, |&(next, _)| f64::from(next));
            (r.ln(), (2.0 * found[at].1 / (after - before)).ln())
        })
        .collect();
    let n = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (x, y) = (x / n, y / n);
    let of = |f: fn(f64, f64) -> f64| points.iter().map(|p| f(p.0 - x, p.1 - y)).sum::<f64>();
    of(|x, y| x * y) / of(|x, _| x * x)
}

/// What counts are worth: up to `largest` d_r r with
///
/// d_r = (r* / r - (k + 1) t_(k+1) / t_1) / (1 - (k + 1) t_(k+1) / t_1), k = `largest`,
///
/// all of themselves above. The largest k at or below that for which these are between 0 and 1 counts.
pub(super) fn katz(found: &[(u32, f64)], largest: usize) -> Result<Vec<f64>, String> {
    let times = |r: usize| {
        let at = found.binary_search_by_key(&(r as u32), |&(r, _)| r);
        at.map_or(0.0, |at| found[at].1)
    };
    for k in (2..=largest).rev() {
        let common = (k + 1) as f64 * times(k + 1) / times(1);
        let worth = (0..=k + 1).map(|r| match r {
            0 => 0.0,
            r if r > k => r as f64,
            r => {
                let turing = (r + 1) as f64 * times(r + 1) / times(r);
                (turing - common * r as f64) / (1.0 - common)
            }
        });
        let worth: Vec<f64> = worth.collect();
        if (1..=k).all(|r| worth[r] > 0.0 && worth[r] < r as f64) {
            return Ok(worth);
        }
    }
    Err(format!("no discounts of counts up to {largest} lie between 0 and 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The prosody data of Gale & Sampson: how many patterns occur 1, 2, ... times, and those times
    /// that one each has.
    fn prosody() -> Vec<(u32, f64)> {
        let small = [
            120, 40, 24, 13, 15, 5, 11, 2, 2, 1, 0, 3, 0, 2, 1, 1, 3, 0, 1, 3, 2, 0, 3, 3, 3, 2, 2,
            1, 0, 0, 2, 2, 1, 2, 0, 2, 0, 0, 0, 0, 3, 0, 1, 0, 3, 1, 1, 0, 0, 1,
        ];
        let once = [
            71, 84, 101, 105, 121, 124, 146, 162, 193, 199, 224, 226, 254, 257, 339, 421, 456, 481,
            483, 1140, 1256, 1322, 1530, 2131, 2395, 6925, 7846,
        ];
        let small = (1..).zip(small).filter(|&(_, times)| times > 0);
        small.map(|(r, times)| (r, f64::from(times))).chain(once.map(|r| (r, 1.0))).collect()
    }

    #[test]
    fn discounts_of_katz_give_back_what_turing_takes() {
        let found: Vec<(u32, f64)> =
            (1..=8).map(|r| (r, (1e6 / f64::from(r * r * r)).round())).collect();
        let worth = katz(&found, 5).unwrap();
        assert_eq!(worth.len(), 7);
        assert_eq!(worth[6], 6.0);
        // sum_r t_r (1 - d_r) r = t_1 up to k: the mass of what was not seen is Turing's.
        let taken: f64 = (1..=5).map(|r| found[r - 1].1 * (r as f64 - worth[r])).sum();
        assert!((taken - found[0].1).abs() < 1e-6 * found[0].1, "{taken}");
        assert!(katz(&[(1, 5.0), (2, 9.0)], 5).is_err());
        assert!(katz(&[], 5).is_err());
    }

    #[test]
    fn smooth_estimates_fall_below_their_counts() {
        let prosody = prosody();
        assert_eq!(prosody.iter().map(|&(r, times)| f64::from(r) * times).sum::<f64>(), 30_902.0);
        // As the paper has it.
        assert!((slope(&prosody) + 1.389_374).abs() < 1e-6, "{}", slope(&prosody));
        let worth = smoothed(&prosody).unwrap();
        assert!(worth[1] < 1.0 && worth[7846] > 7845.0);
        assert_eq!(worth.len(), 7847);
        assert!((1..worth.len()).all(|r| worth[r] > 0.0 && worth[r] < r as f64));
        assert!(smoothed(&prosody[..2]).is_err());
        assert!(smoothed(&[(1, 1.0), (2, 1.0), (3, 9.0)]).is_err());
    }
}
