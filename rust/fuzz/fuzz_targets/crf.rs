#![no_main]

use lamina_statistics::crf::model::{Arrays, Model};
use lamina_statistics::crf::{Data, Names, tag::Tagger};
use libfuzzer_sys::fuzz_target;

/// Numbers that each byte stands for: small ones, near zero.
fn numbers(bytes: &[u8]) -> Vec<i64> {
    bytes.iter().map(|&byte| i64::from(byte as i8)).collect()
}

fuzz_target!(|parts: (
    Vec<u8>,
    Vec<u8>,
    Vec<u8>,
    Vec<u8>,
    Vec<u8>,
    Vec<u8>,
    Vec<f64>,
    Vec<f64>
)| {
    let (labels, label_ends, names, name_ends, ends, of, weights, transitions) = parts;
    let arrays = Arrays {
        ends: numbers(&ends),
        labels: of.iter().map(|&label| u16::from(label)).collect(),
        present: transitions.iter().map(|weight| *weight != 0.0).collect(),
        weights,
        transitions,
    };
    let Ok(labels) = Names::from_parts("labels", &labels, &numbers(&label_ends)) else { return };
    let Ok(names) = Names::from_parts("names", &names, &numbers(&name_ends)) else { return };
    if let Ok(model) = Model::from_arrays(labels, names, &arrays) {
        let mut data = Data::new();
        data.push(0, 1.0);
        data.end_item();
        data.end_sequence();
        let _ = Tagger::new(&model).best(&data);
        let _ = Tagger::new(&model).marginals(&data);
    }
});
