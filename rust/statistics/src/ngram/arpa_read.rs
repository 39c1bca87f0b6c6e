//! Reading models in the ARPA format, from any toolkit: sections may be in any order of n-grams,
//! fields may be apart by any white space, `<unk>` may be missing, and with numbers for words `<s>`
//! and `</s>` too. Nothing is allocated on the word of the file alone.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::trie::{self, Level};
use super::words::words;
use super::{BEGIN, END, MAX_ORDER, Model, SPECIAL, Stop, UNKNOWN, Vocabulary, check};
use crate::{Error, Result};

/// Longest line.
const MAX_LINE: usize = 1 << 20;
/// What logarithms of zero are read as.
const LOG_ZERO: f32 = -99.0;
/// The logarithm that KenLM gives `<unk>` where the file has none.
const NO_UNKNOWN: f32 = -100.0;
/// Logarithms of probabilities above zero by less than this are rounding.
const ROUNDING: f32 = 1e-4;
/// Fields of the longest n-gram, and one more to notice.
const MAX_FIELDS: usize = MAX_ORDER + 3;
/// Bytes that a compressed file may unpack to: some, and so many times its own.
const UNPACKED: u64 = 1 << 20;
const EXPANSION: u64 = 100;
/// Lines read between two looks at whether to stop.
const BETWEEN_CHECKS: usize = 1 << 16;

/// The n-grams of one length as they stand in the file.
#[derive(Debug, Default)]
pub(super) struct Section {
    /// The words of all n-grams one after the other; none for single words, whose place is the id.
    pub(super) words: Vec<u32>,
    /// Logarithms of their probabilities.
    pub(super) prob: Vec<f32>,
    /// Logarithms of their back-off weights; empty at the highest order.
    pub(super) backoff: Vec<f32>,
}

impl Model {
    /// Reads the file at `path`, compressed or not. With `numbers`, words are ids below that, written
    /// in decimal, and ids that the file lacks share the probability of `<unk>`.
    pub fn load_arpa(path: &Path, numbers: Option<usize>, stop: Stop<'_>) -> Result<Self> {
        let failed = |error: std::io::Error| Error::io(path, &error);
        let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?);
        let compressed = file.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
        let what = path.display().to_string();
        if compressed {
            let packed = file.get_ref().metadata().map_err(failed)?.len();
            let most = UNPACKED + packed.saturating_mul(EXPANSION);
            let decoder = Bounded { source: MultiGzDecoder::new(file), left: most, most };
            let source = BufReader::with_capacity(1 << 16, decoder);
            return Self::read_arpa(source, &what, numbers, stop);
        }
        Self::read_arpa(file, &what, numbers, stop)
    }

    /// The same from any source of bytes, which errors call `what`.
    pub fn read_arpa(
        source: impl BufRead,
        what: &str,
        numbers: Option<usize>,
        stop: Stop<'_>,
    ) -> Result<Self> {
        let mut lines = Lines { source, what, stop, line: Vec::new(), number: 0 };
        let mut vocabulary = match numbers {
            Some(size) => Vocabulary::numbers(size)?,
            None => Vocabulary::new(),
        };
        let counts = header(&mut lines)?;
        let (mut first, missing) = unigrams(&mut lines, counts[0], &mut vocabulary, numbers)?;
        if counts.len() == 1 {
            first.backoff = Vec::new();
        }
        let mut sections = vec![first];
        for (index, &count) in counts.iter().enumerate().skip(1) {
            let highest = index + 1 == counts.len();
            sections.push(section(&mut lines, index + 1, count, highest, &vocabulary)?);
        }
        let end = lines.next_filled("\\end\\")?;
        if end != "\\end\\" {
            let reason = format!("expected \\end\\, got {}", shown(end));
            return Err(lines.error(reason));
        }
        // To the end of the file, where a compressed one has its checksum.
        while lines.next()?.is_some() {}
        assemble(vocabulary, sections, missing, what, stop)
    }
}

/// A source that fails where it gives more than it should.
struct Bounded<R> {
    source: R,
    left: u64,
    most: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            std::io::Error::other(format!("unpacks to more than {} bytes", self.most))
        })?;
        Ok(read)
    }
}

struct Lines<'a, R> {
    source: R,
    what: &'a str,
    stop: Stop<'a>,
    line: Vec<u8>,
    number: usize,
}

