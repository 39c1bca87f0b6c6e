#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = lamina_statistics::ngram::Model::read_arpa(bytes, "fuzz", None, &|| false);
});
