#![no_main]

use lamina_statistics::ngram::{Model, container::Verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("lamina-fuzz-binary-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("the folder for temporary files takes one");
    if let Ok(model) = Model::load_binary(&path, Verify::Lazy, &|| false) {
        let _ = model.score(&[0, 2, 3, 2], true, true, &|| false);
    }
});
