//! All forms of a model say the same.

use std::collections::BTreeSet;

use lamina_statistics::ngram::container::Verify;
use lamina_statistics::ngram::{BEGIN, Compact, END, Form, Model, State, Totals, Verbosity};

/// Sentences of words whose frequencies fall off; the same ones each time.
fn text(sentences: usize, words: u64, seed: u64) -> String {
    let mut state = seed;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 11
    };
    let mut text = String::new();
    for _ in 0..sentences {
        for _ in 0..random() % 9 {
            let word = random() % words;
            text.push_str(&format!("w{} ", random() % (word + 1)));
        }
        text.push('\n');
    }
    text
}

/// A model with the n-grams of `text`, some of them left out, and numbers of no meaning.
fn model(order: usize, text: &str) -> Model {
    let mut ngrams = vec![BTreeSet::new(); order];
    for word in ["<unk>", "<s>", "</s>"] {
        ngrams[0].insert(word.to_string());
    }
    for line in text.lines() {
        let words: Vec<&str> =
            ["<s>"].into_iter().chain(line.split_whitespace()).chain(["</s>"]).collect();
        for length in 1..=order {
            for (at, ngram) in words.windows(length).enumerate() {
                if length == 1 || !(at + ngram[0].len() + words.len()).is_multiple_of(7) {
                    ngrams[length - 1].insert(ngram.join(" "));
                }
            }
        }
    }
    let mut arpa = String::from("\\data\\\n");
    for (ngrams, length) in ngrams.iter().zip(1..) {
        arpa.push_str(&format!("ngram {length}={}\n", ngrams.len()));
    }
    let mut number = 0u32;
    let mut logarithm = || {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        -((number >> 8) as f32 / 4e6)
    };
    for (ngrams, length) in ngrams.iter().zip(1..) {
        arpa.push_str(&format!("\n\\{length}-grams:\n"));
        for ngram in ngrams {
            let (prob, weight) = (logarithm(), logarithm());
            // Weights of one are common, before longer n-grams too.
            let weight = if weight < -2.0 { 0.0 } else { weight };
            arpa.push_str(&match length == order {
                true => format!("{prob}\t{ngram}\n"),
                false => format!("{prob}\t{ngram}\t{weight}\n"),
            });
        }
    }
    arpa.push_str("\n\\end\\\n");
    Model::read_arpa(arpa.as_bytes(), "test", None, &|| false).unwrap()
}

fn forms(model: &Model) -> Vec<Form> {
    let trie = Form::Trie(model.clone());
    let mut forms = vec![trie.convert("probing", 8, &|| false).unwrap()];
    forms.push(trie.convert("compact", 16, &|| false).unwrap());
    forms.insert(0, trie);
    forms
}

#[test]
fn scores_of_all_forms_agree() {
    for order in [1, 2, 3, 5, 8] {
        let model = model(order, &text(800, 60, 7));
        let [trie, probing, compact] = &forms(&model)[..] else { unreachable!() };
        let Form::Compact(small) = compact else { unreachable!() };
        let tokens = model.vocabulary.encode(&text(3000, 80, 11), true);
        for (begin, sentences) in [(true, true), (false, true), (true, false), (false, false)] {
            let score = |form: &Form| form.score(&tokens, begin, sentences, &|| false).unwrap();
            let expected = score(trie);
            assert_eq!(score(probing), expected, "{order}");
            let near = score(compact);
            assert_eq!(near.length, expected.length, "{order}");
            for (a, b) in near.log10.iter().zip(&expected.log10) {
                let most = small.error() * order as f32;
                assert!((a - b).abs() <= f64::from(most) + 1e-6, "{order}: {a} {b}");
            }
        }
        for context in [&tokens[..0], &tokens[..7], &[3, 4, 0, 5], &[3, END]] {
            let next = trie.next(context, true).unwrap();
            for (word, (a, b)) in next.iter().zip(probing.next(context, true).unwrap()).enumerate()
            {
                assert!(*a == b || (a - b).abs() < 1e-12, "{order} {word}: {a} {b}");
            }
            assert_eq!(compact.next(context, true).unwrap().len(), next.len());
        }
    }
}

