//! A convolution of a whole batch: some images at a time, or all, as the size of its filters asks for.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::filters::Weights;
use crate::memory::with_memory;
use crate::plan::{Direction, Packed, Plan};
use crate::shape::ConvShape;
use crate::winograd::{Source, Wide};

/// The filters of a convolution, as the images of a batch are taken through them: some at a time, or all.
pub(crate) enum Convolution<'a> {
    ByTasks(Cow<'a, Packed>),
    Whole(Wide<'a>),
}

impl<'a> Convolution<'a> {
    /// From weights `[outputs, inputs / groups, kernel, kernel]`, which are packed where tasks need that.
    pub(crate) fn new(shape: &ConvShape, direction: Direction, weights: &'a [f32], bias: &'a [f32]) -> Self {
        let source = Source::Weights(Weights::new(shape, direction, weights));
        match Wide::of(shape, direction, source, bias) {
            Some(wide) => Self::Whole(wide),
            None => Self::ByTasks(Cow::Owned(Packed::new(shape, direction, weights, bias))),
        }
    }

    /// All images, channels last, and what becomes of the results of each task.
    pub(crate) fn run<T: Send>(
        &self,
        shape: &ConvShape,
        direction: Direction,
        x: &[f32],
        then: impl Fn(&mut [f32]) -> T + Sync,
    ) -> (Vec<f32>, Vec<T>) {
        let mut sizes =
            [(shape.input_values(), shape.task_inputs()), (shape.output_values(), shape.task_outputs())];
        if direction == Direction::InputGradient {
            sizes.reverse();
        }
        let [(values, of_task), (out_values, out_of_task)] = sizes;
        match self {
            Self::Whole(wide) => {
                let mut out = wide.run(x);
                let made = out.par_chunks_mut(out_of_task).map(&then).collect();
                (out, made)
            }
            Self::ByTasks(filters) => {
                let plan = Plan::new(shape, direction);
                let mut out = vec![0.0; x.len() / values * out_values];
                let tasks = x.par_chunks(of_task).zip(out.par_chunks_mut(out_of_task));
                let made = tasks.map(|(x, out)| {
                    with_memory(|memory| plan.run(filters, x, out, &mut memory.scratch));
                    then(out)
                });
                let made = made.collect();
                (out, made)
            }
        }
    }
}
