//! Training: one pass over the sentences by several threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::lexicon::Lexicon;
use super::random::Random;
use super::source::{Block, Sentences, Source, is_valid};
use super::step::{self, Machine, Rows};
use super::subwords::Subwords;
use super::tables::{Alias, Huffman, kept};
use super::window::{Items, Sentence};
use super::{PAD, UNKNOWN};
use crate::{Error, Result, threads};

/// Centre words whose steps are drawn before they are taken.
const SEGMENT: usize = 64;
/// Stands for all epochs where they draw the same random numbers.
const ANY_EPOCH: u64 = u64::MAX;
/// Time between two looks at whether to stop.
const BETWEEN_CHECKS: Duration = Duration::from_millis(50);
/// Widest windows and most negatives.
const MAX_OPTION: usize = 10_000;

/// What to train.
#[derive(Debug, Clone)]
pub struct Options {
    /// Predict the words around from each word, rather than it from them.
    pub skip_gram: bool,
    /// Use the hierarchical softmax.
    pub hierarchical: bool,
    /// Words drawn to contrast each word with; zero for none.
    pub negative: usize,
    /// Power of the counts in proportion to which those are drawn.
    pub ns_exponent: f64,
    /// Share of the text from which on words count as frequent and are thinned out; zero for none.
    pub sample: f64,
    /// Most words looked at on each side.
    pub window: usize,
    /// Draw the width of each window from one to `window`.
    pub shrink_windows: bool,
    /// Without skip-gram, take the mean of the words around rather than their sum.
    pub mean: bool,
    /// With skip-gram, draw negatives once for each centre word.
    pub shared_negatives: bool,
    /// Words are made of their parts too.
    pub subwords: Option<Subwords>,
    /// Words between two changes of the learning rate.
    pub batch_words: usize,
}

/// One pass over the sentences.
#[derive(Debug, Clone, Copy)]
pub struct Epoch<'a> {
    /// The sentences.
    pub sentences: Sentences<'a>,
    /// Words in them, for the learning rate.
    pub words: u64,
    /// Learning rates at the beginning and the end.
    pub alpha: (f64, f64),
    /// Of the random numbers.
    pub seed: u64,
    /// Number of the pass, for the random numbers.
    pub number: u64,
    /// Threads.
    pub workers: usize,
    /// Whether to add up the loss.
    pub compute_loss: bool,
}

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Report {
    /// Sum of the negative logarithms of the predicted probabilities.
    pub loss: f64,
    /// Words read.
    pub words: u64,
    /// Words left after unknown and many frequent ones were dropped.
    pub effective: u64,
}

/// The tables: rows of words (then of buckets of subwords), of words to be predicted, and of inner
/// nodes of the tree, all padded with zeros to `stride`, a multiple of [`PAD`].
#[derive(Debug)]
pub struct Tables<'a> {
    /// `[V + buckets, stride]`.
    pub input: &'a mut [f32],
    /// `[V, stride]`, or empty without negatives.
    pub hidden: &'a mut [f32],
    /// `[V, stride]`, or empty without the hierarchical softmax.
    pub nodes: &'a mut [f32],
    /// Numbers in a row.
    pub stride: usize,
}

/// Called with the number of words read so far every few dozen milliseconds; true ends the work.
pub type Watch<'a> = &'a (dyn Fn(u64) -> bool + Sync);

/// A vocabulary and what training draws from it.
#[derive(Debug)]
pub struct Trainer {
    pub(super) options: Options,
    lexicon: Lexicon,
    len: usize,
    pub(super) kept: Option<Vec<u32>>,
    pub(super) alias: Option<Alias>,
    tree: Option<Huffman>,
    /// Rows of the parts of each word, and where those of each end.
    parts: (Vec<u32>, Vec<usize>),
}

impl Trainer {
    /// For `words` with `counts`, which must descend.
    pub fn new(words: &[&str], counts: &[u64], options: Options) -> Result<Self> {
        check_options(words, counts, &options)?;
        let weights = || counts.iter().map(|&c| (c as f64).powf(options.ns_exponent)).collect();
        let negative = options.negative > 0 && !words.is_empty();
        Ok(Self {
            lexicon: Lexicon::new(words.iter().copied()),
            len: words.len(),
            kept: (options.sample > 0.0).then(|| kept(counts, options.sample)),
            alias: negative.then(|| {
                let weights: Vec<f64> = weights();
                Alias::new(&weights)
            }),
            tree: options.hierarchical.then(|| Huffman::new(counts)),
            parts: parts(words, options.subwords),
            options,
        })
    }

    /// Words.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no words.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The place of `word` in the vocabulary, or [`UNKNOWN`].
    pub fn place(&self, word: &str) -> u32 {
        self.lexicon.place(word)
    }

