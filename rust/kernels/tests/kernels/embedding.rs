//! Rows of a table and their gradients.

use lamina_kernels::embedding::{backward, forward};
use ndarray::{Array1, array};

use crate::noise;

#[test]
fn repeated_ids_add_up_and_padding_gets_nothing() {
    let weight = array![[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0]];
    let ids = array![2i64, 0, 2];
    let y = forward(ids.view(), weight.view()).unwrap();
    assert_eq!(y, array![[5.0, 6.0], [1.0, 2.0], [5.0, 6.0]]);
    let dy = array![[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0]];
    let dweight = backward(dy.view(), ids.view(), 3, Some(0)).unwrap();
    assert_eq!(dweight, array![[0.0, 0.0], [0.0, 0.0], [6.0, 8.0]]);
}

#[test]
fn rows_of_any_width_are_copied_whole() {
    for width in [1, 3, 16, 35, 200, 1000] {
        let weight = noise::<f32, _>((300, width), 1);
        let ids = Array1::from_shape_fn(5000, |i| (i * i % 299) as i32);
        let y = forward(ids.view(), weight.view()).unwrap();
        for (id, y) in ids.iter().zip(y.rows()) {
            assert_eq!(y, weight.row(*id as usize));
        }
    }
}

#[test]
fn an_id_outside_the_table_is_named() {
    let weight = array![[1.0f32], [2.0]];
    for (id, text) in [(2, "got 2"), (-1, "got -1")] {
        let error = forward(array![0i32, id].view(), weight.view()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("[embedding_forward] input: expected ids from 0 to below 2, {text}")
        );
    }
}
