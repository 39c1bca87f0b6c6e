//! Texts to ids and back.

use std::collections::HashMap;

pub(crate) use tokenizers::Tokenizer as Inner;
use tokenizers::{PaddingParams, PostProcessorWrapper, PreTokenizerWrapper, TruncationParams};

use crate::guard::guarded;
use crate::pieces::cut;
use crate::{COST, Error, Result, threads};

/// Texts to ids and back, by the rules of a `tokenizer.json`.
pub struct Tokenizer {
    inner: Inner,
    // Of the file, put back by `to_json`; encoding neither cuts nor pads.
    truncation: Option<TruncationParams>,
    padding: Option<PaddingParams>,
    // Ids below this all have a token.
    dense: u32,
    by_line: bool,
}

impl Tokenizer {
    pub(crate) fn new(mut inner: Inner) -> Result<Self> {
        let truncation = inner.get_truncation().cloned();
        let padding = inner.get_padding().cloned();
        let (dense, by_line) = guarded("tokenizer.json", || {
            inner.with_truncation(None)?;
            inner.with_padding(None);
            let mut ids: Vec<u32> = inner.get_vocab(true).into_values().collect();
            ids.sort_unstable();
            ids.dedup();
            let dense = ids.iter().zip(0..).take_while(|&(&id, expected)| id == expected).count();
            Ok((dense as u32, ends_lines(&inner)))
        })?;
        Ok(Self { inner, truncation, padding, dense, by_line })
    }

    /// Reads the text of a `tokenizer.json`.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        Self::new(guarded("tokenizer.json", || Inner::from_bytes(text))?)
    }

    /// Writes the text of a `tokenizer.json`.
    pub fn to_json(&self) -> Result<String> {
        guarded("tokenizer.json", || {
            let mut inner = self.inner.clone();
            inner.with_truncation(self.truncation.clone())?;
            inner.with_padding(self.padding.clone());
            inner.to_string(false)
        })
    }

    /// Each text in pieces whose ids, one after the other, are its own; with the index of the text.
    pub fn pieces<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> Vec<(usize, &'a str)> {
        let mut pieces = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            for piece in if self.by_line { cut(text) } else { vec![text] } {
                pieces.push((index, piece));
            }
        }
        pieces
    }

    /// Ids of each piece, on all threads.
    pub fn encode(
        &self,
        pieces: &[(usize, &str)],
        add_special_tokens: bool,
    ) -> Result<Vec<Vec<u32>>> {
        let bytes: usize = pieces.iter().map(|(_, piece)| piece.len()).sum();
        threads::map(pieces.len(), bytes * COST, |i| {
            guarded("encode", || {
                let encoding = self.inner.encode_fast(pieces[i].1, add_special_tokens)?;
                Ok(encoding.get_ids().to_vec())
            })
        })
        .into_iter()
        .collect()
    }

    /// Text of `ids`.
    pub fn decode(&self, ids: &[i64], skip_special_tokens: bool) -> Result<String> {
        let known = ids.iter().map(|&id| self.known(id)).collect::<Result<Vec<_>>>()?;
        guarded("decode", || self.inner.decode(&known, skip_special_tokens))
    }

    fn known(&self, id: i64) -> Result<u32> {
        match u32::try_from(id) {
            Ok(small) if small < self.dense || self.inner.id_to_token(small).is_some() => Ok(small),
            _ => Err(Error::value(
                "decode",
                "ids",
                format!("expected ids of the vocabulary, below {}, got {id}", self.dense),
            )),
        }
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Ids by token.
    pub fn vocab(&self) -> HashMap<String, u32> {
        self.inner.get_vocab(true)
    }

    /// Id of a token.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Token of an id.
    pub fn id_to_token(&self, id: i64) -> Option<String> {
        self.inner.id_to_token(u32::try_from(id).ok()?)
    }
}

/// Whether no rule looks across a line break between two visible characters.
fn ends_lines(inner: &Inner) -> bool {
    let plain = match inner.get_pre_tokenizer() {
        Some(PreTokenizerWrapper::ByteLevel(level)) => level.use_regex && !level.add_prefix_space,
        _ => false,
    };
    let adds =
        !matches!(inner.get_post_processor(), None | Some(PostProcessorWrapper::ByteLevel(_)));
    plain
        && !adds
        && inner.get_normalizer().is_none()
        && inner.get_added_tokens_decoder().values().all(|token| {
            !token.lstrip && !token.rstrip && !token.content.contains(char::is_whitespace)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpe::{Counts, count, learn};

    fn learnt() -> Tokenizer {
        let mut counts = Counts::default();
        for part in count(&["low lower lowest\n"; 4]).unwrap() {
            counts.add(part);
        }
        learn(&counts, 270, &["<end>".to_owned()], 2).unwrap()
    }

    #[test]
    fn ids_of_pieces_are_those_of_the_text_and_give_it_back() {
        let tokenizer = learnt();
        let text = "low lower \u{6f22}\n".repeat(4_000);
        let pieces = tokenizer.pieces(["", text.as_str()]);
        assert!(pieces.len() > 3 && pieces[0] == (0, "") && pieces[1].0 == 1);
        let ids = tokenizer.encode(&pieces, true).unwrap().concat();
        let whole = tokenizer.encode(&[(0, text.as_str())], true).unwrap();
        assert_eq!(ids, whole.concat());
        let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }

    #[test]
    fn json_gives_the_same_tokenizer() {
        let tokenizer = learnt();
        let json = tokenizer.to_json().unwrap();
        let read = Tokenizer::from_json(json.as_bytes()).unwrap();
        assert_eq!(read.to_json().unwrap(), json);
        assert_eq!(read.vocab(), tokenizer.vocab());
        assert_eq!((read.vocab_size(), read.by_line), (read.dense as usize, true));
        let end = i64::from(read.token_to_id("<end>").unwrap());
        assert_eq!(read.id_to_token(end).as_deref(), Some("<end>"));
        assert_eq!((read.id_to_token(-1), read.token_to_id("<begin>")), (None, None));
    }

    #[test]
    fn what_is_not_a_tokenizer_or_an_id_is_named() {
        let Err(error) = Tokenizer::from_json(b"{") else { panic!("read") };
        assert!(error.to_string().starts_with("tokenizer.json: "), "{error}");
        let tokenizer = learnt();
        let size = tokenizer.vocab_size();
        for id in [-1, size as i64, i64::MAX] {
            assert_eq!(
                tokenizer.decode(&[0, id], false).unwrap_err().to_string(),
                format!("[decode] ids: expected ids of the vocabulary, below {size}, got {id}")
            );
        }
    }
}