impl<R: BufRead> Lines<'_, R> {
    fn error(&self, reason: impl Into<String>) -> Error {
        Error::Format { what: self.what.into(), line: self.number, reason: reason.into() }
    }

    /// The next line, or `None` at the end of the file.
    fn next(&mut self) -> Result<Option<&str>> {
        self.line.clear();
        self.number += 1;
        if self.number.is_multiple_of(BETWEEN_CHECKS) {
            check(self.stop)?;
        }
        let limit = MAX_LINE as u64 + 1;
        let read = (&mut self.source).take(limit).read_until(b'\n', &mut self.line);
        read.map_err(|error| match error.raw_os_error() {
            Some(_) => Error::io(Path::new(self.what), &error),
            None => self.error(error.to_string()),
        })?;
        if self.line.is_empty() {
            return Ok(None);
        }
        if self.line.len() > MAX_LINE {
            return Err(self.error(format!("longer than {MAX_LINE} bytes")));
        }
        while self.line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            self.line.pop();
        }
        match std::str::from_utf8(&self.line) {
            Ok(line) => Ok(Some(line)),
            Err(_) => Err(Error::Format {
                what: self.what.into(),
                line: self.number,
                reason: "not UTF-8".into(),
            }),
        }
    }

    /// The next line that is not empty; the file must not end before `wanted`.
    fn next_filled(&mut self, wanted: &str) -> Result<&str> {
        loop {
            match self.next()? {
                None => return Err(self.error(format!("the file ends before {wanted}"))),
                Some(line) if line.trim_ascii().is_empty() => {}
                // The borrow checker does not see that `line` lives in `self.line`.
                Some(_) => break,
            }
        }
        Ok(std::str::from_utf8(&self.line).unwrap_or_default().trim_ascii())
    }
}

