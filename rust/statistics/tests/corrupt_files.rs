//! Files that were cut or changed: a typed error or a model, never a crash, a hang or memory
//! beyond ten times the file.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

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
        lamina_statistics::ngram::Model::load_arpa(path, None, &|| false)
            .map(|_| ())
            .map_err(|error| error.to_string())
    });
}

#[test]
fn trie() {
    use lamina_statistics::ngram::{Model, container::Verify};
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
