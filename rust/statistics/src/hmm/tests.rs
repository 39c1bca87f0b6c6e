use super::*;

fn go() -> bool {
    false
}

/// Numbers that look random, in (0, 1).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn rows(&mut self, rows: usize, columns: usize) -> Vec<f64> {
        let mut out = Vec::new();
        for _ in 0..rows {
            let row: Vec<f64> = (0..columns).map(|_| self.next()).collect();
            let sum: f64 = row.iter().sum();
            out.extend(row.iter().map(|p| p / sum));
        }
        out
    }
}

/// Probability of each path of states.
fn paths(chain: Chain<'_>, b: &[f64]) -> Vec<(Vec<usize>, f64)> {
    let states = chain.start.len();
    let rows = b.len() / states;
    (0..states.pow(rows as u32))
        .map(|mut code| {
            let mut path = Vec::new();
            let mut p = 1.0;
            for t in 0..rows {
                let state = code % states;
                code /= states;
                p *= match path.last() {
                    None => chain.start[state],
                    Some(&before) => chain.trans[before * states + state],
                } * b[t * states + state];
                path.push(state);
            }
            (path, p)
        })
        .collect()
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-10 * a.abs().max(b.abs()).max(1.0), "{a} and {b}");
}

#[test]
fn everything_is_as_over_all_paths() {
    let mut noise = Noise(1);
    for states in 1..=4 {
        for rows in 1..=6 {
            let (start, trans) = (noise.rows(1, states), noise.rows(states, states));
            let chain = Chain { start: &start, trans: &trans };
            let b = noise.rows(rows, states);
            let logs: Vec<f64> = b.iter().map(|p| p.ln() - 800.0).collect();
            let emissions = Emissions::Frames(&logs);
            let all = paths(chain, &b);
            let total: f64 = all.iter().map(|path| path.1).sum();
            let found = expect(chain, emissions, &[rows], None, Want::Counts, &go).unwrap();
            close(found.log_likelihoods[0], total.ln() - 800.0 * rows as f64);
            let mut posteriors = vec![0.0; rows * states];
            let mut moves = vec![0.0; states * states];
            for (path, p) in &all {
                for (t, &state) in path.iter().enumerate() {
                    posteriors[t * states + state] += p / total;
                    if t > 0 {
                        moves[path[t - 1] * states + state] += p / total;
                    }
                }
            }
            found.posteriors.iter().zip(&posteriors).for_each(|(&a, &b)| close(a, b));
            found.trans.iter().zip(&moves).for_each(|(&a, &b)| close(a, b));
            found.start.iter().zip(&posteriors).for_each(|(&a, &b)| close(a, b));
            let best = all.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
            let decoded = decode(chain, emissions, &[rows], &go).unwrap();
            close(decoded.log_probs[0], best.1.ln() - 800.0 * rows as f64);
            assert!(decoded.states.iter().map(|&s| s as usize).eq(best.0.iter().copied()));
        }
    }
}

#[test]
fn logarithms_agree_with_scaling() {
    let mut noise = Noise(2);
    let (start, trans) = (noise.rows(1, 3), noise.rows(3, 3));
    let chain = Chain { start: &start, trans: &trans };
    let logs: Vec<f64> = noise.rows(20, 3).iter().map(|p| p.ln()).collect();
    let found = expect(chain, Emissions::Frames(&logs), &[20], None, Want::Counts, &go).unwrap();
    let (mut moves, mut gamma) = (vec![0.0; 9], vec![0.0; 60]);
    let sums = logarithmic::Sums { trans: &mut moves, gamma: &mut gamma, width: 3, weight: 1.0 };
    let total = logarithmic::sequence(chain, &logs, Some(sums), &Watch::new(&go));
    close(total, found.log_likelihoods[0]);
    moves.iter().zip(&found.trans).for_each(|(&a, &b)| close(a, b));
    gamma.iter().zip(&found.posteriors).for_each(|(&a, &b)| close(a, b));
}

