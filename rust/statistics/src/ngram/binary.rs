//! Models in files of their own that are mapped as they lie: [`Kind::Trie`] of [`container`].
//!
//! | section | of length | values |
//! | --- | --- | --- |
//! | `text`, `ends` | 0 | the stored words one after the other, and where each ends (u64) |
//! | `words` | 2 to order | last word of each n-gram (u32) |
//! | `children` | 1 to order - 1 | where the children of each n-gram begin, and their end (u32) |
//! | `suffix` | 2 to order | the n-gram without its first word (u32) |
//! | `prob` | 1 to order | logarithm to base 10 of the probability (f32) |
//! | `backoff` | 1 to order - 1 | that of the back-off weight (f32) |
//! | `blank` | 1 to order | nodes that are no n-grams of the model (u32) |
//!
//! The flags are how many numbers are words that are not stored.

use std::path::Path;

use super::container::{self, Container, Kind, Verify, Writer};
use super::trie::BLOCK;
use super::{Level, Model, SPECIAL, Stop, Vocabulary, check};
use crate::Result;
use crate::threads;

/// Tasks between two looks at whether to stop.
const TASKS: usize = 256;

/// Writes the words that `vocabulary` stores.
pub(super) fn write_words(writer: &mut Writer<'_>, vocabulary: &Vocabulary) -> Result<()> {
    let (text, ends, _) = vocabulary.stored_words();
    writer.section("text", 0, text.as_bytes())?;
    writer.section("ends", 0, ends)
}

/// Reads them again, with `numbers` more.
pub(super) fn read_words(file: &Container, numbers: u32) -> Result<Vocabulary> {
    let (text, ends) = (file.array::<u8>("text", 0)?, file.array::<u64>("ends", 0)?);
    let text = std::str::from_utf8(&text).map_err(|_| file.failed("words that are not UTF-8"))?;
    Vocabulary::from_stored(text, &ends, numbers).map_err(|reason| file.failed(reason))
}

impl Model {
    /// Writes the model to `path` in lamina's own format.
    pub fn save_binary(&self, path: &Path, stop: Stop<'_>) -> Result<()> {
        let (_, _, numbers) = self.vocabulary.stored_words();
        container::write(path, Kind::Trie, numbers, stop, |writer| {
            write_words(writer, &self.vocabulary)?;
            for (level, length) in self.levels.iter().zip(1..) {
                level.write(writer, length, self.order())?;
            }
            Ok((self.levels.iter().map(|level| level.nodes() as u64).collect(), ()))
        })
    }

    /// Reads a file of [`Self::save_binary`]; the n-grams stay in the file, which is mapped.
    pub fn load_binary(path: &Path, verify: Verify, stop: Stop<'_>) -> Result<Self> {
        Self::from_container(&Container::open(path, verify, stop)?, stop)
    }

    /// The model of a file that is open.
    pub fn from_container(file: &Container, stop: Stop<'_>) -> Result<Self> {
        file.expect(Kind::Trie)?;
        let vocabulary = read_words(file, file.flags)?;
        let order = file.order();
        let mut levels = Vec::with_capacity(order);
        for length in 1..=order {
            levels.push(Level::read(file, length)?);
        }
        let unigrams = levels[0].nodes();
        if unigrams != vocabulary.len() {
            let words = vocabulary.len();
            return Err(file.failed(format!("{unigrams} single words, but {words} in all")));
        }
        for length in 1..=order {
            check_level(file, &levels, length, stop)?;
        }
        Ok(Self { vocabulary, levels })
    }
}

impl Level {
    /// Writes what there is before suffixes and numbers.
    pub(super) fn write_nodes(
        &self,
        writer: &mut Writer<'_>,
        length: usize,
        order: usize,
    ) -> Result<()> {
        if length > 1 {
            writer.section("words", length, &self.words)?;
        }
        if length < order {
            writer.section("children", length, &self.children)?;
        }
        Ok(())
    }

    fn write(&self, writer: &mut Writer<'_>, length: usize, order: usize) -> Result<()> {
        self.write_nodes(writer, length, order)?;
        if length > 1 {
            writer.section("suffix", length, &self.suffix)?;
        }
        if length < order {
            writer.section("backoff", length, &self.backoff)?;
        }
        writer.section("prob", length, &self.prob)?;
        writer.section("blank", length, &self.blank)
    }

    fn read(file: &Container, length: usize) -> Result<Self> {
        let nodes = file.count(length)?;
        let mut level = Self { prob: file.array_of("prob", length, nodes)?, ..Self::default() };
        level.blank = file.array::<u32>("blank", length)?.to_vec();
        if length > 1 {
            level.words = file.array_of("words", length, nodes)?;
            level.suffix = file.array_of("suffix", length, nodes)?;
        }
        if length < file.order() {
            level.children = file.array_of("children", length, nodes + 1)?;
            level.backoff = file.array_of("backoff", length, nodes)?;
        }
        Ok(level)
    }
}

