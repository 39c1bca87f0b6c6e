//! The fully connected layer: product, bias and activation in one pass.
//!
//! forward:  y = f(x w' + b)
//! backward: dz = dy f'(z), dx = dz w, dw = dz' x, db = sum of the rows of dz

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

use super::epilogue::{Activation, Epilogue, slope_row};
use super::{Mat, Target, multiply, product};
use crate::layout::flat;
use crate::{Element, Error, Result, check_shape, memory, threads};

/// What the gradient of the activation needs.
#[derive(Debug)]
pub enum Saved<T> {
    /// Nothing, or the output itself.
    Output,
    /// The values before the activation, `[M, O]`.
    Before(Array2<T>),
}

/// `y` `[M, O]` from `x` `[M, I]`, `weight` `[O, I]` and `bias` `[O]`. Values before the activation
/// are kept where its gradient needs them and `save` is set.
pub fn linear_forward<T: Element>(
    x: ArrayView2<'_, T>,
    weight: ArrayView2<'_, T>,
    bias: Option<ArrayView1<'_, T>>,
    activation: Activation,
    save: bool,
) -> Result<(Array2<T>, Saved<T>)> {
    check_shape("linear_forward", "weight", &[weight.nrows(), x.ncols()], weight.shape())?;
    let bias = bias.map(|bias| bias.as_standard_layout().into_owned());
    if let Some(bias) = &bias {
        check_shape("linear_forward", "bias", &[weight.nrows()], bias.shape())?;
    }
    let (m, o) = (x.nrows(), weight.nrows());
    let mut y = memory::unfilled_array((m, o));
    let mut before = (save && activation.saves_input()).then(|| memory::unfilled_array((m, o)));
    let epilogue = Epilogue {
        bias: bias.as_ref().and_then(|bias| bias.as_slice()),
        activation,
        before: before
            .as_mut()
            .map(|b: &mut Array2<T>| Target { start: b.as_mut_ptr(), stride: o }),
    };
    let c = Target { start: y.as_mut_ptr(), stride: o };
    multiply(Mat::of(x), Mat::of(weight.reversed_axes()), c, false, &epilogue);
    Ok((y, before.map_or(Saved::Output, Saved::Before)))
}

/// Gradients of `x`, `weight` and `bias`, each where `needs` asks for it. `kept` is the output, or
/// what [`linear_forward`] saved; an identity needs none.
pub fn linear_backward<T: Element>(
    dy: ArrayView2<'_, T>,
    x: ArrayView2<'_, T>,
    weight: ArrayView2<'_, T>,
    activation: Activation,
    kept: Option<ArrayView2<'_, T>>,
    needs: [bool; 3],
) -> Result<(Option<Array2<T>>, Option<Array2<T>>, Option<Array1<T>>)> {
    let (m, o) = (x.nrows(), weight.nrows());
    check_shape("linear_backward", "dy", &[m, o], dy.shape())?;
    check_shape("linear_backward", "weight", &[o, x.ncols()], weight.shape())?;
    let dy = dy.as_standard_layout();
    let dz = match kept {
        Some(kept) if activation != Activation::Identity => {
            check_shape("linear_backward", "kept", &[m, o], kept.shape())?;
            let kept = kept.as_standard_layout();
            let (dy, kept) = (flat(&dy), flat(&kept));
            let mut dz = memory::unfilled_array((m, o));
            let piece = threads::piece_len(m * o, 4);
            let out = dz.as_slice_mut().expect("a new array");
            threads::for_each_piece(out, piece, m * o * 4, |i, dz| {
                let range = i * piece..i * piece + dz.len();
                slope_row(activation, &dy[range.clone()], &kept[range], dz);
            });
            dz.into()
        }
        None if activation != Activation::Identity => {
            let message = "expected what the activation kept, got none";
            return Err(Error::value("linear_backward", "kept", message));
        }
        _ => dy,
    };
    let dx = needs[0].then(|| product(dz.view(), weight)).transpose()?;
    let dweight = needs[1].then(|| product(dz.t(), x)).transpose()?;
    let dbias = needs[2].then(|| column_sums(dz.view()));
    Ok((dx, dweight, dbias))
}

/// Sum of the rows of `x` `[M, N]`: blocks of rows first, then the blocks in order.
pub fn column_sums<T: Element>(x: ArrayView2<'_, T>) -> Array1<T> {
    const ROWS: usize = 64;
    let blocks = x.nrows().div_ceil(ROWS);
    let partial = threads::map(blocks, x.len(), |block| {
        let rows = block * ROWS..((block + 1) * ROWS).min(x.nrows());
        let mut sum = Array1::zeros(x.ncols());
        for row in x.slice(ndarray::s![rows, ..]).axis_iter(Axis(0)) {
            sum += &row;
        }
        sum
    });
    let mut total = Array1::zeros(x.ncols());
    for sum in partial {
        total += &sum;
    }
    total
}
