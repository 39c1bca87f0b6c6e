//! Files that were cut or changed: a typed error or a model, never a crash, a hang or memory
//! beyond ten times the file.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use lamina_statistics::ngram::container::Verify;
use lamina_statistics::ngram::{Form, Model};

/// The system's allocator, which knows how much is in use at most.
struct Counting;

thread_local! {
    static IN_USE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    let in_use = IN_USE.get() + change;
    IN_USE.set(in_use);
    PEAK.set(PEAK.get().max(in_use));
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Memory that a parser may use beyond ten times its file: tables of fixed size, messages.
const FIXED: usize = 1 << 20;
const ROUNDS: usize = 2_000;

/// A few random numbers; the same ones each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

/// Cuts and changes `whole` 2,000 times and has each result parsed.
fn survives(name: &str, whole: &[u8], parse: impl Fn(&Path) -> Result<(), String>) {
    let folder = std::env::temp_dir().join(format!("lamina-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, whole).unwrap();
    parse(&path).unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..ROUNDS {
        let mut bytes = whole.to_vec();
        if round % 2 == 0 {
            bytes.truncate(random.below(whole.len()));
        } else {
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        let before = IN_USE.get();
        PEAK.set(before);
        if let Err(message) = parse(&path) {
            assert!(!message.is_empty(), "{name}, round {round}");
        }
        let used = (PEAK.get() - before) as usize;
        assert!(used <= 10 * bytes.len() + FIXED, "{name}, round {round}: {used} bytes");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

const ARPA: &str = "\\data\\\nngram 1=4\nngram 2=2\n\n\\1-grams:\n-1.5\t<unk>\n-99\t<s>\t-0.3\n\
    -0.7\t</s>\n-0.5\ta\t-0.2\n\n\\2-grams:\n-0.3\t<s> a\n-0.4\ta </s>\n\n\\end\\\n";

#[test]
fn arpa() {
    survives("model.arpa", ARPA.as_bytes(), |path| {
        Model::load_arpa(path, None, &|| false).map(|_| ()).map_err(|error| error.to_string())
    });
}

#[test]
fn trie() {
    let path = std::env::temp_dir().join(format!("lamina-whole-trie-{}", std::process::id()));
    let model = Model::read_arpa(ARPA.as_bytes(), "test", None, &|| false).unwrap();
    model.save_binary(&path, &|| false).unwrap();
    let whole = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    for verify in [Verify::Whole, Verify::Lazy] {
        survives(&format!("model-{verify:?}.bin"), &whole, |path| {
            Model::load_binary(path, verify, &|| false)
                .and_then(|model| model.score(&[0, 2, 3, 2], true, true, &|| false))
                .map(|_| ())
                .map_err(|error| error.to_string())
        });
    }
}

#[test]
fn word_vectors() {
    use lamina_statistics::word2vec::Vectors;
    use lamina_statistics::word2vec::format::Layout;
    let text = "3 2\nthe 0.5 -1.25\nK\u{f6}nig 1e-3 2\nx 0 7\n".as_bytes().to_vec();
    let mut binary = b"3 2\n".to_vec();
    for word in ["the", "K\u{f6}nig", "x"] {
        binary.extend(word.bytes().chain(*b" \x00\x00\x80\x3f\x00\x00\x20\xc0\n"));
    }
    let layouts = [(true, false, &binary), (false, false, &text), (false, true, &text)];
    for (binary, no_header, whole) in layouts {
        // The first line, as one of a word and its vector, then has another width.
        let whole = if no_header { &whole[4..] } else { whole };
        survives(&format!("vectors-{binary}-{no_header}"), whole, |path| {
            let layout = Layout { binary, no_header };
            Vectors::load(path, layout, usize::MAX, &|| false)
                .map(|_| ())
                .map_err(|error| error.to_string())
        });
    }
}

/// A larger model, whose tables have more than a line.
fn many() -> Model {
    let words: Vec<String> = (0..40).map(|word| format!("w{word}")).collect();
    let mut arpa = String::from("\\data\\\nngram 1=43\nngram 2=200\nngram 3=100\n\n\\1-grams:\n");
    for word in ["<unk>", "<s>", "</s>"].into_iter().chain(words.iter().map(String::as_str)) {
        arpa.push_str(&format!("-1.5\t{word}\t-0.3\n"));
    }
    arpa.push_str("\n\\2-grams:\n");
    for at in 0..200 {
        let ngram = format!("{} {}", words[at % 40], words[(at * 7 + at / 40) % 40]);
        arpa.push_str(&format!("-0.{at}\t{ngram}\t-0.{}\n", at % 9));
    }
    arpa.push_str("\n\\3-grams:\n");
    for at in 0..100 {
        let ngram = format!("{} {} {}", words[at % 40], words[at * 3 % 40], words[at / 40]);
        arpa.push_str(&format!("-0.{at}\t{ngram}\n"));
    }
    arpa.push_str("\n\\end\\\n");
    Model::read_arpa(arpa.as_bytes(), "test", None, &|| false).unwrap()
}

#[test]
fn compressed_arpa() {
    let folder = std::env::temp_dir().join(format!("lamina-whole-gz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model.arpa.gz");
    many().save_arpa(&path, &|| false).unwrap();
    let whole = std::fs::read(&path).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    survives("model.arpa.gz", &whole, |path| {
        Model::load_arpa(path, None, &|| false).map(|_| ()).map_err(|error| error.to_string())
    });
}

#[test]
fn probing_and_compact() {
    let folder = std::env::temp_dir().join(format!("lamina-whole-forms-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model.bin");
    for kind in ["probing", "compact"] {
        Form::Trie(many()).save_binary(&path, kind, 8, &|| false).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for verify in [Verify::Whole, Verify::Lazy] {
            survives(&format!("{kind}-{verify:?}.bin"), &whole, |path| {
                let model = Form::load_binary(path, verify, &|| false)
                    .map_err(|error| error.to_string())?;
                let tokens: Vec<u32> = (0..200).map(|at| 2 + at * 7 % 41).collect();
                let ask = || {
                    model.score(&tokens, true, true, &|| false)?;
                    model.next(&tokens[..3], true)?;
                    model.state_after(&tokens, true)
                };
                ask().map(|_| ()).map_err(|error| error.to_string())
            });
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_file_that_unpacks_to_very_much_is_refused() {
    use std::io::Write;
    let path = std::env::temp_dir().join(format!("lamina-bomb-{}.gz", std::process::id()));
    let mut file = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(9));
    file.write_all(b"\\data\\\nngram 1=3\nngram 2=90000000\n\n\\1-grams:\n").unwrap();
    file.write_all(b"-1\t<unk>\n-1\t<s>\n-1\t</s>\n\n\\2-grams:\n").unwrap();
    for _ in 0..100_000 {
        file.write_all(&b"-1\t<s> </s>\n".repeat(10)).unwrap();
    }
    std::fs::write(&path, file.finish().unwrap()).unwrap();
    let error = Model::load_arpa(&path, None, &|| false).unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    assert!(error.contains("unpacks to more than"), "{error}");
}
#[test]
fn counts() {
    use lamina_statistics::ngram::{Shard, Vocabulary};
    let path = std::env::temp_dir().join(format!("lamina-whole-counts-{}", std::process::id()));
    let (mut vocabulary, mut tokens) = (Vocabulary::new(), Vec::new());
    vocabulary.learn("a b c\nb a\nc c a b\n", &mut tokens).unwrap();
    let shard = Shard::count(&tokens, vocabulary, 3, None, &|| false).unwrap();
    shard.save(&path, &|| false).unwrap();
    let whole = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    survives("model.counts", &whole, |path| {
        Shard::load(path, &|| false)
            .and_then(|read| read.merge(&shard, &|| false))
            .map(|_| ())
            .map_err(|error| error.to_string())
    });
}