#[test]
fn steps_are_scores_and_states_are_those_of_the_text() {
    let model = model(4, &text(500, 40, 3));
    let tokens = model.vocabulary.encode(&text(50, 60, 5), true);
    for form in forms(&model) {
        let scores = form.score(&tokens, true, true, &|| false).unwrap();
        let (begin, mut state) = (form.begin_state(), form.begin_state());
        assert_eq!(begin.words(), [BEGIN]);
        for (at, &word) in tokens.iter().enumerate() {
            let step = form.step(&state, word).unwrap();
            assert!((step.log10 - scores.log10[at]).abs() < 1e-12);
            assert_eq!(step.length, scores.length[at]);
            state = if word == END { begin } else { step.state };
            assert_eq!(state, form.state_after(&tokens[..=at], true).unwrap(), "{at}");
            assert!(state.words().len() < 4);
        }
        assert_eq!(form.step(&State::NULL, 3).unwrap().length, 1);
        assert!(form.step(&State::NULL, u32::MAX).is_err());
    }
}

#[test]
fn states_of_all_forms_are_equal() {
    let model = model(4, &text(500, 40, 3));
    let tokens = model.vocabulary.encode(&text(30, 60, 9), true);
    let forms = forms(&model);
    for end in 0..tokens.len() {
        let states: Vec<State> =
            forms.iter().map(|form| form.state_after(&tokens[..end], true).unwrap()).collect();
        assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "{end}");
    }
}

#[test]
fn queries_print_the_same_whatever_the_form() {
    let model = model(3, &text(500, 40, 3));
    let text = text(20_000, 60, 9) + "\n\nlast w1 w2";
    for context in [true, false] {
        let mut printed = Vec::new();
        for form in &forms(&model)[..2] {
            let mut totals = Totals::default();
            let lines =
                form.query(&text, context, Verbosity::Word, &mut totals, &|| false).unwrap();
            assert_eq!(lines.iter().filter(|&&byte| byte == b'\n').count(), 20_003);
            let mut sums = Totals::default();
            form.query(&text, context, Verbosity::Summary, &mut sums, &|| false).unwrap();
            assert_eq!(sums, totals);
            printed.push((lines, totals));
        }
        assert_eq!(printed[0].1, printed[1].1);
        assert!(printed[0].0 == printed[1].0);
    }
}

#[test]
fn files_hold_what_was_written() {
    let folder = std::env::temp_dir().join(format!("lamina-forms-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model");
    for order in [1, 2, 4] {
        let model = model(order, &text(300, 40, 3));
        let tokens = model.vocabulary.encode(&text(100, 60, 5), true);
        for form in forms(&model) {
            form.save_binary(&path, form.kind(), 16, &|| false).unwrap();
            for verify in [Verify::Lazy, Verify::Whole] {
                let read = Form::load_binary(&path, verify, &|| false).unwrap();
                assert_eq!(read.kind(), form.kind());
                assert_eq!(read.counts(), form.counts());
                assert_eq!(read.vocabulary(), form.vocabulary());
                let score = |form: &Form| form.score(&tokens, true, true, &|| false).unwrap();
                assert_eq!(score(&read), score(&form));
            }
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn fewer_bits_round_more() {
    let model = model(3, &text(2000, 300, 3));
    let error = |bits| Compact::new(&model, bits, &|| false).unwrap().error();
    assert!(error(4) > error(8) && error(8) > error(12) && error(16) < 1e-3);
    for bits in [0, 3, 17, 99] {
        let error = Compact::new(&model, bits, &|| false).unwrap_err().to_string();
        assert_eq!(error, format!("[ngram_compact] bits: expected 4 to 16, got {bits}"));
    }
    let compact = Form::Compact(Compact::new(&model, 8, &|| false).unwrap());
    let error = compact.convert("probing", 8, &|| false).unwrap_err().to_string();
    assert!(error.contains("cannot be turned back"), "{error}");
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let model = model(4, &text(500, 40, 3));
    let tokens = model.vocabulary.encode(&text(5000, 60, 9), true);
    for form in forms(&model) {
        let mut found = Vec::new();
        for threads in [1, 2, 3] {
            lamina_kernels::threads::set_num_threads(threads);
            found.push(form.score(&tokens, true, true, &|| false).unwrap());
        }
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
