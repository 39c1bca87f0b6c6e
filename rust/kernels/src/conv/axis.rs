//! One axis of outputs as sums over windows.

use std::ops::Range;

use super::Shape;

/// One axis of outputs and the inputs that their taps see.
pub(super) struct Axis {
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// Inputs between those of one output and the next.
    pub(super) step: usize,
    /// Remainders of inputs by `step`, each a plane of the copy.
    pub(super) planes: Vec<usize>,
    /// Quotient of the first input in the copy for output 0, and how many more than outputs it holds.
    pub(super) low: isize,
    pub(super) margin: usize,
    pub(super) taps: Vec<Tap>,
}

/// A tap on one axis: where the window of output 0 begins in which plane.
pub(super) struct Tap {
    pub(super) plane: usize,
    pub(super) at: usize,
}

/// Inputs that outputs see.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    /// Zeros before those that exist.
    pub(super) before: usize,
    /// The first that exists, how many do, and how far apart they lie.
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) step: usize,
}

impl Axis {
    /// `taps` says which input output 0 sees by each tap.
    fn new(outputs: usize, inputs: usize, step: usize, taps: Vec<isize>) -> Self {
        let split = |input: isize| {
            let step = step as isize;
            (input.div_euclid(step), input.rem_euclid(step) as usize)
        };
        let quotients = || taps.iter().map(|&input| split(input).0);
        let low = quotients().min().expect("a tap");
        let margin = (quotients().max().expect("a tap") - low) as usize;
        let mut planes: Vec<_> = taps.iter().map(|&input| split(input).1).collect();
        planes.sort_unstable();
        planes.dedup();
        let tap = |&input: &isize| {
            let (quotient, remainder) = split(input);
            let plane = planes.iter().position(|&plane| plane == remainder);
            Tap { plane: plane.expect("in the list"), at: (quotient - low) as usize }
        };
        let taps = taps.iter().map(tap).collect();
        Self { outputs, inputs, step, planes, low, margin, taps }
    }

    pub(super) fn forward(shape: &Shape, axis: usize) -> Self {
        let [pad, dilation] = [shape.pad[axis], shape.dilation[axis]].map(|n| n as isize);
        let taps = (0..shape.kernel[axis] as isize).map(|k| k * dilation - pad).collect();
        Self::new(shape.out[axis], shape.image[axis], shape.stride[axis], taps)
    }

    /// The same for the gradient of every `stride`th input from number `phase` on, and which taps of
    /// the kernel they see; `None` if they see none.
    pub(super) fn backward(shape: &Shape, axis: usize, phase: usize) -> Option<(Self, Vec<usize>)> {
        let [pad, dilation] = [shape.pad[axis], shape.dilation[axis]].map(|n| n as isize);
        let stride = shape.stride[axis] as isize;
        let place = |k: usize| phase as isize + pad - k as isize * dilation;
        let seen = (0..shape.kernel[axis]).filter(|&k| place(k).rem_euclid(stride) == 0);
        let seen: Vec<_> = seen.collect();
        let taps: Vec<_> = seen.iter().map(|&k| place(k).div_euclid(stride)).collect();
        let outputs = shape.image[axis].saturating_sub(phase).div_ceil(shape.stride[axis]);
        let some = !taps.is_empty() && outputs > 0;
        some.then(|| (Self::new(outputs, shape.out[axis], 1, taps), seen))
    }

    /// Taps by which output `index` sees inputs rather than zeros.
    pub(super) fn seeing(&self, index: usize) -> Range<usize> {
        let sees = |tap: &Tap| {
            let quotient = self.low + (index + tap.at) as isize;
            let input = quotient * self.step as isize + self.planes[tap.plane] as isize;
            (0..self.inputs as isize).contains(&input)
        };
        let first = self.taps.iter().position(sees).unwrap_or(0);
        first..self.taps.iter().rposition(sees).map_or(first, |last| last + 1)
    }

    /// Inputs of plane `plane` that outputs from `from` on see, as many as `held`.
    pub(super) fn inputs_of(&self, plane: usize, from: usize, held: usize) -> Seen {
        let (step, plane) = (self.step as isize, self.planes[plane] as isize);
        let start = self.low + from as isize;
        let end = (self.inputs as isize - plane + step - 1).div_euclid(step);
        let before = (-start).clamp(0, held as isize);
        let count = (end - start - before).clamp(0, held as isize - before);
        let first = if count > 0 { (start + before) * step + plane } else { 0 };
        let [before, first, count] = [before, first, count].map(|number| number as usize);
        Seen { before, first, count, step: self.step }
    }
}
