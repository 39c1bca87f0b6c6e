#![no_main]

use lamina_statistics::ngram::container::Verify;
use lamina_statistics::ngram::{Form, Totals, Verbosity};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("lamina-fuzz-binary-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("the folder for temporary files takes one");
    let Ok(model) = Form::load_binary(&path, Verify::Lazy, &|| false) else { return };
    let _ = model.score(&[0, 2, 3, 2], true, true, &|| false);
    let _ = model.next(&[0, 2, 3], true);
    let mut totals = Totals::default();
    let _ = model.query("a b\n\nc a", true, Verbosity::Word, &mut totals, &|| false);
});
