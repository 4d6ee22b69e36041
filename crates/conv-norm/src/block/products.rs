//! The convolutions of a block: `W ⋆ a`, and in a dual block also `W ⋆ b + Ẇ ⋆ a`.
//!
//! Forward, a and b are the input and its derivative; backward, they are the gradients of ż and of z, which lead to those of
//! ẋ and of x by the same rule.

use crate::filters::{Filters, LANES};
use crate::plan::{Direction, Packed, Plan, Scratch};
use crate::shape::{ConvShape, Geometry};

/// The filters of both.
pub(crate) struct Products {
    plan: Plan,
    weight: Packed,
    dot: Option<Packed>,
    /// Both in one, where the plan has a way for that.
    both: Option<Filters>,
    /// Where the plan leads to columns that are yet to be added up.
    columns: Option<Columns>,
}

/// Memory of one thread.
#[derive(Default)]
pub(crate) struct Memory {
    scratch: Scratch,
    other: Scratch,
    columns: [Vec<f32>; 2],
    sum: Vec<f32>,
}

impl Products {
    /// `weight`, `dot`: W and Ẇ, `[outputs, inputs / groups, kernel, kernel]`.
    pub(crate) fn new(shape: &ConvShape, direction: Direction, weight: &[f32], dot: Option<&[f32]>) -> Self {
        if direction == Direction::InputGradient && shape.inputs < LANES && shape.geometry.groups == 1 {
            let columns = Columns(*shape);
            let shape = columns.shape();
            let pack = |weight| Packed::new(&shape, direction, &columns.weights(weight), &[]);
            let (plan, weight, dot) = (Plan::new(&shape, direction), pack(weight), dot.map(pack));
            return Self { plan, weight, dot, both: None, columns: Some(columns) };
        }
        let pack = |weight| Packed::new(shape, direction, weight, &[]);
        let (plan, weight, dot) = (Plan::new(shape, direction), pack(weight), dot.map(pack));
        let both = dot.as_ref().and_then(|dot| plan.stack(&weight, dot));
        Self { plan, weight, dot, both, columns: None }
    }

    /// For the images of one task: `first = W ⋆ a`, `second = W ⋆ b + Ẇ ⋆ a`. An empty `b` is zero; an empty result is not
    /// computed.
    pub(crate) fn run(&self, [a, b]: [&[f32]; 2], [first, second]: [&mut [f32]; 2], memory: &mut Memory) {
        let Memory { scratch, other, columns, sum } = memory;
        if let Some(both) = self.both.as_ref().filter(|_| !b.is_empty() && !second.is_empty()) {
            return self.plan.run_pair(&self.weight, both, [a, b], [first, second], [scratch, other]);
        }
        let mut product = |filters, a, out: &mut [f32]| match &self.columns {
            None => self.plan.run(filters, a, out, scratch),
            Some(fold) => {
                let [columns, padded] = &mut *columns;
                columns.resize(fold.count(out.len()), 0.0);
                self.plan.run(filters, a, columns, scratch);
                fold.add_up(columns, padded, out);
            }
        };
        if !first.is_empty() {
            product(&self.weight, a, first);
        }
        let Some(dot) = self.dot.as_ref().filter(|_| !second.is_empty()) else { return };
        product(dot, a, second);
        if !b.is_empty() {
            sum.resize(second.len(), 0.0);
            product(&self.weight, b, sum);
            for (second, sum) in second.iter_mut().zip(sum) {
                *second += *sum;
            }
        }
    }
}

/// The gradient of an input of few channels: each pixel's products with a whole filter are a column, which fills vectors
/// where the channels do not, and columns are added up where filters overlap.
struct Columns(ConvShape);

impl Columns {
    /// The convolution whose input gradient the columns are.
    fn shape(&self) -> ConvShape {
        let Self(ConvShape { images, outputs, out_height, out_width, .. }) = *self;
        let geometry = Geometry { kernel: 1, stride: 1, padding: 0, groups: 1 };
        let inputs = self.values_of_filter();
        ConvShape::new([images, out_height, out_width, inputs], outputs, geometry).precise()
    }

    fn values_of_filter(&self) -> usize {
        self.0.geometry.kernel.pow(2) * self.0.inputs
    }

    /// From `[outputs, inputs, kernel, kernel]` to `[outputs, kernel, kernel, inputs]`.
    fn weights(&self, weights: &[f32]) -> Vec<f32> {
        let taps = self.0.geometry.kernel.pow(2);
        let filters = weights.chunks_exact(self.values_of_filter());
        filters
            .flat_map(|filter| (0..taps).flat_map(move |tap| filter.iter().skip(tap).step_by(taps).copied()))
            .collect()
    }

    /// Values of the columns of images of so many values.
    fn count(&self, values: usize) -> usize {
        values / self.0.input_values() * self.0.out_pixels() * self.values_of_filter()
    }

    /// `padded` is memory for an image with its margin.
    fn add_up(&self, columns: &[f32], padded: &mut Vec<f32>, out: &mut [f32]) {
        let Self(ConvShape { height, width, inputs, geometry, out_width, .. }) = *self;
        let Geometry { kernel, stride, padding, .. } = geometry;
        let (row, line) = ((width + 2 * padding) * inputs, kernel * inputs);
        let images = columns.chunks_exact(self.0.out_pixels() * self.values_of_filter());
        for (columns, out) in images.zip(out.chunks_exact_mut(self.0.input_values())) {
            padded.clear();
            padded.resize((height + 2 * padding) * row, 0.0);
            for (pixel, column) in columns.chunks_exact(self.values_of_filter()).enumerate() {
                let corner = (pixel / out_width * row + pixel % out_width * inputs) * stride;
                for (tap, values) in column.chunks_exact(line).enumerate() {
                    let sums = &mut padded[corner + tap * row..][..line];
                    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                }
            }
            let inner = padded.chunks_exact(row).skip(padding);
            for (padded, out) in inner.zip(out.chunks_exact_mut(width * inputs)) {
                out.copy_from_slice(&padded[padding * inputs..][..width * inputs]);
            }
        }
    }
}
