//! Elements by their place and triangles against the definition.

use lamina_kernels::selection::{gather, gather_backward, triangle};
use lamina_kernels::threads;
use ndarray::{Array3, array};

use crate::noise;

#[test]
fn gathered_elements_are_those_of_the_index() {
    for (o, n, k, i) in [(1, 1, 1, 1), (3, 5, 9, 1), (1, 40, 70, 300), (900, 7, 3, 2), (2, 4, 0, 3)]
    {
        let x = noise::<f32, _>((o, n, i), 1);
        let ids =
            Array3::from_shape_fn((o, k, i), |(o, k, i)| ((o * 7 + k * 5 + i * 3) % n) as i64);
        let dy = noise::<f32, _>((o, k, i), 2);
        let mut dx = Array3::zeros((o, n, i));
        for ((o, k, i), &id) in ids.indexed_iter() {
            dx[[o, id as usize, i]] += dy[[o, k, i]];
        }
        for threads in [1, 3] {
            threads::set_num_threads(threads);
            let y = gather(x.view(), ids.view()).unwrap();
            assert!(
                y.indexed_iter().all(|((o, k, i), &y)| y == x[[o, ids[[o, k, i]] as usize, i]])
            );
            assert_eq!(gather_backward(dy.view(), ids.view(), n).unwrap(), dx);
        }
    }
}

#[test]
fn an_index_outside_is_refused() {
    let x = array![[[1.0f32], [2.0]]];
    for (id, given) in [(2i64, "2"), (-1, "-1")] {
        let ids = array![[[0], [id]]];
        let error = gather(x.view(), ids.view()).unwrap_err().to_string();
        assert_eq!(error, format!("[gather] index: expected 0 to below 2, got {given}"));
        let error = gather_backward(x.view(), ids.view(), 2).unwrap_err().to_string();
        assert_eq!(error, format!("[gather_backward] index: expected 0 to below 2, got {given}"));
    }
    // Whose place among the numbers could be counted wrongly.
    let wide = array![[[1.0f32, 2.0, 3.0]]];
    for id in [1, -1, i64::MAX, i64::MAX / 3 * 2, 1 << 62] {
        assert!(gather(wide.view(), array![[[0, id, 0]]].view()).is_err(), "{id}");
    }
}

#[test]
fn triangles_end_at_the_diagonal() {
    for (o, r, c) in [(1, 1, 1), (2, 5, 3), (3, 40, 900), (2, 0, 3), (2, 3, 0)] {
        let x = noise::<f32, _>((o, r, c), 1) + 10.0;
        for diagonal in [i64::MIN, -4, -1, 0, 2, 7, i64::MAX] {
            for lower in [true, false] {
                let y = triangle(x.view(), diagonal, lower);
                for ((o, i, j), &y) in y.indexed_iter() {
                    let on = (i as i64).saturating_add(diagonal);
                    let inside = if lower { j as i64 <= on } else { j as i64 >= on };
                    assert_eq!(y, if inside { x[[o, i, j]] } else { 0.0 }, "{diagonal} {lower}");
                }
            }
        }
    }
}
