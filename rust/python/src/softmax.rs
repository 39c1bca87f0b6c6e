//! Softmax and log-softmax along the middle axis.

use lamina_kernels::softmax;
use ndarray::Ix3;

use crate::convert::{of_one, of_two};

of_one!(softmax_forward, softmax::forward, (x: Ix3), "softmax", |n| n * 4, "Softmax.");
of_two!(
    softmax_backward, softmax::backward, (dy: Ix3, y: Ix3), "softmax", |n| n * 2,
    "Gradient of the input of softmax."
);
of_one!(
    log_softmax_forward, softmax::log_forward, (x: Ix3), "softmax", |n| n * 4,
    "Logarithm of the softmax."
);
of_two!(
    log_softmax_backward, softmax::log_backward, (dy: Ix3, y: Ix3), "softmax", |n| n * 4,
    "Gradient of the input of log-softmax."
);