#[test]
fn a_state_that_is_far_worse_but_the_only_possible_one_counts() {
    let (start, trans) = ([1.0, 0.0], [1.0, 0.0, 0.0, 1.0]);
    let chain = Chain { start: &start, trans: &trans };
    let logs = [-2000.0, 0.0, -1000.0, -1.0];
    let emissions = Emissions::Frames(&logs);
    let found = expect(chain, emissions, &[2], None, Want::Counts, &go).unwrap();
    assert_eq!(found.log_likelihoods, [-3000.0]);
    assert_eq!(found.posteriors, [1.0, 0.0, 1.0, 0.0]);
    assert_eq!(found.trans, [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn impossible_sequences_count_for_nothing() {
    let (start, trans) = ([0.5, 0.5], [0.5, 0.5, 0.5, 0.5]);
    let chain = Chain { start: &start, trans: &trans };
    let table = [0.5, 0.2, 0.5, 0.8, 0.0, 0.0];
    let emissions = Emissions::Table(&table, &[0, 1, 2, 1]);
    let found = expect(chain, emissions, &[2, 0, 2], None, Want::Counts, &go).unwrap();
    assert_eq!(found.log_likelihoods[1..], [0.0, f64::NEG_INFINITY]);
    close(found.start.iter().sum(), 1.0);
    close(found.symbols.iter().sum(), 2.0);
    let filtered = filter(chain, &table, &[0, 2, 1], &[3], &go).unwrap();
    assert_eq!(filtered.log_probs[1], f64::NEG_INFINITY);
    assert!(filtered.log_probs[2].is_finite());
}

#[test]
fn long_sequences_are_as_short_ones() {
    let mut noise = Noise(3);
    let (start, trans) = (noise.rows(1, 5), noise.rows(5, 5));
    let chain = Chain { start: &start, trans: &trans };
    let table = noise.rows(7, 5);
    let logs: Vec<f64> = table.iter().map(|p| p.ln()).collect();
    let symbols: Vec<u32> = (0..9000).map(|_| (noise.next() * 7.0) as u32).collect();
    let long = decode(chain, Emissions::Table(&logs, &symbols), &[9000], &go).unwrap();
    // A path is worth what its steps are worth.
    let mut total = start[long.states[0] as usize].ln();
    for t in 0..9000 {
        let state = long.states[t] as usize;
        total += logs[symbols[t] as usize * 5 + state];
        if t > 0 {
            total += trans[long.states[t - 1] as usize * 5 + state].ln();
        }
    }
    close(total, long.log_probs[0]);
    let emissions = Emissions::Table(&table, &symbols);
    let whole = expect(chain, emissions, &[9000], None, Want::Score, &go).unwrap();
    let filtered = filter(chain, &table, &symbols, &[9000], &go).unwrap();
    close(filtered.log_probs.iter().sum(), whole.log_likelihoods[0]);
}

#[test]
fn a_stopped_run_says_so() {
    let (start, trans) = ([1.0], [1.0]);
    let chain = Chain { start: &start, trans: &trans };
    let emissions = Emissions::Table(&[1.0], &[0, 0]);
    let stop = || true;
    for found in [
        expect(chain, emissions, &[2], None, Want::Counts, &stop).err(),
        decode(chain, emissions, &[2], &stop).err(),
        filter(chain, &[1.0], &[0, 0], &[2], &stop).err(),
    ] {
        assert_eq!(found, Some(Error::Interrupted));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (start, trans) = ([0.5, 0.5], [0.5; 4]);
    let chain = Chain { start: &start, trans: &trans };
    let refused = |emissions, lengths: &[usize]| {
        expect(chain, emissions, lengths, None, Want::Score, &go).unwrap_err().to_string()
    };
    assert!(refused(Emissions::Table(&[0.5; 4], &[2]), &[1]).contains("symbols below 2, got 2"));
    assert!(refused(Emissions::Table(&[0.5; 4], &[1]), &[2]).contains("a sum of 1, got 2"));
    assert!(refused(Emissions::Frames(&[0.5; 3]), &[1]).contains("rows of 2 numbers, got 3"));
    assert!(refused(Emissions::Frames(&[]), &[usize::MAX, 2]).contains("a sum of 0"));
    let empty = Chain { start: &[], trans: &[] };
    let none = expect(empty, Emissions::Frames(&[]), &[], None, Want::Score, &go).unwrap_err();
    assert!(none.to_string().contains("expected 1 to 16384 states, got 0"));
}

#[test]
fn chunks_hold_every_sequence_once() {
    for (lengths, count) in
        [(vec![3, 0, 9, 1, 1, 0], 3), (vec![0, 0], 2), (vec![100], 4), (vec![], 2)]
    {
        let sequences = Sequences::new(&lengths);
        let chunks = sequences.chunks(count);
        assert!(chunks.len() <= count.max(1));
        let all: Vec<usize> = chunks.into_iter().flatten().collect();
        assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
    }
}

#[test]
fn trigrams_decode_the_best_path() {
    let mut noise = Noise(4);
    let k = 3;
    let trans: Vec<f64> = noise.rows(16, 3).iter().map(|p| p.ln()).collect();
    let end: Vec<f64> = (0..16).map(|_| noise.next().ln()).collect();
    let frames: Vec<f64> = noise.rows(5, 3).iter().map(|p| p.ln()).collect();
    let chain = Trigrams { states: k, trans: &trans, end: &end };
    let found = decode_trigrams(chain, &frames, &[5], &go).unwrap();
    let worth = |path: &[usize]| {
        let (mut u, mut v, mut sum) = (k, k, 0.0);
        for (t, &x) in path.iter().enumerate() {
            sum += trans[(u * 4 + v) * 3 + x] + frames[t * 3 + x];
            (u, v) = (v, x);
        }
        sum + end[u * 4 + v]
    };
    let best = (0..243usize)
        .map(|code| (0..5).map(|t| code / 3usize.pow(t) % 3).collect::<Vec<_>>())
        .max_by(|a, b| worth(a).total_cmp(&worth(b)))
        .unwrap();
    assert!(found.iter().map(|&x| x as usize).eq(best));
}

#[test]
fn blocks_of_a_long_sequence_are_one_sequence() {
    let mut noise = Noise(5);
    let (start, trans) = (noise.rows(1, 5), noise.rows(5, 5));
    let chain = Chain { start: &start, trans: &trans };
    let table = noise.rows(7, 5);
    let symbols: Vec<u32> = (0..9001).map(|_| (noise.next() * 7.0) as u32).collect();
    let logs: Vec<f64> = symbols
        .iter()
        .flat_map(|&symbol| &table[symbol as usize * 5..][..5])
        .map(|p| p.ln() - 3.0)
        .collect();
    let (mut moves, mut gamma) = (vec![0.0; 25], vec![0.0; 9001 * 5]);
    let sums = logarithmic::Sums { trans: &mut moves, gamma: &mut gamma, width: 5, weight: 2.0 };
    let total = logarithmic::sequence(chain, &logs, Some(sums), &Watch::new(&go));
    let near = |a: &[f64], b: &[f64]| {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() <= 1e-8 * b.abs().max(1.0)));
    };
    let frames = Emissions::Frames(&logs);
    let found = expect(chain, frames, &[9001], Some(&[2.0]), Want::Counts, &go).unwrap();
    near(&found.log_likelihoods, &[total]);
    near(&found.trans, &moves);
    near(&found.start, &gamma[..5]);
    near(&found.posteriors, &gamma);
    let all = Emissions::Table(&table, &symbols);
    let counted = expect(chain, all, &[9001], Some(&[2.0]), Want::Counts, &go).unwrap();
    near(&counted.log_likelihoods, &[total + 3.0 * 9001.0]);
    near(&counted.trans, &moves);
    let mut expected = vec![0.0; 35];
    for (&symbol, row) in symbols.iter().zip(gamma.chunks_exact(5)) {
        for (to, from) in expected[symbol as usize * 5..].iter_mut().zip(row) {
            *to += from;
        }
    }
    near(&counted.symbols, &expected);
}