    /// Appends the rows that make the input of `word`.
    #[inline(always)]
    pub(super) fn rows(&self, word: u32, rows: &mut Vec<u32>) {
        rows.push(word);
        rows.extend_from_slice(self.parts_of(word));
    }

    fn parts_of(&self, word: u32) -> &[u32] {
        let (rows, ends) = &self.parts;
        match ends.get(word as usize) {
            None => &[],
            Some(&end) => &rows[if word == 0 { 0 } else { ends[word as usize - 1] }..end],
        }
    }

    /// The vectors `[V, width]` of all words: the means of their rows.
    pub fn vectors(&self, input: &[f32], stride: usize, width: usize) -> Result<Vec<f32>> {
        self.check_table("input", input, self.input_rows(), stride)?;
        if width > stride {
            return Err(value("width", format!("expected at most {stride}, got {width}")));
        }
        let mut vectors = vec![0.0; self.len * width];
        let cost = input.len().min(self.len * stride) + self.parts.0.len() * stride;
        let most = width.max(1);
        threads::for_each_piece(&mut vectors, SEGMENT * most, cost, |piece, out| {
            let mut rows = Vec::new();
            for (index, out) in out.chunks_exact_mut(most).enumerate() {
                rows.clear();
                self.rows((piece * SEGMENT + index) as u32, &mut rows);
                for &row in &rows {
                    let row = &input[row as usize * stride..][..width];
                    out.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
                }
                let share = 1.0 / rows.len() as f32;
                out.iter_mut().for_each(|sum| *sum *= share);
            }
        });
        Ok(vectors)
    }

    fn input_rows(&self) -> usize {
        self.len + self.options.subwords.map_or(0, |subwords| subwords.buckets as usize)
    }

    fn check_table(&self, arg: &'static str, table: &[f32], rows: usize, s: usize) -> Result<()> {
        if s == 0 || !s.is_multiple_of(PAD) {
            return Err(value("stride", format!("expected a multiple of {PAD}, got {s}")));
        }
        match rows.checked_mul(s) == Some(table.len()) {
            true => Ok(()),
            false => Err(value(arg, format!("expected {rows} rows of {s}, got {}", table.len()))),
        }
    }

    /// Makes one pass over the sentences, which changes the tables. Where it fails or is stopped they
    /// hold what was learnt until then.
    pub fn train(&self, epoch: &Epoch<'_>, tables: Tables<'_>, watch: Watch<'_>) -> Result<Report> {
        let Tables { input, hidden, nodes, stride } = tables;
        let rows = |used: bool| if used { self.len } else { 0 };
        self.check_table("input", input, self.input_rows(), stride)?;
        self.check_table("hidden", hidden, rows(self.alias.is_some()), stride)?;
        self.check_table("nodes", nodes, rows(self.tree.is_some()), stride)?;
        if let Sentences::Ids(ids, ends) = epoch.sentences
            && !is_valid(ids, ends, self.len)
        {
            return Err(value("ids", "expected places of words and ascending ends of sentences"));
        }
        let workers = epoch.workers.clamp(1, threads::num_threads());
        let batch_words = self.options.batch_words;
        let pass = Pass {
            trainer: self,
            epoch,
            source: Source::new(epoch.sentences, &self.lexicon, batch_words, workers)?,
            tables: [input, hidden, nodes].map(|table| Rows::new(table, stride)),
            done: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            failure: Mutex::new(None),
            watch,
            caller: std::thread::current().id(),
        };
        let reports = threads::map(workers, usize::MAX, |worker| pass.work(worker));
        if let Some(error) = pass.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let mut total = Report::default();
        for report in reports {
            total.loss += report.loss;
            total.words += report.words;
            total.effective += report.effective;
        }
        Ok(total)
    }
}

fn value(arg: &'static str, message: impl Into<String>) -> Error {
    Error::value("word2vec", arg, message)
}

fn check_options(words: &[&str], counts: &[u64], options: &Options) -> Result<()> {
    if words.len() != counts.len() || words.len() >= UNKNOWN as usize {
        let message =
            format!("expected one for each of {} words, got {}", words.len(), counts.len());
        return Err(value("counts", message));
    }
    if !counts.is_sorted_by(|a, b| a >= b) || counts.contains(&0) {
        return Err(value("counts", "expected positive counts in descending order"));
    }
    let ranges = [
        ("window", options.window, 1),
        ("negative", options.negative, 0),
        ("batch_words", options.batch_words, 1),
    ];
    for (arg, given, least) in ranges {
        let most = if arg == "batch_words" { usize::MAX } else { MAX_OPTION };
        if !(least..=most).contains(&given) {
            return Err(value(arg, format!("expected {least} to {most}, got {given}")));
        }
    }
    if options.negative == 0 && !options.hierarchical {
        return Err(value("negative", "expected at least 1 without hierarchical softmax, got 0"));
    }
    for (arg, given) in [("ns_exponent", options.ns_exponent), ("sample", options.sample)] {
        if !given.is_finite() || arg == "sample" && given < 0.0 {
            return Err(value(arg, format!("expected a finite number, got {given}")));
        }
    }
    Ok(())
}

