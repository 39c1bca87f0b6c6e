#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use lamina_statistics::ngram::container::{Verify, checksum};
use lamina_statistics::ngram::{Form, Options, Totals, Verbosity, Vocabulary, estimate};
use libfuzzer_sys::fuzz_target;

const HEADER: usize = 64;

fn path() -> PathBuf {
    std::env::temp_dir().join(format!("lamina-fuzz-binary-{}", std::process::id()))
}

/// A file of a small model in each form.
fn whole_files() -> &'static [Vec<u8>] {
    static FILES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let (mut vocabulary, mut tokens) = (Vocabulary::new(), Vec::new());
        let text = "a b c a b\nb c a\nc c a b\n\na b c d\n";
        vocabulary.learn(text, &mut tokens).expect("no reserved words");
        let stop = || false;
        let (model, _) = estimate(&tokens, vocabulary, &Options::default(), &stop).expect("a text");
        let file = |kind| {
            let form = Form::Trie(model.clone());
            form.save_binary(&path(), kind, 8, &stop).expect("the folder takes a file");
            std::fs::read(path()).expect("it was just written")
        };
        ["trie", "probing", "compact"].map(file).into()
    })
}

/// Checksums as they should be, or nothing would be read but a damaged one.
fn mend(file: &mut [u8]) {
    let Some(header) = file.get(..HEADER) else { return };
    let number =
        |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    let (start, bytes) = (number(24) as usize, number(32) as usize);
    let table = start.checked_add(bytes).and_then(|end| file.get(start..end)).map(checksum);
    if let Some(table) = table {
        file[48..56].copy_from_slice(&table.to_le_bytes());
    }
    let sum = checksum(&file[..HEADER - 8]);
    file[HEADER - 8..HEADER].copy_from_slice(&sum.to_le_bytes());
}

// Which file, and places in it with what is to stand there.
fuzz_target!(|input: (u8, Vec<(u16, u8)>)| {
    let files = whole_files();
    let mut file = files[usize::from(input.0) % files.len()].clone();
    for (at, byte) in input.1 {
        let at = usize::from(at) % file.len();
        file[at] = byte;
    }
    mend(&mut file);
    std::fs::write(path(), &file).expect("the folder for temporary files takes one");
    let Ok(model) = Form::load_binary(&path(), Verify::Lazy, &|| false) else { return };
    let _ = model.score(&[0, 2, 3, 2], true, true, &|| false);
    let _ = model.next(&[0, 2, 3], true);
    let mut totals = Totals::default();
    let _ = model.query("a b\n\nc a", true, Verbosity::Word, &mut totals, &|| false);
});
