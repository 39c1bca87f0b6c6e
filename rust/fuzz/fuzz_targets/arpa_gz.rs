#![no_main]

use lamina_statistics::ngram::Model;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("lamina-fuzz-gz-{}", std::process::id()));
    // Behind the two bytes that say so, for the fuzzer need not find them.
    let file = [&[0x1f, 0x8b], bytes].concat();
    std::fs::write(&path, file).expect("the folder for temporary files takes one");
    let _ = Model::load_arpa(&path, None, &|| false);
});