/// Fails where queries would leave an array or never end.
fn check_level(file: &Container, levels: &[Level], length: usize, stop: Stop<'_>) -> Result<()> {
    let level = &levels[length - 1];
    let failed = |what: &str| Err(file.failed(format!("{what} of length {length} are damaged")));
    let nodes = level.nodes();
    let below = if length == 1 { 0 } else { levels[length - 2].nodes() };
    let (words, next) = (levels[0].nodes(), levels.get(length).map_or(0, Level::nodes));
    let ascends = |values: &[u32]| values.windows(2).all(|pair| pair[0] < pair[1]);
    let last = level.blank.last();
    if !ascends(&level.blank) || last.is_some_and(|&node| node as usize >= nodes) {
        return failed("blank n-grams");
    }
    if length == 1 && nodes < SPECIAL.len() {
        return failed("n-grams");
    }
    if let (Some(&first), Some(&end)) = (level.children.first(), level.children.last())
        && (first != 0 || end as usize != next)
    {
        return failed("children");
    }
    let inside = |values: &[u32], end: usize| values.iter().all(|&value| (value as usize) < end);
    let blocks = nodes.div_ceil(BLOCK);
    for first in (0..blocks).step_by(TASKS) {
        check(stop)?;
        let group = TASKS.min(blocks - first);
        let wrong = threads::map(group, group * BLOCK * 4, |task| {
            let from = (first + task) * BLOCK;
            let range = from..(from + BLOCK).min(nodes);
            if length > 1 && !inside(&level.words[range.clone()], words) {
                return Some("words");
            }
            if length > 1 && !inside(&level.suffix[range.clone()], below) {
                return Some("suffixes");
            }
            let number =
                |values: &[f32]| values[range.clone()].iter().all(|value| value.is_finite());
            if !number(&level.prob) || !level.backoff.is_empty() && !number(&level.backoff) {
                return Some("probabilities");
            }
            if level.children.is_empty() {
                return None;
            }
            let children = &level.children[range.start..=range.end];
            // A range that descends would be empty at best and end before it begins.
            if children.windows(2).any(|pair| pair[0] > pair[1]) || children[0] as usize > next {
                return Some("children");
            }
            None
        });
        if let Some(what) = wrong.into_iter().flatten().next() {
            return failed(what);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ngram::{BEGIN, END, Options, estimate};

    fn model() -> Model {
        let mut vocabulary = Vocabulary::new();
        let mut tokens = Vec::new();
        vocabulary.learn("a b c\na b\nb b c\nc a b\n", &mut tokens).unwrap();
        let options = Options {
            order: 3,
            interpolate_unigrams: true,
            discount_fallback: Some([0.5, 1.0, 1.5]),
            closed: false,
            ..Options::default()
        };
        estimate(&tokens, vocabulary, &options, &|| false).unwrap().0
    }

    #[test]
    fn a_model_comes_back_and_answers() {
        let model = model();
        let path = std::env::temp_dir().join(format!("lamina-binary-{}", std::process::id()));
        model.save_binary(&path, &|| false).unwrap();
        for verify in [Verify::Whole, Verify::Lazy] {
            let read = Model::load_binary(&path, verify, &|| false).unwrap();
            assert_eq!(read, model);
            let tokens = [3, 4, 5, END, 4, 3, 0, END];
            let scores = |model: &Model| model.score(&tokens, true, true, &|| false).unwrap();
            assert_eq!(scores(&read), scores(&model));
            assert_eq!(read.find(&[BEGIN, 3, 4]), model.find(&[BEGIN, 3, 4]));
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn damage_that_checksums_were_made_of_is_found() {
        let path = std::env::temp_dir().join(format!("lamina-damage-{}", std::process::id()));
        let damages: [(&str, fn(&mut Model)); 6] = [
            ("words of length 2", |model| model.levels[1].words[0] = 99),
            ("suffixes of length 3", |model| model.levels[2].suffix[1] = 99),
            ("children of length 1", |model| model.levels[0].children[2] = 99),
            ("children of length 2", |model| model.levels[1].children[0] = 1),
            ("probabilities of length 3", |model| model.levels[2].prob[0] = f32::NAN),
            ("blank n-grams of length 2", |model| model.levels[1].blank = vec![1, 1]),
        ];
        for (what, damage) in damages {
            let mut model = model();
            damage(&mut model);
            model.save_binary(&path, &|| false).unwrap();
            let error = Model::load_binary(&path, Verify::Whole, &|| false).unwrap_err();
            assert!(error.to_string().ends_with(&format!("{what} are damaged")), "{error}");
        }
        std::fs::remove_file(path).unwrap();
    }
}
