//! Texts in pieces for the threads, and blocks of them between which a caller can stop.

/// Bytes of text between two looks at Ctrl-C.
pub const BLOCK: usize = 1 << 18;
/// Bytes of text from which a piece may end.
const PIECE: usize = 1 << 14;

/// `text` in pieces that end after a line break between two visible characters: there the regular
/// expression of GPT-2 always ends a word.
pub fn cut(text: &str) -> Vec<&str> {
    let visible = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut from = PIECE;
    while let Some(found) =
        text.as_bytes().get(from..).and_then(|rest| rest.iter().position(|&byte| byte == b'\n'))
    {
        let end = from + found + 1;
        from = end;
        if visible(text[..end - 1].chars().next_back()) && visible(text[end..].chars().next()) {
            pieces.push(&text[start..end]);
            start = end;
            from = end + PIECE;
        }
    }
    pieces.push(&text[start..]);
    pieces
}

/// `piece` in pieces of at most a block, so that Ctrl-C need not wait for all of it. They end before
/// a blank between two visible characters, where a word ends; a text without has hardly any words
/// that could be cut.
pub fn bounded(piece: &str) -> Vec<&str> {
    let visible = |byte: u8| !byte.is_ascii_whitespace();
    let mut pieces = Vec::new();
    let mut rest = piece;
    while rest.len() > BLOCK {
        let bytes = rest.as_bytes();
        let blank = (BLOCK / 2..BLOCK)
            .rev()
            .find(|&i| bytes[i] == b' ' && visible(bytes[i - 1]) && visible(bytes[i + 1]));
        let end = blank.unwrap_or_else(|| floor_char_boundary(rest, BLOCK));
        let (first, after) = rest.split_at(end);
        pieces.push(first);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// The end of the last character of `text` that ends at `end` or before.
pub(crate) fn floor_char_boundary(text: &str, end: usize) -> usize {
    let mut end = end.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

/// The first items, at least one, up to about a block of bytes, and their bytes.
pub fn first_block<T>(items: &[T], len: impl Fn(&T) -> usize) -> (&[T], usize) {
    let mut bytes = 0;
    let mut count = 0;
    while count < items.len() && (count == 0 || bytes < BLOCK) {
        bytes += len(&items[count]);
        count += 1;
    }
    (&items[..count], bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_the_text_and_end_between_visible_characters() {
        let line = "To be, or not to be\n";
        let text = format!("{}\n  \n{}", line.repeat(3_000), line.repeat(3_000));
        let pieces = cut(&text);
        assert!(pieces.len() > 4);
        assert_eq!(pieces.concat(), text);
        for pair in pieces.windows(2) {
            assert!(pair[0].ends_with("be\n") && pair[1].starts_with("To"));
        }
        assert_eq!(cut(""), [""]);
    }

    #[test]
    fn long_pieces_are_counted_in_shorter_ones() {
        let text = "To be or not ".repeat(BLOCK / 8);
        let pieces = bounded(&text);
        assert!(pieces.len() > 1);
        assert_eq!(pieces.concat(), text);
        for pair in pieces.windows(2) {
            assert!(!pair[0].ends_with(' ') && pair[1].starts_with(' '));
        }
        let run = "\u{6f22}".repeat(BLOCK);
        assert_eq!(bounded(&run).concat(), run);
        assert_eq!(bounded(""), [""]);
    }

    #[test]
    fn blocks_have_an_item_and_end_with_the_one_that_fills_them() {
        let items = [BLOCK - 1, 1, 1];
        assert_eq!(first_block(&items, |&len| len), (&items[..2], BLOCK));
        assert_eq!(first_block(&[2 * BLOCK, 1], |&len| len), (&[2 * BLOCK][..], 2 * BLOCK));
        assert_eq!(first_block(&[0; 0], |&len| len), (&[][..], 0));
    }
}