fn parts(words: &[&str], subwords: Option<Subwords>) -> (Vec<u32>, Vec<usize>) {
    let (mut rows, mut ends) = (vec![], vec![]);
    if let Some(subwords) = subwords {
        for word in words {
            let start = rows.len();
            subwords.append(word, &mut rows);
            rows[start..].iter_mut().for_each(|row| *row += words.len() as u32);
            ends.push(rows.len());
        }
    }
    (rows, ends)
}

/// What the threads of one pass share.
struct Pass<'a> {
    trainer: &'a Trainer,
    epoch: &'a Epoch<'a>,
    source: Source<'a>,
    tables: [Rows; 3],
    /// Words whose batches are done.
    done: AtomicU64,
    stopped: AtomicBool,
    failure: Mutex<Option<Error>>,
    watch: Watch<'a>,
    /// Only this thread asks whether to stop.
    caller: std::thread::ThreadId,
}

impl Pass<'_> {
    /// The work of one thread: blocks of sentences until none is left.
    fn work(&self, number: usize) -> Report {
        let options = &self.trainer.options;
        let joined = !options.skip_gram || options.subwords.is_some();
        let mean = options.mean || options.skip_gram;
        let tree = self.trainer.tree.as_ref();
        let mut worker = Worker {
            machine: Machine::new(self.tables, tree, (joined, mean), self.epoch.compute_loss),
            sentence: Sentence::default(),
            items: Items::default(),
            report: Report::default(),
            asks: std::thread::current().id() == self.caller,
            asked: Instant::now(),
        };
        let mut block = Block::default();
        while !self.stopped.load(Ordering::Relaxed) {
            match self.source.next(number, &mut block) {
                Ok(true) => worker.block(self, &block),
                Ok(false) => break,
                Err(error) => self.fail(error),
            }
        }
        worker.report.loss = worker.machine.loss;
        worker.report
    }

    fn fail(&self, error: Error) {
        self.stopped.store(true, Ordering::Relaxed);
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// The learning rate now.
    fn alpha(&self) -> f32 {
        let share = self.done.load(Ordering::Relaxed) as f64 / self.epoch.words.max(1) as f64;
        let (first, last) = self.epoch.alpha;
        (first + (last - first) * share.min(1.0)) as f32
    }
}

struct Worker<'a> {
    machine: Machine<'a>,
    sentence: Sentence,
    items: Items,
    report: Report,
    asks: bool,
    asked: Instant,
}

impl Worker<'_> {
    fn block(&mut self, pass: &Pass<'_>, block: &Block) {
        let Epoch { seed, number, .. } = *pass.epoch;
        let mut random = Random::new(seed, number, block.number);
        let mut each = Random::new(seed, ANY_EPOCH, block.number);
        let batch_words = pass.trainer.options.batch_words;
        self.machine.alpha = pass.alpha();
        let (mut start, mut batch) = (0, 0);
        for &end in &block.ends {
            if end - batch >= batch_words && start > batch {
                pass.done.fetch_add((start - batch) as u64, Ordering::Relaxed);
                batch = start;
                self.machine.alpha = pass.alpha();
            }
            self.sentence.draw(&block.ids[start..end], pass.trainer, &mut each, number);
            self.report.words += (end - start) as u64;
            self.report.effective += self.sentence.words.len() as u64;
            for from in (0..self.sentence.words.len()).step_by(SEGMENT) {
                let to = (from + SEGMENT).min(self.sentence.words.len());
                self.items.fill(&self.sentence, from..to, pass.trainer, &mut random);
                step::run(&mut self.machine, &self.items);
                self.ask(pass);
                if pass.stopped.load(Ordering::Relaxed) {
                    return;
                }
            }
            start = end;
        }
        pass.done.fetch_add((start - batch) as u64, Ordering::Relaxed);
    }

    fn ask(&mut self, pass: &Pass<'_>) {
        if self.asks && self.asked.elapsed() >= BETWEEN_CHECKS {
            self.asked = Instant::now();
            if (pass.watch)(pass.done.load(Ordering::Relaxed)) {
                pass.fail(Error::Interrupted);
            }
        }
    }
}