/// The beginning of a piece of the file, for a message.
fn shown(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// How many n-grams of each length the file claims to have.
fn header<R: BufRead>(lines: &mut Lines<'_, R>) -> Result<Vec<usize>> {
    // Editors put a byte order mark in front.
    while lines.next_filled("\\data\\")?.trim_start_matches('\u{feff}') != "\\data\\" {}
    let mut counts = Vec::new();
    loop {
        let line = lines.next_filled("\\1-grams:")?;
        if line == "\\1-grams:" && !counts.is_empty() {
            return Ok(counts);
        }
        let parsed = line
            .split_at_checked("ngram".len())
            .filter(|(key, rest)| {
                key.eq_ignore_ascii_case("ngram") && rest.starts_with(char::is_whitespace)
            })
            .and_then(|(_, rest)| rest.split_once('='))
            .and_then(|(n, count)| Some((n.trim().parse().ok()?, count.trim().parse().ok()?)));
        let (order, count): (usize, usize) = match parsed {
            Some(parsed) => parsed,
            None => {
                let reason = format!("expected ngram N=COUNT, got {}", shown(line));
                return Err(lines.error(reason));
            }
        };
        if order != counts.len() + 1 || order > MAX_ORDER {
            let reason = match order > MAX_ORDER {
                true => format!("order {order} is above the highest, {MAX_ORDER}"),
                false => format!("expected order {}, got {order}", counts.len() + 1),
            };
            return Err(lines.error(reason));
        }
        if count >= u32::MAX as usize {
            return Err(lines.error(format!("expected fewer than {} n-grams", u32::MAX)));
        }
        counts.push(count);
    }
}

/// One line of a section: probability, the words, back-off weight.
fn entry<'a>(
    line: &'a str,
    length: usize,
    fields: &mut [&'a str; MAX_FIELDS],
) -> std::result::Result<(f32, f32), String> {
    let mut count = 0usize;
    for (field, word) in fields.iter_mut().zip(words(line)) {
        *field = word;
        count += 1;
    }
    let backoff = match count.checked_sub(length + 1) {
        Some(0) => 0.0,
        Some(1) => logarithm(fields[length + 1])?,
        _ => {
            let expected = format!("expected a number, {length} words and at most one more number");
            return Err(format!("{expected}, got {}", shown(line)));
        }
    };
    let prob = logarithm(fields[0])?;
    if prob > ROUNDING && (length > 1 || normal(fields[1]) != SPECIAL[BEGIN as usize]) {
        return Err(format!("the logarithm of a probability is positive: {}", fields[0]));
    }
    Ok((prob.min(0.0), backoff))
}

/// `word`, or the special word that some toolkits write in capitals.
fn normal(word: &str) -> &str {
    match word {
        "<UNK>" => SPECIAL[UNKNOWN as usize],
        "<S>" => SPECIAL[BEGIN as usize],
        "</S>" => SPECIAL[END as usize],
        _ => word,
    }
}

fn logarithm(field: &str) -> std::result::Result<f32, String> {
    match field.parse::<f32>() {
        Ok(f32::NEG_INFINITY) => Ok(LOG_ZERO),
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(format!("expected a finite number, got {}", shown(field))),
    }
}

/// Reads the single words; also the words that the model must have and the file lacks.
fn unigrams<R: BufRead>(
    lines: &mut Lines<'_, R>,
    count: usize,
    vocabulary: &mut Vocabulary,
    numbers: Option<usize>,
) -> Result<(Section, Vec<u32>)> {
    let known = vocabulary.len();
    let mut section =
        Section { prob: vec![f32::NAN; known], backoff: vec![0.0; known], words: Vec::new() };
    for _ in 0..count {
        let line = lines.next_filled("the end of \\1-grams:")?;
        let mut fields = [""; MAX_FIELDS];
        let read = entry(line, 1, &mut fields).and_then(|(prob, backoff)| {
            let word = normal(fields[1]);
            let id = match numbers {
                None => vocabulary.add(word),
                Some(size) => vocabulary
                    .id(word)
                    .ok_or_else(|| format!("{} is not an id below {size}", shown(word)))?,
            };
            Ok((id as usize, prob, backoff))
        });
        let (id, prob, backoff) = match read {
            Ok(read) => read,
            Err(reason) => return Err(lines.error(reason)),
        };
        if id == section.prob.len() {
            section.prob.push(prob);
            section.backoff.push(backoff);
        } else if section.prob[id].is_nan() {
            section.prob[id] = prob;
            section.backoff[id] = backoff;
        } else {
            let reason = format!("{} comes twice", shown(&vocabulary.word(id as u32)));
            return Err(lines.error(reason));
        }
    }
    for id in [BEGIN, END] {
        if numbers.is_none() && section.prob[id as usize].is_nan() {
            let reason = format!("expected {} among the 1-grams", SPECIAL[id as usize]);
            return Err(lines.error(reason));
        }
    }
    for id in [UNKNOWN, END] {
        // Written for other toolkits, which insist on them; nothing has that probability.
        if numbers.is_some() && section.prob[id as usize] <= LOG_ZERO {
            section.prob[id as usize] = f32::NAN;
        }
    }
    let missing: Vec<u32> =
        (0..section.prob.len() as u32).filter(|&id| section.prob[id as usize].is_nan()).collect();
    let unseen = missing.iter().filter(|&&id| id as usize >= SPECIAL.len()).count();
    let unknown = section.prob[UNKNOWN as usize];
    for &id in &missing {
        section.prob[id as usize] = match id {
            UNKNOWN if numbers.is_none() => NO_UNKNOWN,
            UNKNOWN | BEGIN | END => LOG_ZERO,
            _ if unknown.is_nan() => LOG_ZERO,
            _ => (f64::from(unknown) - (unseen as f64).log10()) as f32,
        };
    }
    Ok((section, missing))
}

/// Reads the n-grams of `length` words.
fn section<R: BufRead>(
    lines: &mut Lines<'_, R>,
    length: usize,
    count: usize,
    highest: bool,
    vocabulary: &Vocabulary,
) -> Result<Section> {
    let title = format!("\\{length}-grams:");
    let line = lines.next_filled(&title)?;
    if line != title {
        let reason = format!("expected {title}, got {}", shown(line));
        return Err(lines.error(reason));
    }
    let mut section = Section::default();
    let end = format!("the end of {title}");
    for _ in 0..count {
        let line = lines.next_filled(&end)?;
        let mut fields = [""; MAX_FIELDS];
        let read = entry(line, length, &mut fields).and_then(|(prob, backoff)| {
            for &word in &fields[1..=length] {
                let id = vocabulary
                    .id(normal(word))
                    .ok_or_else(|| format!("{} is not among the 1-grams", shown(word)))?;
                section.words.push(id);
            }
            Ok((prob, backoff))
        });
        match read {
            Ok((prob, backoff)) => {
                section.prob.push(prob);
                if !highest {
                    section.backoff.push(backoff);
                }
            }
            Err(reason) => return Err(lines.error(reason)),
        }
    }
    Ok(section)
}

/// Makes the trie, adding nodes for beginnings and ends of n-grams that the file lacks.
pub(super) fn assemble(
    vocabulary: Vocabulary,
    mut sections: Vec<Section>,
    missing: Vec<u32>,
    what: &str,
    stop: Stop<'_>,
) -> Result<Model> {
    let order = sections.len();
    for (length, section) in (1..).zip(&mut sections).skip(1) {
        if let Some(at) = sort(section, length) {
            let ids = &section.words[at * length..(at + 1) * length];
            let ngram: Vec<_> = ids.iter().map(|&id| vocabulary.word(id)).collect();
            let reason = format!("{} comes twice", shown(&ngram.join(" ")));
            return Err(Error::Format { what: what.into(), line: 0, reason });
        }
    }
    loop {
        check(stop)?;
        for length in (3..=order).rev() {
            let (lower, upper) = sections.split_at_mut(length - 1);
            let contexts = missing_contexts(&upper[0], &lower[length - 2], length);
            insert(&mut lower[length - 2], length - 1, &contexts);
        }
        let mut levels = shape(&sections, vocabulary.len());
        match lacking_suffixes(&mut levels, &sections, stop)? {
            Some((length, suffixes)) => {
                insert(&mut sections[length - 1], length, &suffixes);
            }
            None => {
                fill(&mut levels, sections);
                levels[0].blank = missing;
                let mut model = Model { vocabulary, levels };
                price_blanks(&mut model);
                return Ok(model);
            }
        }
    }
}

/// Sorts the n-grams by their words; the place of one that is there twice.
fn sort(section: &mut Section, length: usize) -> Option<usize> {
    let ngrams: Vec<&[u32]> = section.words.chunks_exact(length).collect();
    if !ngrams.is_sorted_by(|a, b| a < b) {
        let mut places: Vec<u32> = (0..ngrams.len() as u32).collect();
        places.sort_unstable_by(|&a, &b| ngrams[a as usize].cmp(ngrams[b as usize]));
        let words = places.iter().flat_map(|&at| ngrams[at as usize]).copied().collect();
        let pick = |numbers: &[f32]| {
            places.iter().filter_map(|&at| numbers.get(at as usize)).copied().collect()
        };
        let (prob, backoff) = (pick(&section.prob), pick(&section.backoff));
        *section = Section { words, prob, backoff };
    }
    let ngrams: Vec<&[u32]> = section.words.chunks_exact(length).collect();
    ngrams.windows(2).position(|pair| pair[0] == pair[1])
}

/// The n-grams without their last words that are not among `contexts`, ascending.
fn missing_contexts(section: &Section, contexts: &Section, length: usize) -> Vec<u32> {
    let mut known = contexts.words.chunks_exact(length - 1).peekable();
    let mut missing: Vec<u32> = Vec::new();
    for ngram in section.words.chunks_exact(length) {
        let context = &ngram[..length - 1];
        while known.next_if(|&other| other < context).is_some() {}
        let again = missing.len() >= context.len() && missing.ends_with(context);
        if known.peek() != Some(&context) && !again {
            missing.extend_from_slice(context);
        }
    }
    missing
}

/// Adds n-grams without a probability.
fn insert(section: &mut Section, length: usize, ngrams: &[u32]) {
    let count = ngrams.len() / length;
    if count == 0 {
        return;
    }
    section.words.extend_from_slice(ngrams);
    section.prob.extend(std::iter::repeat_n(f32::NAN, count));
    section.backoff.extend(std::iter::repeat_n(0.0, count));
    sort(section, length);
}

/// The trie of the sections without its numbers.
fn shape(sections: &[Section], vocabulary: usize) -> Vec<Level> {
    let mut levels: Vec<Level> = Vec::new();
    for (length, section) in (1..).zip(sections) {
        let mut level = Level::default();
        if length > 1 {
            level.words =
                section.words.chunks_exact(length).map(|ngram| ngram[length - 1]).collect();
        }
        if let Some(next) = sections.get(length) {
            let mut ngrams = next.words.chunks_exact(length + 1).peekable();
            let mut node = 0;
            let mut starts = Vec::new();
            let mut children = |context: &[u32]| {
                starts.push(node);
                while ngrams.next_if(|ngram| &ngram[..length] == context).is_some() {
                    node += 1;
                }
            };
            if length == 1 {
                (0..vocabulary as u32).for_each(|word| children(&[word]));
            } else {
                section.words.chunks_exact(length).for_each(children);
            }
            starts.push(node);
            level.children = starts.into();
        }
        levels.push(level);
    }
    levels
}

/// Links suffixes until one is missing; then the length of those and all missing ones, ascending.
fn lacking_suffixes(
    levels: &mut [Level],
    sections: &[Section],
    stop: Stop<'_>,
) -> Result<Option<(usize, Vec<u32>)>> {
    for length in 2..=levels.len() {
        trie::link_level(levels, length, None, stop)?;
        if length == 2 {
            continue;
        }
        let (lower, level) = (&levels[length - 2], &levels[length - 1]);
        let ngrams = sections[length - 1].words.chunks_exact(length);
        let known = &sections[length - 2].words;
        let mut missing: Vec<&[u32]> = ngrams
            .zip(&level.suffix)
            .filter_map(|(ngram, &suffix)| {
                let start = suffix as usize * (length - 1);
                let found = (suffix as usize) < lower.words.len();
                let same = found && known[start..start + length - 1] == ngram[1..];
                (!same).then_some(&ngram[1..])
            })
            .collect();
        if !missing.is_empty() {
            missing.sort_unstable();
            missing.dedup();
            return Ok(Some((length - 1, missing.concat())));
        }
    }
    Ok(None)
}

/// Moves the numbers into the levels.
fn fill(levels: &mut [Level], sections: Vec<Section>) {
    for (level, section) in levels.iter_mut().zip(sections) {
        let nodes = 0..section.prob.len() as u32;
        level.blank = nodes.filter(|&node| section.prob[node as usize].is_nan()).collect();
        level.prob = section.prob.into();
        level.backoff = section.backoff.into();
    }
}

/// Gives nodes without a probability the one that backing off yields.
fn price_blanks(model: &mut Model) {
    for length in 2..=model.order() {
        for node in std::mem::take(&mut model.levels[length - 1].blank) {
            let context = model.path(length, node)[length - 2];
            let suffix = model.levels[length - 1].suffix[node as usize];
            let lower = &model.levels[length - 2];
            let price = lower.backoff[context as usize] + lower.prob[suffix as usize];
            let level = &mut model.levels[length - 1];
            level.prob[node as usize] = price;
            level.blank.push(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: &str = "\\data\\\nngram 1=4\nngram 2=2\nngram 3=1\n\n\\1-grams:\n-1.5\t<unk>\t0\n\
        0\t<s>\t-0.25\n-0.5\t</s>\t0\n-0.75\ta\t-0.125\n\n\\2-grams:\n-0.5\t<s> a\t-0.5\n\
        -0.25\ta </s>\t0\n\n\\3-grams:\n-0.125\t<s> a </s>\n\n\\end\\\n";

    fn read(text: &[u8]) -> Result<Model> {
        Model::read_arpa(text, "tiny", None, &|| false)
    }

    #[test]
    fn what_is_written_reads_back() {
        let model = read(TINY.as_bytes()).unwrap();
        let mut written = Vec::new();
        let write = |bytes: Vec<u8>| {
            written.extend(bytes);
            Ok(())
        };
        model.write_arpa(false, &|| false, write).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), TINY);
        assert_eq!(model.find(&[1, 3, 2]), Some(0));
        assert_eq!(model.find(&[3, 3]), None);
    }

    #[test]
    fn no_cut_or_changed_byte_makes_it_panic() {
        for end in 0..TINY.len() - 1 {
            assert!(end + 1 >= TINY.len() - 1 || read(&TINY.as_bytes()[..end]).is_err(), "{end}");
        }
        for at in 0..TINY.len() {
            for byte in [0, b' ', b'\n', b'-', b'9', b'a', 0xff] {
                let mut changed = TINY.as_bytes().to_vec();
                changed[at] = byte;
                if let Ok(model) = read(&changed) {
                    model.next(&[3, 0, 3], true).unwrap();
                }
            }
        }
    }

    #[test]
    fn long_files_can_be_left() {
        let text = "\n".repeat(BETWEEN_CHECKS + 1);
        let stopped = Model::read_arpa(text.as_bytes(), "empty", None, &|| true);
        assert_eq!(stopped, Err(Error::Interrupted));
    }
}
