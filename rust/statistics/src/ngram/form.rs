//! The forms that a model comes in, and one way to ask them all.

use std::path::Path;

use super::backward::{self, Backward, check_tokens};
use super::container::{Container, Kind, Verify};
use super::state::{State, Step};
use super::{BEGIN, Compact, Model, Probing, Scores, Stop, Vocabulary};
use crate::{Error, Result};

/// A model in one of its forms.
#[derive(Debug, Clone)]
pub enum Form {
    /// What estimation and ARPA files give, and what can be written to those.
    Trie(Model),
    /// Tables of hashes, the fastest.
    Probing(Probing),
    /// The smallest, whose numbers are rounded.
    Compact(Compact),
}

/// Runs `$body` with `$model` as the model behind `$form`, `$trie` where that is a trie.
macro_rules! each_form {
    ($form:expr, $trie:ident => $with_trie:expr, $model:ident => $body:expr) => {
        match $form {
            Form::Trie($trie) => $with_trie,
            Form::Probing($model) => $body,
            Form::Compact($model) => $body,
        }
    };
}

impl Form {
    /// What [`Self::convert`] calls this form.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Trie(_) => "trie",
            Self::Probing(_) => "probing",
            Self::Compact(_) => "compact",
        }
    }

    /// The words and their ids.
    pub fn vocabulary(&self) -> &Vocabulary {
        each_form!(self, trie => &trie.vocabulary, model => &model.vocabulary)
    }

    /// Words in the longest n-grams.
    pub fn order(&self) -> usize {
        each_form!(self, trie => trie.order(), model => Backward::order(model))
    }

    /// How many n-grams of each length there are.
    pub fn counts(&self) -> Vec<usize> {
        each_form!(self, trie => trie.counts(), model => model.counts().to_vec())
    }

    /// Words that are there though the model has no estimate of their own for them.
    pub fn absent(&self) -> &[u32] {
        each_form!(self, trie => trie.absent(), model => model.absent())
    }

    /// The model as a trie, which the other forms cannot become again.
    pub fn trie(&self) -> Result<&Model> {
        match self {
            Self::Trie(model) => Ok(model),
            _ => {
                let message = format!(
                    "expected a model as a trie, got a {} one, which cannot be turned back",
                    self.kind()
                );
                Err(Error::value("ngram", "model", message))
            }
        }
    }

    /// The model in the form `kind`: `trie`, `probing`, or `compact` with codes of `bits` bits.
    pub fn convert(&self, kind: &str, bits: u32, stop: Stop<'_>) -> Result<Self> {
        match kind {
            "trie" => Ok(Self::Trie(self.trie()?.clone())),
            "probing" => Ok(Self::Probing(Probing::new(self.trie()?, stop)?)),
            "compact" => Ok(Self::Compact(Compact::new(self.trie()?, bits, stop)?)),
            _ => {
                let message = format!("expected trie, probing or compact, got {kind}");
                Err(Error::value("ngram", "kind", message))
            }
        }
    }

    /// Writes the model to `path` in lamina's own format, converted to `kind` if it is of another.
    pub fn save_binary(&self, path: &Path, kind: &str, bits: u32, stop: Stop<'_>) -> Result<()> {
        if kind != self.kind() {
            return self.convert(kind, bits, stop)?.save_binary(path, kind, bits, stop);
        }
        match self {
            Self::Compact(model) if model.code_bits() != bits => {
                let given = model.code_bits();
                let message = format!("expected {given}, as the model has, got {bits}");
                Err(Error::value("ngram", "bits", message))
            }
            Self::Trie(model) => model.save_binary(path, stop),
            Self::Probing(model) => model.save_binary(path, stop),
            Self::Compact(model) => model.save_binary(path, stop),
        }
    }

    /// Reads a model of any form.
    pub fn load_binary(path: &Path, verify: Verify, stop: Stop<'_>) -> Result<Self> {
        let file = Container::open(path, verify, stop)?;
        match file.kind {
            Kind::Trie => Model::from_container(&file, stop).map(Self::Trie),
            Kind::Probing => Probing::from_container(&file).map(Self::Probing),
            Kind::Compact => Compact::from_container(&file).map(Self::Compact),
            Kind::Counts => Err(file.failed("expected a model, got counts of n-grams")),
        }
    }

    /// Scores `tokens`: see [`Model::score`].
    pub fn score(
        &self,
        tokens: &[u32],
        begin: bool,
        sentences: bool,
        stop: Stop<'_>,
    ) -> Result<Scores> {
        each_form!(self, trie => trie.score(tokens, begin, sentences, stop), model => {
            check_tokens("ngram_score", &model.vocabulary, tokens)?;
            backward::score(model, tokens, begin, sentences, stop)
        })
    }

    /// Natural logarithms of the probabilities of all words after `tokens`: see [`Model::next`].
    pub fn next(&self, tokens: &[u32], sentences: bool) -> Result<Vec<f64>> {
        each_form!(self, trie => trie.next(tokens, sentences), model => {
            check_tokens("ngram_next", &model.vocabulary, tokens)?;
            Ok(backward::next(model, &backward::state(model, tokens, true, sentences)))
        })
    }

    /// One word after `state`.
    #[inline]
    pub fn step(&self, state: &State, word: u32) -> Result<Step> {
        if word as usize >= self.vocabulary().len() {
            check_tokens("ngram_step", self.vocabulary(), &[word])?;
        }
        Ok(self.known_step(state, word))
    }

    /// The same for a word that is known to be one of the vocabulary.
    #[inline]
    pub(super) fn known_step(&self, state: &State, word: u32) -> Step {
        each_form!(self,
            trie => trie.step_from(state, word),
            model => backward::step(model, state, word))
    }

    /// The state at the beginning of a sentence.
    pub fn begin_state(&self) -> State {
        each_form!(self,
            trie => trie.step_from(&State::NULL, BEGIN).state,
            model => backward::step(model, &State::NULL, BEGIN).state)
    }

    /// The state after `tokens`, which begin a text.
    pub fn state_after(&self, tokens: &[u32], sentences: bool) -> Result<State> {
        check_tokens("ngram_state", self.vocabulary(), tokens)?;
        Ok(each_form!(self,
            trie => trie.state_after(tokens, sentences),
            model => backward::state(model, tokens, true, sentences)))
    }
}
