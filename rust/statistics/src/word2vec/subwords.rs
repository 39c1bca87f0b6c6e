//! Parts of words, hashed as fastText hashes them.
//!
//! Reference: Bojanowski et al., Enriching word vectors with subword information, 2017.

/// Lengths of the parts in characters and number of buckets that they are hashed into.
#[derive(Debug, Clone, Copy)]
pub struct Subwords {
    /// Shortest.
    pub min_n: usize,
    /// Longest; with less than `min_n` there are none.
    pub max_n: usize,
    /// How many buckets.
    pub buckets: u32,
}

impl Subwords {
    /// Appends the buckets of the parts of `word`, which `<` and `>` enclose, to `found`.
    pub fn append(&self, word: &str, found: &mut Vec<u32>) {
        if self.max_n < self.min_n || self.buckets == 0 {
            return;
        }
        let enclosed = format!("<{word}>");
        let bytes = enclosed.as_bytes();
        for (start, _) in enclosed.char_indices() {
            let mut end = start;
            for length in 1..=self.max_n {
                if end == bytes.len() {
                    break;
                }
                end += 1;
                while !enclosed.is_char_boundary(end) {
                    end += 1;
                }
                // A bracket alone says nothing.
                let bracket = length == 1 && (start == 0 || end == bytes.len());
                if length >= self.min_n && !bracket {
                    found.push(hash(&bytes[start..end]) % self.buckets);
                }
            }
        }
    }
}

/// FNV-1a with bytes taken as signed, as in fastText.
pub fn hash(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(2_166_136_261, |hash: u32, &byte| (hash ^ byte as i8 as u32).wrapping_mul(16_777_619))
}
