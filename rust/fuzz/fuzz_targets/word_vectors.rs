#![no_main]

use lamina_statistics::word2vec::Vectors;
use lamina_statistics::word2vec::format::Layout;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for (binary, no_header) in [(false, false), (true, false), (false, true)] {
        let layout = Layout { binary, no_header };
        let _ = Vectors::read(bytes, "fuzz", layout, usize::MAX, &|| false);
    }
});
