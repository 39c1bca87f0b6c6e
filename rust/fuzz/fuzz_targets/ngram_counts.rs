#![no_main]

use lamina_statistics::ngram::Shard;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("lamina-fuzz-counts-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("the folder for temporary files takes one");
    if let Ok(shard) = Shard::load(&path, &|| false) {
        let _ = shard.merge(&shard, &|| false);
    }
});
